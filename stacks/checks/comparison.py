"""What differs between two deployments: config, model version, metrics."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from conventions import config_keys
from model_store.errors import ModelNotFound
from stacks.history import Deployment

if TYPE_CHECKING:
    from model_store import ModelRegistry


def compare(
    first: tuple[Deployment, Mapping[str, Any]], second: tuple[Deployment, Mapping[str, Any]], registry: "ModelRegistry"
) -> list[dict[str, str]]:
    """Each difference as `what`, `a` and `b`.

    Args:
        first: a deployment with its config.
        second: another one.
        registry: knows the metrics; a version that it does not have is compared by id alone.
    """
    sides = [{**_flat(config), **_model(deployment, registry)} for deployment, config in (first, second)]
    return [
        {"what": key, "a": sides[0].get(key, "-"), "b": sides[1].get(key, "-")}
        for key in sorted({*sides[0], *sides[1]})
        if sides[0].get(key) != sides[1].get(key)
    ]


def _model(deployment: Deployment, registry: "ModelRegistry") -> dict[str, str]:
    try:
        metadata = registry.get_metadata(deployment.model_id)
    except ModelNotFound:
        return {"model version": deployment.model_id}
    metrics = {f"metric {name}": f"{value:g}" for name, value in metadata.performance_metrics.items()}
    facts = {"model version": deployment.model_id, "model digest": metadata.digest, "model class": metadata.model_class}
    return {**facts, **metrics, "model features": ", ".join(metadata.feature_names)}


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in _leaves("", config) if key != config_keys.MODEL_VERSION}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, str(value)
