#!/usr/bin/env python3
"""Registers models, lists them, and looks after the registry.

exit codes:
  0   done
  1   something unexpected; the message says what
  2   wrong usage, or a name, metric, status or condition that is not allowed
  3   no such model version or alias
  4   a file is not intact (truncated, altered, not a model), or not signed by a trusted key
  5   a model file holds something that is not trusted
  6   the key is missing, unsafe or not the right one
  7   the status does not lead there, a version is in use, or somebody else was faster
  8   the registry cannot be read or written
  16  no such file
  19  your role does not allow it
  130 interrupted
"""

import argparse
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from scripts import registry_commands as run  # noqa: E402
from scripts.command_line import add_command, make_parser, run_command  # noqa: E402
from scripts.workflow import tell_later_steps  # noqa: E402

_EXAMPLES = """\
examples:
  python scripts/manage_models.py register models/xgboost_model.joblib fraud_detector XGBoost \\
      --description "trained on October" --tags "production,xgboost" --metrics '{"accuracy": 0.96}'
  python scripts/manage_models.py list --metric 'accuracy>0.95' --sort -accuracy
  python scripts/manage_models.py info fraud_detector@champion

A model version is named by its id, by an alias (fraud_detector@champion) or by its number (fraud_detector:3).
The registry is `registry/` in the checkout, or what MODEL_REGISTRY_URL names; the key is `.secrets/model.key`, made
on first use, or what MODEL_KEY_FILE names; roles come from the file that MODEL_ACCESS_POLICY names.
In a GitHub workflow `register` sets MODEL_ID for the job's later steps.
"""
_PROGRAM = "python scripts/manage_models.py"
_ID = "fraud_detector_XGBoost_20241009_123456"
_FORMATS = ("joblib", "pickle", "skops", "onnx", "xgboost", "lightgbm")
_COMPRESSIONS = ("none", "gzip", "bz2", "lzma", "zstd")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, commands = make_parser("manage_models.py", __doc__ or "", _EXAMPLES)
    _add_register(commands)
    _add_looking(commands)
    _add_promotion(commands)
    _add_proof(commands)
    _add_keys(commands)
    _add_files(commands)
    _add_moving(commands)
    return parser


def _add_register(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    example = f"{_PROGRAM} register models/xgboost_model.joblib fraud_detector XGBoost --tags a,b"
    register = add_command(commands, "register", _register, "register a model file as a new version", example)
    register.add_argument(
        "file", type=Path, metavar="FILE", help="a .joblib, .pkl, .pickle, .skops, .onnx, .json, .ubj or .txt file"
    )
    register.add_argument("name", metavar="NAME", help="model name, such as fraud_detector")
    register.add_argument("type", metavar="TYPE", help="model type, such as XGBoost")
    register.add_argument("--description", default="")
    register.add_argument("--tags", default="", help="texts separated by commas")
    register.add_argument("--metrics", default="{}", help="JSON object of numbers")
    register.add_argument("--author", help="who made the model; you when not given")
    register.add_argument("--format", choices=_FORMATS, default="joblib", help="serializer of the artifact (joblib)")
    register.add_argument("--compression", choices=_COMPRESSIONS, default="zstd", help="of the artifact (zstd)")
    register.add_argument("--sign-key", type=Path, metavar="FILE", help="sign the manifest with this key")
    register.add_argument(
        "--training-data",
        type=Path,
        metavar="FILE",
        help="record this file's name and digest; a table serves as --sample",
    )
    register.add_argument(
        "--no-runtime", action="store_true", help="make no optimized form; the model's own library answers"
    )
    register.add_argument(
        "--positive-class", metavar="CLASS", help="the class that is fraud, where the classes do not say"
    )
    register.add_argument(
        "--threshold", type=float, metavar="SHARE", help="fraud from this score on, 0 to 1 (the model's own, else 0.5)"
    )
    register.add_argument(
        "--sample", type=Path, metavar="FILE", help="some training rows, CSV or Parquet; none of them is kept"
    )
    register.add_argument(
        "--holdout", type=Path, metavar="FILE", help="labelled rows, CSV or Parquet, to calculate metrics from"
    )
    register.add_argument("--label", metavar="COLUMN", help="the column of --holdout that holds the class")
    register.add_argument(
        "--registry-only", action="store_true", help="keep a model that no service can serve; it has no contract"
    )
    register.add_argument(
        "--trust", action="append", default=[], metavar="NAME", help="a global to allow beside the allow-list"
    )


def _register(options: argparse.Namespace) -> int:
    code = run.register(options)
    if code == 0:
        tell_later_steps(MODEL_ID=options.shown["model_id"])
    return code


def _add_looking(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    example = f"{_PROGRAM} list --status trained --metric 'accuracy>0.95' --sort -accuracy"
    listing = add_command(commands, "list", run.list_models, "list and search model versions", example)
    listing.add_argument("--status", help="only those with this status")
    listing.add_argument("--name", help="only those of this model name")
    listing.add_argument("--tag", action="append", default=[], help="only those with this tag; may be repeated")
    listing.add_argument("--metric", action="append", default=[], help="a condition such as 'accuracy>0.95'")
    listing.add_argument("--sort", default="created_at", help="a field or metric, - before it for descending")
    listing.add_argument("--limit", type=int, help="how many at most")

    info = add_command(commands, "info", run.info, "show all that is known of a version", f"{_PROGRAM} info {_ID}")
    info.add_argument("model_id", metavar="MODEL_ID")
    card = add_command(commands, "card", run.card, "print a version's model card in Markdown", f"{_PROGRAM} card {_ID}")
    card.add_argument("model_id", metavar="MODEL_ID")
    add_command(commands, "stats", run.stats, "counts and sizes", f"{_PROGRAM} stats")


def _add_promotion(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    example = f'{_PROGRAM} update-status {_ID} validated --reason "passed the review"'
    status = add_command(commands, "update-status", run.update_status, "set a version's status", example)
    status.add_argument("model_id", metavar="MODEL_ID")
    status.add_argument("status", metavar="STATUS", help="trained, validated, staged, deployed, deprecated or archived")
    status.add_argument("--reason", default="")

    alias = commands.add_parser("alias", help="names such as champion that move from version to version")
    kinds = alias.add_subparsers(required=True, metavar="COMMAND")
    example = f"{_PROGRAM} alias set fraud_detector champion {_ID}"
    setting = add_command(kinds, "set", run.alias_set, "point an alias at a version", example)
    setting.add_argument("name", metavar="NAME")
    setting.add_argument("alias", metavar="ALIAS")
    setting.add_argument("model_id", metavar="MODEL_ID")
    setting.add_argument("--reason", default="")
    example = f"{_PROGRAM} alias remove fraud_detector champion"
    removing = add_command(kinds, "remove", run.alias_remove, "remove an alias; its history stays", example)
    removing.add_argument("name", metavar="NAME")
    removing.add_argument("alias", metavar="ALIAS")
    removing.add_argument("--reason", default="")
    listing = add_command(kinds, "list", run.alias_list, "list aliases", f"{_PROGRAM} alias list fraud_detector")
    listing.add_argument("name", nargs="?", metavar="NAME")


def _add_proof(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    summary = "answer golden rows under the libraries installed here: of the versions named, or of all"
    prove = add_command(commands, "prove", run.prove, summary, f"{_PROGRAM} prove {_ID}")
    prove.add_argument("model_id", nargs="*", metavar="MODEL_ID")
    prove.add_argument("--all", action="store_true", help="every version of the registry")

    summary = "compare artifacts, manifests, aliases and audit log: of the versions named, or of everything"
    verify = add_command(commands, "verify", run.verify, summary, f"{_PROGRAM} verify")
    verify.add_argument("model_id", nargs="*", metavar="MODEL_ID")
    verify.add_argument("--public-key", action="append", default=[], help="also look for a signature by this key")
    verify.add_argument(
        "--policy", choices=("require", "warn", "off"), default="require", help="what a missing one means"
    )

    audit = add_command(commands, "audit", run.audit, "show the audit log", f"{_PROGRAM} audit --since 2026-10-01")
    audit.add_argument("--verify", action="store_true", help="verify the chain of digests only")
    audit.add_argument("--since", default="", help="a date or time, such as 2026-10-01T12:00:00Z")
    audit.add_argument("--actor", default="")
    audit.add_argument("--model", default="", metavar="MODEL_ID")

    example = f"{_PROGRAM} sign {_ID} --sign-key .secrets/signing.key"
    sign = add_command(commands, "sign", run.sign, "add a signature to a version", example)
    sign.add_argument("model_id", metavar="MODEL_ID")
    sign.add_argument("--sign-key", type=Path, required=True, metavar="FILE")


def _add_keys(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    keygen = add_command(commands, "keygen", run.keygen, "write a new key to a file", f"{_PROGRAM} keygen new.key")
    keygen.add_argument("file", type=Path, metavar="FILE")
    keygen.add_argument("--signing", action="store_true", help="an Ed25519 key; its public key goes to FILE.pub")

    example = f"{_PROGRAM} rotate-key --new-key .secrets/new.key"
    summary = "give artifacts other keys, of the versions named or of all; digests stay"
    rotate = add_command(commands, "rotate-key", run.rotate_key, summary, example)
    rotate.add_argument("model_id", nargs="*", metavar="MODEL_ID")
    rotate.add_argument("--new-key", type=Path, action="append", required=True, metavar="FILE", help="may be repeated")


def _add_files(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    example = f"{_PROGRAM} inspect models/xgboost_model.joblib"
    inspect = add_command(commands, "inspect", run.inspect, "show what a model file names, without loading it", example)
    inspect.add_argument("file", type=Path, metavar="FILE")
    example = f"{_PROGRAM} doctor"
    add_command(commands, "doctor", run.doctor, "show the walls around the process that opens model files", example)

    example = f"{_PROGRAM} convert models/xgboost_model.joblib out.artifact --to pickle --compression gzip"
    convert = add_command(commands, "convert", run.convert, "save a model file or artifact in another format", example)
    convert.add_argument("source", type=Path, metavar="IN")
    convert.add_argument("target", type=Path, metavar="OUT")
    convert.add_argument("--to", choices=_FORMATS, default="joblib")
    convert.add_argument("--compression", choices=_COMPRESSIONS)


def _add_moving(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    example = f"{_PROGRAM} export {_ID} model.bundle"
    export = add_command(commands, "export", run.export_model, "write a version as one bundle", example)
    export.add_argument("model_id", metavar="MODEL_ID")
    export.add_argument(
        "path", type=Path, metavar="PATH", help="a file, or a directory that is there: <model id>.bundle in it"
    )
    taking = add_command(commands, "import", run.import_model, "take a bundle in", f"{_PROGRAM} import model.bundle")
    taking.add_argument("path", type=Path, metavar="PATH")
    taking.add_argument("--reason", default="")

    summary = "copy the registry into a directory; again, only what is new"
    backup = add_command(commands, "backup", run.backup, summary, f"{_PROGRAM} backup /mnt/backup/registry")
    backup.add_argument("destination", metavar="DEST", help="a directory or s3://bucket/prefix")
    summary = "copy from a backup what the registry does not have"
    restore = add_command(commands, "restore", run.restore, summary, f"{_PROGRAM} restore /mnt/backup/registry")
    restore.add_argument("source", metavar="SRC", help="a directory or s3://bucket/prefix")

    delete = add_command(commands, "delete", run.delete, "delete a version for good", f"{_PROGRAM} delete {_ID}")
    delete.add_argument("model_id", metavar="MODEL_ID")
    delete.add_argument("--reason", default="")
    summary = "remove old versions of the registry, or old model files of a directory"
    cleanup = add_command(
        commands, "cleanup", run.cleanup, summary, f"{_PROGRAM} cleanup models/ --keep-latest 5 --dry-run"
    )
    cleanup.add_argument("directory", type=Path, metavar="DIR")
    cleanup.add_argument(
        "--keep-latest",
        type=int,
        default=5,
        metavar="N",
        help="how many versions stay of each model (5); files are of one model when their names differ in a version or "
        "date at the end only, such as fraud_v1.joblib and fraud_20241009_123456.pkl",
    )
    cleanup.add_argument("--dry-run", action="store_true", help="tell only what would go")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
