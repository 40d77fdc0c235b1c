#!/usr/bin/env python3
"""Carries a release from its description into the registry and validates it: `release_model.py --help`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from conventions import exit_codes  # noqa: E402
from scripts import completion  # noqa: E402
from scripts.command_line import (  # noqa: E402
    Argument,
    Option,
    Options,
    Program,
    add_command,
    make_program,
    path_type,
    progress,
    run_command,
    show,
)
from scripts.workflow import tell_later_steps  # noqa: E402

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from scripts.release_description import Release

_PROGRAM = "python scripts/release_model.py"
_EXAMPLES = """\
Examples:
  python scripts/release_model.py fetch s3://inbox/model-v12 incoming/
  python scripts/release_model.py check incoming/
  python scripts/release_model.py register incoming/ --sign-key signing.key --reason "model-v12"
  python scripts/release_model.py validate incoming/ fraud_detector:12 --reason "model-v12"

A release is a directory with the model's file, a holdout and release.yaml, which describes them:
  file: xgboost_model.joblib
  name: fraud_detector
  type: XGBoost
  description: trained on October
  holdout: {file: holdout.csv, label: is_fraud, accept: {recall: 0.8, roc_auc: 0.95}}
It may also name author, tags, metrics, sample, positive_class and threshold.
"""
_EXIT_CODES = exit_codes.OF_REGISTRY


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(program(), arguments)


def program() -> Program:
    """The program with its commands."""
    commands = make_program(
        "release_model.py", "Carries a release from its description into the registry.", _EXAMPLES, _EXIT_CODES
    )
    directory = Argument("release", "directory with release.yaml", type=path_type())
    reason = Option("--reason", default="", metavar="WHY", help="why; recorded in the audit log")
    sign = Option("--sign-key", type=path_type(), metavar="FILE", help="sign the manifest with this key")
    model_id = Argument("model_id", shell_complete=completion.models)
    summary = "copy a release out of an inbox: release.yaml and the files that it names, nothing else"
    example = f"{_PROGRAM} fetch s3://inbox/model-v12 incoming/"
    inbox = Argument("inbox", "a directory or s3://bucket/prefix")
    add_command(commands, "fetch", _fetch, summary, example, inbox, directory)
    summary = "check a release's description and files; changes nothing"
    add_command(commands, "check", _check, summary, f"{_PROGRAM} check incoming/", directory)
    summary = "register a release's model file as a new version"
    add_command(commands, "register", _register, summary, f"{_PROGRAM} register incoming/", directory, sign, reason)
    summary = "measure a version on the release's holdout; validated when it reaches what the release accepts"
    example = f"{_PROGRAM} validate incoming/ fraud_detector:12"
    add_command(commands, "validate", _validate, summary, example, directory, model_id, reason)
    return commands


def _fetch(options: Options) -> int:
    from scripts.release_inbox import fetch_release

    names = fetch_release(options.inbox, options.release)
    show(options, {"release": str(options.release), "files": names}, f"{options.release}: {', '.join(names)}")
    return 0


def _check(options: Options) -> int:
    import msgspec

    from scripts.release_description import read_release

    release = read_release(options.release)
    show(options, msgspec.to_builtins(release), f"{options.release}: {release.name}, {release.type}: {release.file}")
    return 0


def _register(options: Options) -> int:
    from model_store.registry.outside import register_file
    from model_store.registry.request import RegistrationRequest
    from model_store.registry.signing import read_signing_key
    from scripts.register_command import contract_lines, described
    from scripts.registry_commands import open_registry
    from scripts.release_description import read_release

    release = read_release(options.release)
    registry = open_registry()
    registry.require_right("register", release.name)
    file = options.release / release.file
    beside = described(file)
    model_id, warnings = register_file(
        registry,
        file,
        RegistrationRequest(
            model_name=release.name,
            model_type=release.type,
            feature_schema=beside.get("features"),
            positive_class=release.positive_class,
            threshold=beside.get("threshold") if release.threshold is None else release.threshold,
            sample=options.release / release.sample if release.sample else None,
            description=release.description,
            tags=release.tags,
            author=release.author,
            performance_metrics=release.metrics,
            signing_key=read_signing_key(options.sign_key) if options.sign_key else None,
            reason=options.reason,
        ),
    )
    for warning in warnings:
        progress(f"{file.name}: {warning}")
    metadata = registry.get_metadata(model_id)
    show(options, metadata.to_dict(), "\n".join([f"registered {model_id}", *contract_lines(metadata)]))
    tell_later_steps(MODEL_ID=model_id)
    return 0


def _validate(options: Options) -> int:
    from scripts.registry_commands import open_registry, resolved
    from scripts.release_description import read_release

    release = read_release(options.release)
    registry = open_registry()
    model_id = resolved(registry, options.model_id)
    report = _measured(registry, model_id, release, options.release)
    path = _written(report)
    if report["missed"]:
        show(options, report, _shown(report, path))
        return exit_codes.REFUSED
    registry.update_model_status(model_id, "validated", options.reason, evidence=path)
    show(options, report, _shown(report, path))
    return 0


def _measured(registry: "ModelRegistry", model_id: str, release: "Release", directory: Path) -> dict[str, Any]:
    """What the version reaches on the holdout, beside what the release accepts."""
    from model_store.contract.contract import Contract
    from model_store.contract.sample import holdout_metrics
    from model_store.errors import InvalidInput
    from model_store.serialization.lineage import describe_source

    model, metadata = registry.load_model(model_id)
    if metadata.contract is None:
        raise InvalidInput(f"{model_id} has no contract: a version that no service can serve has no holdout metrics")
    file = directory / release.holdout.file
    contract = Contract.from_dict(metadata.contract, metadata.feature_schema)
    metrics = holdout_metrics(contract, model, file, release.holdout.label)
    accept = release.holdout.accept
    unknown = sorted(set(accept) - set(metrics))
    if unknown:
        raise InvalidInput(
            f"{directory}: release.yaml: holdout.accept.{unknown[0]}: unknown metric; allowed: {', '.join(metrics)}"
        )
    return {
        "model_id": model_id,
        "digest": metadata.digest,
        "holdout": describe_source(file),
        "label": release.holdout.label,
        "threshold": contract.threshold,
        "metrics": metrics,
        "accept": accept,
        "missed": {name: metrics[name] for name, least in sorted(accept.items()) if metrics[name] < least},
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _written(report: dict[str, Any]) -> Path:
    path = CHECKOUT / ".run" / f"validation-{report['model_id']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return path


def _shown(report: dict[str, Any], path: Path) -> str:
    accept, missed = report["accept"], report["missed"]
    lines = [f"{report['model_id']} is {'not validated' if missed else 'validated'}; the report is {path}"]
    for name, value in report["metrics"].items():
        least = f"  at least {accept[name]:g}{', MISSED' if name in missed else ''}" if name in accept else ""
        lines.append(f"  {name:18} {value:.4f}{least}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
