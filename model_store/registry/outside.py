"""Model files from outside on their way into a registry: read by a child that can do no harm, then looked at again.

model_id = register_file(registry, Path("model.joblib"), "fraud_detector", Wanted(positive_class="fraud"))
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.confinement.answers import are_texts, garbled, prepared_of
from model_store.confinement.jobs import MODEL
from model_store.confinement.opening import open_confined
from model_store.contract.preparing import Wanted
from model_store.registry.manifest import require_metrics
from model_store.serialization.compression import CompressionType
from model_store.serialization.model_files import serializer_of
from model_store.serialization.reading import reading

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from model_store.registry.registry import ModelRegistry

_PATHS = ("sample", "training_data", "holdout")


@dataclass(frozen=True)
class VersionDetails:
    """What people say of a version."""

    description: str = ""
    tags: Sequence[str] = ()
    author: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def inspect_file(path: Path) -> dict[str, Any]:
    """What a model file names and what the rules refuse of it, told by a child that makes nothing of it.

    Returns:
        As `serialization.inspection.inspect_content`.

    Raises:
        FileMissing, InvalidInput, UnreadableModel: it cannot be read, or is not a model file.
        OpeningFailed: it ended the child that read it, or took too much.
    """
    serializer_of(path)
    with reading(path), path.open("rb") as file:
        values = open_confined("inspect", {"path": path.name}, {MODEL: file}).values
    named, untrusted, refused = values.get("named"), values.get("untrusted"), values.get("refused")
    if not are_texts(named) or not are_texts(untrusted) or not (refused is None or isinstance(refused, dict)):
        raise garbled()
    found = {"named": named, "untrusted": untrusted, "refused": None}
    if refused is not None:
        found["refused"] = {key: str(refused.get(key, "")) for key in ("rule", "name", "position", "message")}
    return found


def register_file(
    registry: "ModelRegistry",
    path: Path,
    model_name: str,
    wanted: Wanted,
    details: VersionDetails | None = None,
    *,
    trusted: Collection[str] = (),
    signing_key: "Ed25519PrivateKey | None" = None,
    compression: CompressionType | str = CompressionType.ZSTD,
) -> tuple[str, list[str]]:
    """Registers a model file as a new version; the model itself is never in this process.

    Args:
        registry: to register in.
        path: a file as `read_model_file` takes it.
        model_name: a letter, then letters, digits, `_` and `-`.
        wanted: what is asked of the model.
        details: what people say of it.
        trusted: full names that are allowed beside the rules.
        signing_key: signs the manifest.
        compression: of the artifact.

    Returns:
        The model id, and what the libraries warned of while the file was read.

    Raises:
        FileMissing, UntrustedType, UnreadableModel: as for `read_model_file`.
        OpeningFailed: the file ended the child that read it, or took too much.
        AccessDenied, InvalidInput, KeyNotFound, StorageFailed: as for `ModelRegistry.register_model`.
    """
    details = details or VersionDetails()
    _require_names(model_name, wanted, details)
    registry.require_right("register", model_name)
    given = {name: getattr(wanted, name) for name in _PATHS if getattr(wanted, name) is not None}
    plain = {
        name: value for name, value in vars(wanted).items() if name not in (*_PATHS, "versions") and value is not None
    }
    with ExitStack() as stack:
        stack.enter_context(reading(path))
        file = stack.enter_context(path.open("rb"))
        answer = open_confined(
            "register",
            {
                "path": path.name,
                "trusted": sorted(trusted),
                "wanted": plain,
                "paths": {name: str(value.resolve()) for name, value in given.items()},
            },
            {MODEL: file},
            readable=list(given.values()),
        )
        stack.callback(answer.close)
        prepared = prepared_of(answer, trusted)
        warnings = answer.values["warnings"]
        if not are_texts(warnings):
            raise garbled()
        model_id = registry.enter(
            prepared,
            model_name,
            {
                "description": details.description,
                "tags": list(details.tags),
                "author": details.author or registry.actor,
                "performance_metrics": require_metrics(details.metrics),
            },
            source=path,
            training_data=wanted.training_data,
            signing_key=signing_key,
            compression=compression,
        )
    return model_id, ["".join(letter if letter.isprintable() else " " for letter in each) for each in warnings]


def _require_names(model_name: str, wanted: Wanted, details: VersionDetails) -> None:
    """Raises InvalidInput for what cannot be registered whatever the file holds."""
    from model_store.registry.manifest import require_names
    from model_store.serialization.formats import serializer_named

    require_names(model_name, wanted.model_type or "Model", details.tags)
    require_metrics(details.metrics)
    serializer_named(wanted.format_type)
