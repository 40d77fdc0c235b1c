"""What the audit log says of each version's state and of each alias, in order: its last word is what has to be true.

A state or an alias file is older than a word that it does not hold. Of a record whose command was killed nobody can say
whether it took effect; what failed has a second record, which takes the word back.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from model_store.registry.log.audit import AuditRecord

_FAILED = ("failed", "interrupted")
DEPLOYING = ("deploy", "canary", "blue-green", "promote", "rollback", "abort", "resume", "up", "destroy")
"""Actions that change which version serves."""


class Kind(StrEnum):
    """What a word says of a version."""

    STATUS = "status"
    BEGIN = "begin"
    """It serves in an environment."""
    END = "end"
    """It no longer serves there."""


@dataclass(frozen=True)
class Word:
    """What one record says of a version's state."""

    number: int
    """Of the record."""
    at: str
    """Of the record, RFC 3339, UTC."""
    actor: str
    reason: str
    kind: Kind
    value: str
    """The status, or the environment."""
    deployment_id: str = ""
    evidence: tuple[str, ...] = ()
    repeated: bool = False
    """Whether the version had this status already: there is new evidence only."""
    validated_by: str = ""
    """Who validated it in the registry that a promotion brought it from."""
    is_brought: bool = False
    """Whether the actor brought the version, or its status, from another registry."""
    was_deleted: bool = False
    """Whether the version was deleted before, and came again."""

    def __str__(self) -> str:
        """What the record says, such as `archived`."""
        if self.kind is Kind.STATUS:
            return f"{self.value}, on the evidence {', '.join(self.evidence)}" if self.repeated else self.value
        serves = "serves" if self.kind is Kind.BEGIN else "no longer serves"
        return f"{serves} in {self.value} ({self.deployment_id})"


@dataclass(frozen=True)
class AliasWord:
    """What one record says of an alias."""

    number: int
    at: str
    actor: str
    reason: str
    model_id: str | None
    """What the alias points at; None: it was removed."""

    def __str__(self) -> str:
        """What the record says, such as `removed`."""
        return self.model_id or "removed"


@dataclass
class LastWords:
    """The words of a log, oldest first."""

    versions: dict[str, list[Word]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], list[AliasWord]] = field(default_factory=dict)
    """By model name and alias."""
    keys: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    """By version the last rotation: the number of its record, and the names of the keys."""
    open_ended: dict[str, tuple[str, Word]] = field(default_factory=dict)
    """By environment the version of the last record of a change that begins, where none tells how it ended."""
    _deleted: dict[str, str] = field(default_factory=dict)
    """By version when it was deleted last."""
    _serving: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By environment the version that serves there, and its deployment."""

    def add(self, record: AuditRecord) -> None:
        """Takes in the next record of the log."""
        outcome, details = record.details.get("outcome"), record.details
        if record.action == "alias":
            self._alias(record)
        elif record.action == "status":
            if outcome in _FAILED:
                self._take_back(record)
            elif "to" in details:
                self._status(record)
        elif record.action == "delete" and outcome not in _FAILED:
            self._deleted[record.model_id] = record.at
        elif record.action == "rotate-key" and outcome not in _FAILED:
            self.keys[record.model_id] = record.sequence, tuple(sorted(_texts(details.get("keys"))))
        elif environment := _text(details.get("environment")):
            self._serves(record, environment)

    def begin_again(self, record: AuditRecord) -> None:
        """A version that was deleted comes again, as trained: what was said of it before no longer counts."""
        self.keys.pop(record.model_id, None)
        at = self._deleted.get(record.model_id, record.at)
        said = (record.sequence, at, record.actor, record.reason)
        self.versions[record.model_id] = [Word(*said, Kind.STATUS, "trained", is_brought=True, was_deleted=True)]

    def is_serving(self, word: Word, model_id: str) -> bool:
        """Whether a version still serves where a word says so."""
        return self._serving.get(word.value) == (model_id, word.deployment_id)

    def _status(self, record: AuditRecord) -> None:
        details, evidence = record.details, record.details.get("evidence")
        word = Word(
            record.sequence,
            record.at,
            record.actor,
            record.reason,
            Kind.STATUS,
            _text(details["to"]),
            evidence=(evidence,) if isinstance(evidence, str) else tuple(_texts(evidence)),
            repeated=details.get("from") == details["to"],
            validated_by=_text(details.get("validated_by")),
            is_brought="promoted_from" in details,
        )
        self.versions.setdefault(record.model_id, []).append(word)

    def _take_back(self, record: AuditRecord) -> None:
        words = self.versions.get(record.model_id, [])
        for word in reversed(words):
            if word.kind is Kind.STATUS and word.actor == record.actor:
                words.remove(word)
                return

    def _serves(self, record: AuditRecord, environment: str) -> None:
        """An environment's version changes with the second record of a deployment, which says that it was done."""
        done, deployment_id = record.details.get("outcome") == "succeeded", _text(record.details.get("deployment_id"))
        before, said = self._serving.get(environment), (record.sequence, record.at, record.actor, record.reason)
        if record.action in DEPLOYING:
            self.open_ended.pop(environment, None)
            if "outcome" not in record.details:
                begun = Word(*said, Kind.BEGIN, environment, f"{record.action} whose end is not recorded")
                self.open_ended[environment] = record.model_id, begun
        if record.action == "up" and before and before[0] != record.model_id:
            del self._serving[environment]  # nothing tells whether the update was done
        if not done or not (deployment_id or record.action == "destroy"):
            return
        if before and before != (record.model_id, deployment_id):
            ended = Word(*said, Kind.END, environment, before[1])
            self.versions.setdefault(before[0], []).append(ended)
        self._serving.pop(environment, None)
        if deployment_id:
            self._serving[environment] = record.model_id, deployment_id
            begun = Word(*said, Kind.BEGIN, environment, deployment_id)
            self.versions.setdefault(record.model_id, []).append(begun)

    def _alias(self, record: AuditRecord) -> None:
        details = record.details
        words = self.aliases.setdefault((_text(details.get("model_name")), _text(details.get("alias"))), [])
        if details.get("outcome") in _FAILED:
            mine = [word for word in words if word.actor == record.actor]
            if mine:
                words.remove(mine[-1])
            return
        model_id = None if details.get("removed") else record.model_id
        words.append(AliasWord(record.sequence, record.at, record.actor, record.reason, model_id))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
