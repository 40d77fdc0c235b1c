"""The command `audit` of manage_models.py: shows, proves and exports the audit log."""

import json
import sys

import click

from model_store.errors import InvalidInput
from scripts import completion
from scripts.command_line import Option, Options, Program, add_command, show, table
from scripts.registry_commands import open_registry, resolved
from scripts.times import Since

_PRINT = "-"
_COLUMNS = ("sequence", "at", "actor", "action", "model_id", "environment", "reason")


def audit(options: Options) -> int:
    """Shows the audit log, proves it, prints its head, or exports it."""
    if any(sign in options.model for sign in "@:/") or options.model.endswith(".bundle"):
        options.model = resolved(open_registry(), options.model)
    if not options.verify and (options.backup or options.public_key or options.head not in (None, _PRINT)):
        raise InvalidInput("--head SEQUENCE:DIGEST, --backup and --public-key belong to --verify")
    if options.verify:
        return _verify(options)
    if options.head is not None:
        return _print_head(options)
    return _export(options) if options.format == "ocsf" else _list(options)


def _verify(options: Options) -> int:
    from model_store.registry.log.audit import AuditHead
    from model_store.registry.signing import read_public_key
    from model_store.registry.upkeep.log_proof import prove_audit_log

    proof = prove_audit_log(
        open_registry(),
        public_keys=[read_public_key(given) for given in options.public_key],
        heads=[AuditHead.parse(options.head)] if options.head not in (None, _PRINT) else [],
        backups=options.backup,
    )
    show(options, proof.to_dict(), str(proof))
    return 0


def _print_head(options: Options) -> int:
    head = open_registry().audit.head()
    show(options, {"sequence": head.sequence, "digest": head.digest}, str(head))
    return 0


def _list(options: Options) -> int:
    log = open_registry().audit
    records = log.select(options.since, options.actor, options.model, options.since_sequence)
    rows = [record.to_dict() for record in records]
    shown = [{**row, "environment": row["details"].get("environment", ""), "actor": _actor(row)} for row in rows]
    show(options, rows, table(_COLUMNS, shown, empty="no records"))
    return 0


def _actor(row: dict[str, object]) -> str:
    details = row["details"]
    claimed = details.get("claimed") if isinstance(details, dict) else None
    return f"{row['actor']} (claims to be {claimed})" if claimed else str(row["actor"])


def _export(options: Options) -> int:
    """Writes one JSON object a line, as the log is read; a reader that stops goes on by `--since-sequence`."""
    from model_store.registry.log.ocsf import ocsf_event

    options.status_line.stop()
    registry = open_registry()
    for record, digest in registry.audit.links(options.since_sequence):
        wanted = record.at >= options.since and options.actor in ("", record.actor)
        if wanted and options.model in ("", record.model_id):
            event = ocsf_event(record, registry.storage.location, digest)
            sys.stdout.write(json.dumps(event, sort_keys=True) + "\n")
    return 0


def add_audit_command(commands: Program, program: str) -> None:
    """Adds `audit`.

    Args:
        commands: the program.
        program: its name, for examples.
    """
    add_command(
        commands,
        "audit",
        audit,
        "show the audit log, prove it, or export it",
        f"{program} audit --since 2026-10-01\n  {program} audit --verify --backup /mnt/backup/registry\n"
        f'  {program} audit --head > audit.head\n  {program} audit --verify --head "$(cat audit.head)"\n'
        f"  {program} audit --format ocsf --since-sequence 1200",
        Option("--verify", is_flag=True, help="prove the log: its chain, and the heads kept in signatures and backups"),
        Option(
            "--head",
            is_flag=False,
            flag_value=_PRINT,
            metavar="[SEQUENCE:DIGEST]",
            help="print the head, to keep elsewhere; with --verify, a head that you kept",
        ),
        Option("--backup", multiple=True, metavar="PLACE", help="with --verify, a backup to compare with"),
        Option(
            "--public-key",
            multiple=True,
            metavar="KEY",
            help="with --verify, count only signatures by this key (its text or file)",
        ),
        Option(
            "--since", default="", type=Since(), metavar="TIME", help="a date or time, such as 2026-10-01T12:00:00Z"
        ),
        Option(
            "--since-sequence",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="only the records after number N, which has to be there",
        ),
        Option("--actor", default="", metavar="ACTOR", help="only what this actor did"),
        Option("--model", default="", metavar="MODEL_ID", shell_complete=completion.models, help="only this version's"),
        Option(
            "--format",
            type=click.Choice(("table", "ocsf")),
            default="table",
            help="ocsf: one JSON object a line for a SIEM, with --json too; API Activity (6003) of OCSF 1.1.0",
        ),
    )
