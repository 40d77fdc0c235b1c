#!/usr/bin/env python3
"""Registers models, lists them, and looks after the registry.

exit codes:
  0   done
  1   something unexpected; the message says what
  2   wrong usage, or a name, metric or status that is not allowed
  3   no such model version
  4   a file is not intact (truncated, altered, not a model)
  5   a model file holds something that is not trusted
  6   the key is missing, unsafe or not the right one
  7   the status does not lead there, or somebody else was faster
  8   the registry cannot be read or written
  16  no such file
  130 interrupted
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from model_store.errors import InvalidInput, ModelStoreError, VersionConflict  # noqa: E402
from scripts.command_line import add_command, facts, make_parser, run_command, show, table  # noqa: E402

if TYPE_CHECKING:
    from model_store import ModelRegistry

_EXAMPLES = """\
examples:
  python scripts/manage_models.py register models/xgboost_model.joblib fraud_detector XGBoost \\
      --description "trained on October" --tags "production,xgboost" --metrics '{"accuracy": 0.96}'
  python scripts/manage_models.py list --status trained
  python scripts/manage_models.py info fraud_detector_XGBoost_20241009_123456

The registry is `registry/` in the checkout, or what MODEL_REGISTRY_URL names; the key is `.secrets/model.key`, made on
first use, or what MODEL_KEY_FILE names.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(_parser(), arguments)


def _registry() -> "ModelRegistry":
    from stacks.registry_access import open_registry

    return open_registry(CHECKOUT)


def _register(options: argparse.Namespace) -> int:
    from model_store.model_files import load_model_file

    metrics = _metrics(options.metrics)
    registry = _registry()
    described = _described(options.file)
    model_id = registry.register_model(
        model=load_model_file(options.file, trusted=options.trust),
        model_name=options.name,
        model_type=options.type,
        description=options.description,
        tags=[tag.strip() for tag in options.tags.split(",") if tag.strip()],
        author=options.author,
        performance_metrics=metrics,
        source=options.file,
        feature_schema=described.get("features"),
    )
    metadata = registry.get_metadata(model_id)
    show(options, metadata.to_dict(), f"registered {model_id}\n  digest  {metadata.digest}")
    return 0


def _list(options: argparse.Namespace) -> int:
    found = [item.to_dict() for item in _registry().list_models(status=options.status, name=options.name)]
    columns = ("model_id", "status", "created_at", "performance_metrics", "description")
    show(options, found, table(columns, found, empty="no model versions"))
    return 0


def _info(options: argparse.Namespace) -> int:
    registry = _registry()
    values = {**registry.get_metadata(options.model_id).to_dict(), **_life(registry, options.model_id)}
    shown = {**values, "feature_schema": [item["name"] for item in values["feature_schema"]]}
    shown["history"] = [f"{item['status']} {item['at']} by {item['by']} ({item['why']})" for item in values["history"]]
    shown["deployments"] = [item["deployment_id"] for item in values["deployments"]]
    show(options, values, facts(shown))
    return 0


def _life(registry: "ModelRegistry", model_id: str) -> dict[str, Any]:
    state = registry.state(model_id)
    return {"history": state["history"], "deployments": state["deployments"]}


def _update_status(options: argparse.Namespace) -> int:
    changed = _registry().update_model_status(options.model_id, options.status, reason=options.reason)
    show(options, changed.to_dict(), f"{changed.model_id} is {changed.status}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    registry = _registry()
    model_ids = options.model_id or [item.model_id for item in registry.list_models()]
    results, worst = [], 0
    for model_id in model_ids:
        try:
            results.append({"model_id": model_id, "intact": True, "detail": registry.verify_artifact(model_id)})
        except ModelStoreError as error:
            worst = worst or error.exit_code
            results.append({"model_id": model_id, "intact": False, "detail": str(error)})
    show(options, results, table(("model_id", "intact", "detail"), results, empty="no model versions"))
    return worst


def _inspect(options: argparse.Namespace) -> int:
    from model_store.model_files import inspect_model_file

    found = inspect_model_file(options.file)
    lines = [f"{'untrusted' if name in found['untrusted'] else 'trusted':9}  {name}" for name in found["named"]]
    show(options, found, "\n".join(lines) or "names nothing")
    return 5 if found["untrusted"] else 0


def _keygen(options: argparse.Namespace) -> int:
    from model_store.keys import write_key_file

    try:
        fingerprint = write_key_file(options.file)
    except FileExistsError:
        raise VersionConflict(f"{options.file}: is there already; a key is never overwritten") from None
    show(options, {"file": str(options.file), "key_id": fingerprint}, f"{options.file}: key {fingerprint}")
    return 0


def _metrics(text: str) -> dict[str, Any]:
    try:
        metrics = json.loads(text)
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict):
        raise InvalidInput(
            f"--metrics {text!r} is not allowed; allowed: a JSON object such as '{{\"accuracy\": 0.96}}'"
        )
    return metrics


def _described(file: Path) -> dict[str, Any]:
    """What the description beside a model file says, such as the feature schema; empty when there is none."""
    path = file.with_name(f"{file.name}.metrics.json")
    if not path.exists():
        return {}
    described = json.loads(path.read_text(encoding="utf-8"))
    return described if isinstance(described, dict) else {}


def _parser() -> argparse.ArgumentParser:
    parser, commands = make_parser("manage_models.py", __doc__ or "", _EXAMPLES)
    program, some_id = "python scripts/manage_models.py", "fraud_detector_XGBoost_20241009_123456"

    example = f"{program} register models/xgboost_model.joblib fraud_detector XGBoost --tags a,b"
    register = add_command(commands, "register", _register, "register a model file as a new version", example)
    register.add_argument("file", type=Path, metavar="FILE", help="a .joblib, .pkl or .pickle file")
    register.add_argument("name", metavar="NAME", help="model name, such as fraud_detector")
    register.add_argument("type", metavar="TYPE", help="model type, such as XGBoost")
    register.add_argument("--description", default="")
    register.add_argument("--tags", default="", help="texts separated by commas")
    register.add_argument("--metrics", default="{}", help="JSON object of numbers")
    register.add_argument("--author", help="who made the model; you when not given")
    register.add_argument(
        "--trust", action="append", default=[], metavar="NAME", help="a global to allow beside the allow-list"
    )

    listing = add_command(
        commands, "list", _list, "list model versions, oldest first", f"{program} list --status trained"
    )
    listing.add_argument("--status", help="only those with this status")
    listing.add_argument("--name", help="only those of this model name")

    info = add_command(
        commands, "info", _info, "show all that is known of a model version", f"{program} info {some_id}"
    )
    info.add_argument("model_id", metavar="MODEL_ID")

    example = f'{program} update-status {some_id} validated --reason "passed the review"'
    status = add_command(commands, "update-status", _update_status, "set a model version's status", example)
    status.add_argument("model_id", metavar="MODEL_ID")
    status.add_argument("status", metavar="STATUS", help="trained, validated, staged, deployed, deprecated or archived")
    status.add_argument("--reason", default="")

    summary = "compare artifacts with their manifests: those named, or all"
    verify = add_command(commands, "verify", _verify, summary, f"{program} verify")
    verify.add_argument("model_id", nargs="*", metavar="MODEL_ID")

    summary = "show what a model file names, without loading it"
    inspect = add_command(commands, "inspect", _inspect, summary, f"{program} inspect models/xgboost_model.joblib")
    inspect.add_argument("file", type=Path, metavar="FILE")

    keygen = add_command(commands, "keygen", _keygen, "write a new key to a file", f"{program} keygen .secrets/new.key")
    keygen.add_argument("file", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
