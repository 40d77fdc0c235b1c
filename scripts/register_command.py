"""The command `register` of manage_models.py: a model file becomes a new version."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.regular_files import read_json
from model_store.errors import InvalidInput
from scripts.command_line import Option, Options, path_type, progress, show
from scripts.registry_commands import open_registry
from scripts.workflow import tell_later_steps

if TYPE_CHECKING:
    from model_store.registry.files.manifest import ModelMetadata


def register(options: Options) -> int:
    """Registers a model file as a new version."""
    from model_store.registry.outside import register_file
    from model_store.registry.request import RegistrationRequest
    from model_store.registry.signing import read_signing_key

    registry = open_registry()
    registry.require_right("register", options.name)
    metrics = _metrics(options.metrics)
    signing_key = read_signing_key(options.sign_key) if options.sign_key else None
    beside = described(options.file)
    model_id, warnings = register_file(
        registry,
        options.file,
        RegistrationRequest(
            model_name=options.name,
            model_type=options.type,
            feature_schema=beside.get("features"),
            format_type=options.format,
            runtime=not options.no_runtime,
            positive_class=options.positive_class,
            threshold=beside.get("threshold") if options.threshold is None else options.threshold,
            sample=options.sample,
            training_data=options.training_data,
            holdout=options.holdout,
            label=options.label,
            registry_only=options.registry_only,
            description=options.description,
            tags=[tag.strip() for tag in options.tags.split(",") if tag.strip()],
            author=options.author,
            performance_metrics=metrics,
            signing_key=signing_key,
            compression=options.compression,
        ),
        trusted=options.trust,
    )
    for warning in warnings:
        progress(f"{options.file.name}: {warning}")
    metadata = registry.get_metadata(model_id)
    lines = [f"registered {model_id}", f"  version {metadata.version}", f"  digest  {metadata.digest}"]
    show(options, metadata.to_dict(), "\n".join([*lines, *contract_lines(metadata)]))
    tell_later_steps(MODEL_ID=model_id)
    return 0


def contract_options() -> list[Option]:
    """The options of `register` and `import` about the model's contract and its file."""
    return [
        Option(
            "--training-data",
            type=path_type(),
            metavar="FILE",
            help="record this file's name and digest; a table serves as --sample",
        ),
        Option("--no-runtime", is_flag=True, help="make no optimized form; the model's own library answers"),
        Option("--positive-class", metavar="CLASS", help="the class that is fraud, where the classes do not say"),
        Option(
            "--threshold",
            type=float,
            metavar="SHARE",
            help="fraud from this score on, 0 to 1 (the model's own, else 0.5)",
        ),
        Option(
            "--sample",
            type=path_type(),
            metavar="FILE",
            help="some training rows, CSV or Parquet; none of them is kept",
        ),
        Option(
            "--holdout",
            type=path_type(),
            metavar="FILE",
            help="labelled rows, CSV or Parquet, to calculate metrics from",
        ),
        Option("--label", metavar="COLUMN", help="the column of --holdout that holds the class"),
        Option("--registry-only", is_flag=True, help="keep a model that no service can serve; it has no contract"),
        Option(
            "--trust", multiple=True, metavar="NAME", help="a global to allow beside the allow-list; may be repeated"
        ),
    ]


def contract_lines(metadata: "ModelMetadata") -> list[str]:
    """What a registered version's contract says, one line a fact; empty for one that no service serves."""
    lines = _contract_lines(metadata.contract) if metadata.contract else []
    return [*lines, f"  served  {_served_by(metadata.runtime)}"] if metadata.runtime else lines


def _served_by(runtime: Mapping[str, Any]) -> str:
    if runtime["format"] == "native":
        return f"by the model's own library: {runtime['reason']}"
    name = "ONNX Runtime" if runtime["format"] == "onnx" else "its weights"
    return f"by {name}; golden rows differ by at most {runtime['largest_difference']:.1g}"


def _contract_lines(contract: Mapping[str, Any]) -> list[str]:
    golden = contract["golden"]
    fraud = f"class {contract['positive_class']!r} from {contract['threshold']:g} on ({contract['threshold_origin']})"
    rows = f"{golden['rows']} golden rows"
    if golden["leaves"]:
        rows += f", {golden['leaves_reached']} of {golden['leaves']} leaves reached"
    return [f"  fraud   {fraud}", f"  proven  by {rows}"]


def _metrics(text: str) -> dict[str, Any]:
    try:
        metrics = json.loads(text)
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict):
        raise InvalidInput(f"--metrics {text!r} is not allowed; allowed: an object such as '{{\"accuracy\": 0.96}}'")
    return metrics


def described(file: Path) -> dict[str, Any]:
    """What the description beside a model file says, such as the feature schema; empty when there is none."""
    if not file.name:
        raise InvalidInput(f"{file}: not a model file; give the path of a file")
    path = file.with_name(f"{file.name}.metrics.json")
    if not path.exists():
        return {}
    try:
        values = read_json(path)
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{path}: cannot be read as JSON ({error})") from None
    features = values.get("features") if isinstance(values, dict) else ()
    if not isinstance(features, list | None) or not all(isinstance(each, dict) for each in features or ()):
        raise InvalidInput(f"{path}: not a description of a model; allowed: an object with features, a list of objects")
    return dict(values)
