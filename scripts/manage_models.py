#!/usr/bin/env python3
"""Registers models, lists them, and looks after the registry: `manage_models.py --help`."""

import os
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from scripts.interrupts import end_at_once  # noqa: E402

if __name__ == "__main__":
    end_at_once()

import click  # noqa: E402

from conventions import exit_codes  # noqa: E402
from scripts import completion, exchange_commands  # noqa: E402
from scripts import registry_commands as run  # noqa: E402
from scripts.access_commands import add_access_commands  # noqa: E402
from scripts.audit_command import add_audit_command  # noqa: E402
from scripts.batch_commands import add_batch_commands  # noqa: E402
from scripts.command_line import (  # noqa: E402
    Argument,
    Option,
    Program,
    add_command,
    add_group,
    make_program,
    path_type,
    run_command,
)
from scripts.decision_commands import add_decision_commands  # noqa: E402
from scripts.register_command import contract_options, register  # noqa: E402

_EXAMPLES = """\
Examples:
  python scripts/manage_models.py register models/xgboost_model.joblib fraud_detector XGBoost \\
      --description "trained on October" --tags "production,xgboost" --metrics '{"accuracy": 0.96}'
  python scripts/manage_models.py list --metric 'accuracy>0.95' --sort -accuracy
  python scripts/manage_models.py info fraud_detector@champion

A model version is named by its id, by an alias (fraud_detector@champion), by its number (fraud_detector:3) or as the
latest (fraud_detector:latest); an exported bundle's file name and MLflow's models:/fraud_detector/3 name one, too.
The registry is `registry/` in the checkout, or what MODEL_REGISTRY_URL names; the key is `.secrets/model.key`, made
on first use, or what MODEL_KEY_FILE names. Roles come from the registry's access.json (`access show`); the file that
MODEL_ACCESS_POLICY names can narrow them. The actor is who the system says; MODEL_ACTOR is recorded as a claim.
In a GitHub workflow `register` sets MODEL_ID for the job's later steps.
"""
_PROGRAM = "python scripts/manage_models.py"
_ID = "fraud_detector_XGBoost_20241009_123456"
_FORMATS = click.Choice(("joblib", "pickle", "skops", "onnx", "xgboost", "lightgbm"))
_COMPRESSIONS = click.Choice(("none", "gzip", "bz2", "lzma", "zstd"))
_EXIT_CODES = tuple(sorted((*exit_codes.OF_REGISTRY, exit_codes.BREACHED, exit_codes.INCOMPLETE)))


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    return run_command(program(), arguments)


def program() -> Program:
    """The program with its commands."""
    commands = make_program(
        "manage_models.py", "Registers models, lists them, and looks after the registry.", _EXAMPLES, _EXIT_CODES
    )
    _add_register(commands)
    _add_looking(commands)
    add_decision_commands(commands, _PROGRAM)
    _add_promotion(commands)
    _add_proof(commands)
    add_batch_commands(commands, _PROGRAM)
    _add_keys(commands)
    _add_files(commands)
    _add_moving(commands)
    _add_removal(commands)
    add_access_commands(commands, _PROGRAM)
    return commands


def _model_id(**more: Any) -> Argument:
    return Argument("model_id", shell_complete=completion.models, **more)


def _reason() -> Option:
    return Option("--reason", default="", metavar="WHY", help="why; recorded in the audit log")


def _add_register(commands: Program) -> None:
    add_command(
        commands,
        "register",
        register,
        "register a model file as a new version",
        f"{_PROGRAM} register models/xgboost_model.joblib fraud_detector XGBoost --tags a,b",
        Argument("file", "a .joblib, .pkl, .pickle, .skops, .onnx, .json, .ubj or .txt file", type=path_type()),
        Argument("name", "model name, such as fraud_detector", shell_complete=completion.model_names),
        Argument("type", "model type, such as XGBoost"),
        Option("--description", default="", metavar="TEXT", help="a sentence about the version"),
        Option("--tags", default="", metavar="TAGS", help="texts separated by commas"),
        Option("--metrics", default="{}", metavar="JSON", help="JSON object of numbers"),
        Option("--author", metavar="NAME", help="who made the model; you when not given"),
        Option("--format", type=_FORMATS, default="joblib", help="serializer of the artifact (joblib)"),
        Option("--compression", type=_COMPRESSIONS, default="zstd", help="of the artifact (zstd)"),
        Option("--sign-key", type=path_type(), metavar="FILE", help="sign the manifest with this key"),
        *contract_options(),
    )


def _add_looking(commands: Program) -> None:
    add_command(
        commands,
        "list",
        run.list_models,
        "list and search model versions",
        f"{_PROGRAM} list --status trained --metric 'accuracy>0.95' --sort -accuracy",
        Option("--status", metavar="STATUS", shell_complete=completion.statuses, help="only those with this status"),
        Option("--name", metavar="NAME", shell_complete=completion.model_names, help="only those of this model name"),
        Option("--tag", multiple=True, metavar="TAG", help="only those with this tag; may be repeated"),
        Option("--metric", multiple=True, metavar="CONDITION", help="such as 'accuracy>0.95'; may be repeated"),
        Option("--sort", default="created_at", metavar="FIELD", help="a field or metric, - before it for descending"),
        Option("--limit", type=click.IntRange(min=1), metavar="N", help="how many at most"),
        Option("--damaged", is_flag=True, help="only damaged versions, each with the reason"),
    )
    add_command(
        commands, "info", run.info, "show all that is known of a version", f"{_PROGRAM} info {_ID}", _model_id()
    )
    add_command(
        commands, "card", run.card, "print a version's model card in Markdown", f"{_PROGRAM} card {_ID}", _model_id()
    )
    add_command(commands, "stats", run.stats, "count versions, bytes and aliases", f"{_PROGRAM} stats")


def _add_promotion(commands: Program) -> None:
    alias = add_group(commands, "alias", "names such as champion that move from version to version")
    name = Argument("name", "model name", shell_complete=completion.model_names)
    alias_name = Argument("alias", "such as champion", shell_complete=completion.aliases)
    add_command(
        alias,
        "set",
        run.alias_set,
        "point an alias at a version",
        f"{_PROGRAM} alias set fraud_detector champion {_ID}",
        name,
        alias_name,
        _model_id(),
        _reason(),
    )
    add_command(
        alias,
        "remove",
        run.alias_remove,
        "remove an alias; its history stays",
        f"{_PROGRAM} alias remove fraud_detector champion",
        name,
        alias_name,
        _reason(),
    )
    add_command(
        alias,
        "list",
        run.alias_list,
        "list aliases",
        f"{_PROGRAM} alias list fraud_detector",
        Argument("name", "of this model only", required=False, shell_complete=completion.model_names),
    )


def _add_proof(commands: Program) -> None:
    add_command(
        commands,
        "prove",
        run.prove,
        "answer golden rows under the libraries installed here: of the versions named, or of all",
        f"{_PROGRAM} prove {_ID}",
        _model_id(nargs=-1),
        Option("--all", is_flag=True, help="every version of the registry"),
    )
    add_command(
        commands,
        "verify",
        run.verify,
        "compare artifacts, manifests, aliases and audit log: of the versions named, or of everything",
        f"{_PROGRAM} verify",
        _model_id(nargs=-1),
        Option(
            "--public-key",
            multiple=True,
            metavar="KEY",
            help="also look for a signature by this key: its text or FILE.pub",
        ),
        Option(
            "--policy",
            type=click.Choice(("require", "warn", "off")),
            default="require",
            help="what a missing signature means (require)",
        ),
        Option(
            "--repair", metavar="FROM", help="first bring back what is damaged or missing, from a backup or registry"
        ),
    )
    add_audit_command(commands, _PROGRAM)
    add_command(
        commands,
        "sign",
        run.sign,
        "add a signature to a version",
        f"{_PROGRAM} sign {_ID} --sign-key .secrets/signing.key",
        _model_id(),
        Option("--sign-key", type=path_type(), required=True, metavar="FILE", help="an Ed25519 key"),
    )


def _add_keys(commands: Program) -> None:
    add_command(
        commands,
        "keygen",
        run.keygen,
        "write a new key to a file",
        f"{_PROGRAM} keygen new.key",
        Argument("file", type=path_type()),
        Option("--signing", is_flag=True, help="an Ed25519 key; its public key goes to FILE.pub"),
    )
    add_command(
        commands,
        "rotate-key",
        run.rotate_key,
        "give artifacts other keys, of the versions named or of all; digests stay",
        f"{_PROGRAM} rotate-key --new-key .secrets/new.key",
        _model_id(nargs=-1),
        Option("--new-key", type=path_type(), multiple=True, required=True, metavar="FILE", help="may be repeated"),
    )


def _add_files(commands: Program) -> None:
    add_command(
        commands,
        "inspect",
        run.inspect,
        "show what a model file names, without loading it",
        f"{_PROGRAM} inspect models/xgboost_model.joblib",
        Argument("file", type=path_type()),
    )
    add_command(
        commands,
        "doctor",
        run.doctor,
        "show the walls around the process that opens model files",
        f"{_PROGRAM} doctor",
    )
    add_command(
        commands,
        "convert",
        run.convert,
        "save a model file or artifact in another format",
        f"{_PROGRAM} convert models/xgboost_model.joblib out.artifact --to pickle --compression gzip",
        Argument("source", metavar="IN", type=path_type()),
        Argument("target", metavar="OUT", type=path_type()),
        Option("--to", type=_FORMATS, default="joblib", help="serializer of the new file (joblib)"),
        Option("--compression", type=_COMPRESSIONS, help="of the new file; the old one's when not given"),
    )


def _add_moving(commands: Program) -> None:
    add_command(
        commands,
        "export",
        exchange_commands.export_model,
        "write a version as one bundle, or as an MLflow model",
        f"{_PROGRAM} export {_ID} model.bundle\n  {_PROGRAM} export {_ID} fraud_mlflow --format mlflow",
        _model_id(),
        Argument(
            "path",
            "bundle: a file, or a directory that is there: <model id>.bundle in it; mlflow: a new directory",
            type=path_type(),
        ),
        Option(
            "--format",
            type=click.Choice(("bundle", "mlflow")),
            default="bundle",
            help="bundle, encrypted as in the registry; or mlflow, a directory that is not encrypted (bundle)",
        ),
    )
    add_command(
        commands,
        "import",
        exchange_commands.import_model,
        "take a bundle or an MLflow model in",
        f"{_PROGRAM} import model.bundle\n"
        f"  {_PROGRAM} import mlruns/1/RUN/artifacts/model --name fraud_detector --positive-class fraud",
        Argument(
            "path",
            "a bundle that `export` wrote, or an MLflow model: its directory, its run's, or a .zip or .tar of one",
            type=path_type(),
        ),
        _reason(),
        *_mlflow_options(),
    )
    _add_promote_version(commands)
    add_command(
        commands,
        "backup",
        run.backup,
        "copy the registry into a directory; again, only what is new",
        f"{_PROGRAM} backup /mnt/backup/registry",
        Argument("destination", "a directory or s3://bucket/prefix", metavar="DEST"),
    )
    add_command(
        commands,
        "restore",
        run.restore,
        "copy from a backup what the registry does not have, or has damaged",
        f"{_PROGRAM} restore /mnt/backup/registry",
        Argument("source", "a directory or s3://bucket/prefix", metavar="SRC"),
    )


def _add_promote_version(commands: Program) -> None:
    add_command(
        commands,
        "promote-version",
        exchange_commands.promote_version,
        "move a version into another registry, with its signatures, golden rows, status and evidence",
        f"{_PROGRAM} promote-version {_ID} --from staging --to production\n"
        f"  {_PROGRAM} promote-version {_ID} --from s3://registry-staging --to s3://registry-production",
        _model_id(),
        Option(
            "--from",
            "source",
            metavar="REGISTRY",
            help="a directory, s3://bucket or an environment; this registry if not given",
        ),
        Option("--to", "target", required=True, metavar="REGISTRY", help="a directory, s3://bucket or an environment"),
        Option("--follow-keys", is_flag=True, help="replace files in the target whose keys were rotated in the source"),
        _reason(),
    )


def _mlflow_options() -> list[click.Parameter]:
    """The options of `import` about an MLflow model."""
    section = "For MLflow models"
    options: list[Option] = [
        Option("--name", default="", metavar="NAME", help="model name; MLflow's own name when not given"),
        Option("--description", default="", metavar="TEXT", help="a sentence about the version"),
        Option("--tags", default="", metavar="TAGS", help="texts separated by commas"),
        Option("--sign-key", type=path_type(), metavar="FILE", help="sign the manifest with this key"),
        *contract_options(),
    ]
    for option in options:
        option.section = section
    return list(options)


def _add_removal(commands: Program) -> None:
    add_command(
        commands,
        "delete",
        run.delete,
        "delete a version for good",
        f"{_PROGRAM} delete {_ID}",
        _model_id(),
        _reason(),
    )
    add_command(
        commands,
        "cleanup",
        run.cleanup,
        "remove old versions of the registry, or old model files of a directory",
        f"{_PROGRAM} cleanup models/ --keep-latest 5 --dry-run",
        Argument("directory", metavar="DIR", type=path_type()),
        Option(
            "--keep-latest",
            type=click.IntRange(min=1),
            default=5,
            metavar="N",
            help="how many versions stay of each model (5); files are of one model when their names differ in a "
            "version or date at the end only, such as fraud_v1.joblib and fraud_20241009_123456.pkl",
        ),
        Option("--dry-run", is_flag=True, help="tell only what would go"),
    )


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
