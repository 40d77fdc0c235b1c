"""Who made an update, why, from which commit and in which pipeline run: what a stack's own history tells.

The engine records commit and pipeline run of every update by itself. The commands add reason and actor to the update's
message as lines at its end; a plain `pulumi up` has its `--message` as the reason, and its actor in the audit log.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 2000
_LINE = re.compile(r"^(?P<name>Reason|Actor): (?P<value>.+)$")


@dataclass(frozen=True)
class Provenance:
    """What is known of an update beside its result; empty texts are not known."""

    actor: str = ""
    """Who the system says it was."""
    reason: str = ""
    commit: str = ""
    """The commit that was checked out."""
    run: str = ""
    """The pipeline run: its address, or its system and number."""


def with_provenance(message: str, reason: str, actor: str) -> str:
    """The message of an update, with the lines that `read_message` reads.

    Args:
        message: what the update does; lines are joined.
        reason: why; may be empty.
        actor: who.
    """
    message = " ".join(message.split())
    lines = [f"{name}: {_one_line(value)}" for name, value in (("Reason", reason), ("Actor", actor)) if value.strip()]
    return "\n".join([message, "", *lines]) if lines else message


def read_message(message: str) -> tuple[str, Provenance]:
    """The message without its lines of provenance, and what these tell."""
    text, _, rest = message.partition("\n\n")
    lines = [_LINE.match(line) for line in rest.splitlines()]
    if not lines or not all(lines):
        return message, Provenance()
    told = {line["name"]: line["value"] for line in lines if line}
    return text, Provenance(actor=told.get("Actor", ""), reason=told.get("Reason", ""))


def commit_of(environment: Mapping[str, Any]) -> str:
    """The commit in an update's environment, as the engine recorded it; empty outside of a Git repository."""
    return str(environment.get("git.head") or environment.get("ci.pr.headSHA") or "")


def read_run(environment: Mapping[str, Any]) -> str:
    """The pipeline run in an update's environment; empty where no pipeline ran it."""
    if url := environment.get("ci.build.url"):
        return str(url)
    number = environment.get("ci.build.id") or environment.get("ci.build.number")
    return f"{environment.get('ci.system', 'CI')} {number}" if number else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]
