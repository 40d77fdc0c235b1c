"""What a repair, a restore or a backup has done so far, and what it knows of both storages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conventions.artifact_files import MANIFEST_FILE
from model_store.errors import ModelNotFound
from model_store.registry.files.layout import version_prefix
from model_store.registry.log.recorded import Recorded, read_recorded
from model_store.registry.recovery.damage import file_damage
from model_store.registry.recovery.log_repair import is_same_log, last_number
from model_store.storage.base import Storage


@dataclass
class Outcome:
    """The result of bringing files back."""

    copied: list[str] = field(default_factory=list)
    """The keys that were written."""
    present: int = 0
    """How many files were intact already."""
    damaged: dict[str, str] = field(default_factory=dict)
    """The keys that stay damaged, each with the reason."""
    newer: dict[str, list[str]] = field(default_factory=dict)
    """By key what the audit log says, in place of what the older copy says."""
    again: list[str] = field(default_factory=list)
    """The versions that the audit log says were deleted, and that are there again."""
    brings_back: bool = True
    """Whether files are brought back into a registry; false where a backup is written."""
    brings_deleted: bool = True
    """Whether versions come back that were deleted, or may have been."""
    actor: str = ""
    """Who brings them back."""
    states: list[str] = field(default_factory=list)
    """The versions, and the keys of alias files, that a copy was brought of."""
    aliases: list[str] = field(default_factory=list)
    """The aliases of the files that were brought, `name@alias`."""
    _measured: dict[str, dict[str, str]] = field(default_factory=dict)
    _recorded: Recorded | None = None
    _copied_to: int | None = None

    def source_damage(self, source: Storage, model_id: str) -> dict[str, str]:
        """The damage of a version of the source; measured once."""
        if model_id not in self._measured:
            try:
                self._measured[model_id] = {**file_damage(source, model_id), **_links(source, model_id)}
            except ModelNotFound as error:
                self._measured[model_id] = {MANIFEST_FILE: str(error)}
        return self._measured[model_id]

    def recorded(self, target: Storage) -> Recorded:
        """What the target's log tells; read once."""
        if self._recorded is None:
            self._recorded = read_recorded(target)
        return self._recorded

    def may_be_deleted(self, target: Storage, model_id: str) -> str:
        """Why nobody can say whether a missing version was deleted; empty when the log says that it was not."""
        recorded = self.recorded(target)
        if self.brings_deleted or recorded.seen.get(model_id, 0) > recorded.uncertain_to or not recorded.uncertain_to:
            return ""
        return (
            f"missing, and records of the audit log up to {recorded.uncertain_to} that are lost or damaged may tell "
            "that it was deleted; if it was not: python scripts/manage_models.py restore BACKUP"
        )

    def brought(
        self, key: str, subject: str, entered: Sequence[str], left: Sequence[str], unrecorded: Sequence[str] = ()
    ) -> None:
        """Keeps what a copy was brought of, and names what it lacks.

        Args:
            key: of the state or the alias file.
            subject: the version, or the key of the alias file.
            entered: what the log says and the copy does not, and what is there now.
            left: what the log says and nobody could bring.
            unrecorded: what the copy says and the log does not, and what was left out.
        """
        self.states.append(subject)
        if entered:
            self.newer[key] = list(entered)
        reasons = []
        if left:
            reasons.append(f"the copy is older than the audit log, and this could not be brought: {', '.join(left)}")
        if unrecorded:
            reasons.append(
                f"left out, since no record of the audit log tells of it: {', '.join(unrecorded)}; where it is right, "
                "decide it again: python scripts/manage_models.py alias set, update-status or approve"
            )
        if reasons:
            self.damaged[key] = "; ".join(reasons)

    def name_uncertain(self, source: Storage, target: Storage, key: str) -> None:
        """Names a copy that may be older than records that are lost or damaged.

        Args:
            source: where the copy comes from.
            target: holds the log.
            key: of the state or the alias file.
        """
        lost = self.recorded(target).uncertain_to
        if not lost or key in self.damaged:
            return
        if self._copied_to is None:
            self._copied_to = last_number(source) if is_same_log(source, target) else 0
        if self._copied_to < lost:
            self.damaged[key] = (
                f"brought from a copy; records of the audit log up to {lost} are lost or damaged, and may tell of a "
                "later change: compare it"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        newer = {"newer": dict(sorted(self.newer.items()))} if self.newer else {}
        again = {"again": sorted(self.again)} if self.again else {}
        damaged = dict(sorted(self.damaged.items()))
        return {"copied": self.copied, "present": self.present, "damaged": damaged, **newer, **again}


def _links(source: Storage, model_id: str) -> dict[str, str]:
    """The files of a version that are links: what they lead to is not the source's."""
    if source.location.startswith("s3://"):
        return {}
    top = source.path(version_prefix(model_id))
    found = {each.name: f"{each}: a link" for each in top.rglob("*") if each.is_symlink()}
    return {**found, MANIFEST_FILE: f"{top}: a link"} if top.is_symlink() or top.parent.is_symlink() else found
