"""The commands of manage_models.py that move versions: `export`, `import` and `promote-version`."""

from typing import Any

from model_store.errors import InvalidInput
from scripts.command_line import Options, progress, show
from scripts.register_command import contract_lines
from scripts.registry_commands import CHECKOUT, open_registry, resolved
from scripts.workflow import tell_later_steps

_OF_MLFLOW = (
    "name", "description", "tags", "sign_key", "no_runtime", "registry_only", "trust", "training_data",
    "positive_class", "threshold", "sample", "holdout", "label",
)  # fmt: skip


def export_model(options: Options) -> int:
    """Writes a model version as one bundle, or as an MLflow model."""
    if options.format == "mlflow":
        return _export_for_mlflow(options)
    from model_store.registry.exchange import bundles

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    path = bundles.bundle_file(model_id, options.path)
    members = bundles.export_model(registry, model_id, path)
    answer = {"model_id": model_id, "file": str(path), "members": members}
    show(options, answer, f"{path}: {model_id} with {', '.join(members)}")
    return 0


def _export_for_mlflow(options: Options) -> int:
    from model_store.registry.exchange.exporting import export_mlflow, mlflow_directory

    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    directory = mlflow_directory(model_id, options.path)
    files = export_mlflow(registry, model_id, directory)
    progress(
        f"{directory}: the model in it is not encrypted, and MLflow runs what a changed file holds; only you can read "
        "it (mode 700). The audit log has this export"
    )
    answer = {"model_id": model_id, "directory": str(directory), "encrypted": False, "files": files}
    show(options, answer, f"{directory}: {model_id} as an MLflow model with {', '.join(files)}")
    return 0


def promote_version(options: Options) -> int:
    """Promotes a version from one registry into another."""
    from model_store import ModelRegistry
    from model_store.keys.defaults import default_keys
    from model_store.registry.promotion import LEFT, promote_version
    from stacks.registry_names import named_registry

    def opened(location: str) -> ModelRegistry:
        return ModelRegistry(location, keys=lambda: default_keys(CHECKOUT))

    source = opened(named_registry(CHECKOUT, options.source, is_source=True)) if options.source else open_registry()
    target = opened(named_registry(CHECKOUT, options.target))
    model_id = resolved(source, options.model_id)
    options.status_line.step(0, 1, model_id)
    told = promote_version(source, target, model_id, options.reason, follow_keys=options.follow_keys)
    copied = f"{len(told.copied)} files copied" if told.copied else "it was there already"
    lines = [f"{told.target}: {model_id} ({told.status}), {copied}"]
    if told.state == LEFT:
        lines.append("what was decided about it is not in it: run the same command with the role promoter")
    show(options, told.to_dict(), "\n".join(lines))
    return 0


def import_model(options: Options) -> int:
    """Takes a bundle or an MLflow model in."""
    from model_store.registry.exchange.importing import is_mlflow

    if is_mlflow(options.path):
        return _import_from_mlflow(options)
    from model_store.registry.exchange import bundles

    if given := [name for name in _OF_MLFLOW if getattr(options, name) not in (None, "", False, [])]:
        option = f"--{given[0].replace('_', '-')}"
        raise InvalidInput(f"{option} is for MLflow models; a bundle's version stays the one that was exported")
    model_id = bundles.import_model(open_registry(), options.path, options.reason)
    show(options, {"model_id": model_id}, f"imported {model_id}")
    return 0


def _import_from_mlflow(options: Options) -> int:
    from model_store.registry.exchange.importing import import_mlflow
    from model_store.registry.request import RegistrationRequest
    from model_store.registry.signing import read_signing_key

    if options.label and not options.holdout:
        raise InvalidInput("--label names a column of --holdout FILE, which is missing")
    signing_key = read_signing_key(options.sign_key) if options.sign_key else None
    registry = open_registry()
    request = RegistrationRequest(
        model_name=options.name,
        runtime=not options.no_runtime,
        positive_class=options.positive_class,
        threshold=options.threshold,
        sample=options.sample,
        training_data=options.training_data,
        holdout=options.holdout,
        label=options.label,
        registry_only=options.registry_only,
        description=options.description,
        tags=[tag.strip() for tag in options.tags.split(",") if tag.strip()],
        signing_key=signing_key,
        reason=options.reason,
    )
    model_id, notes = import_mlflow(registry, options.path, request, trusted=options.trust)
    for note in notes:
        progress(f"{options.path.name}: {note}")
    metadata = registry.get_metadata(model_id)
    answer: dict[str, Any] = {"model_id": model_id, "mlflow": metadata.lineage.get("mlflow"), "notes": notes}
    lines = [f"imported {model_id}", f"  version {metadata.version}", f"  digest  {metadata.digest}"]
    show(options, answer, "\n".join([*lines, *contract_lines(metadata)]))
    tell_later_steps(MODEL_ID=model_id)
    return 0
