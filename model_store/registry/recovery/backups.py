"""Backups of whole registries: what never changes is copied once, what changes as it is now.

Damage never spreads: a damaged file is named and not copied, and a good copy in the backup stays.
"""

from pathlib import Path
from typing import Any

from conventions.artifact_files import ACCESS_FILE, KEPT_FILES, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.errors import ChecksumMismatch, InvalidInput, ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.anchors import keep_in_backup, signature_anchors
from model_store.registry.files.layout import file_sha256, resolved_location, storage_at
from model_store.registry.files.placing import replace
from model_store.registry.files.progress import Step, no_step
from model_store.registry.files.unfinished import is_unfinished
from model_store.registry.log.audit import is_record
from model_store.registry.log.recorded import Recorded, read_recorded
from model_store.registry.misplaced import misplaced
from model_store.registry.recovery.alias_repair import alias_damage
from model_store.registry.recovery.damage import version_ids
from model_store.registry.recovery.log_repair import first_record, name_lost, record_damage
from model_store.registry.recovery.repair import (
    WITHOUT_STATE,
    bring_back,
    bring_log,
    is_directory,
    require_registry,
    told_of,
)
from model_store.registry.recovery.repair_outcome import Outcome
from model_store.registry.recovery.same_registry import lost_its_log
from model_store.registry.recovery.signature_repair import lost_signatures
from model_store.registry.recovery.worse_copies import worse_than_copy
from model_store.registry.registry import ModelRegistry
from model_store.storage.base import Storage


def backup(registry: ModelRegistry, destination: Path | str, step: Step = no_step) -> dict[str, Any]:
    """Copies a registry to another place: what never changes once, what changes as it is now.

    Args:
        registry: to copy.
        destination: a directory or `s3://bucket/prefix`, empty or with an earlier backup.
        step: told of progress.

    Returns:
        `copied` and `present`: how many files were copied, and how many were there already; `damaged`: the keys that
        could not be backed up, each with the reason.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ChecksumMismatch: the audit log was rewritten since an earlier backup.
        InvalidInput: the destination is the registry itself, or lies in it.
        VersionConflict: the destination is another registry, or holds the backup of one.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    source, target = registry.storage, storage_at(destination)
    _require_place(source, target)
    head = registry.record_reading("backup", reason=str(destination))
    if head is not None:
        keep_in_backup(target, head)
    outcome = Outcome(
        brings_back=False, damaged={f"models/{name}": reason for name, reason in misplaced(source).items()}
    )
    bring_back(source, target, outcome, step=step)
    _copy_changing(source, target, outcome)
    _copy_log(source, target, outcome)
    _name_damage(source, outcome)
    _forget_unknown_states(source, target, outcome)
    return _summary(outcome)


def restore(registry: ModelRegistry, source: Path | str, step: Step = no_step) -> dict[str, Any]:
    """Copies from a backup what the registry does not have, or has damaged; what is intact stays.

    Args:
        registry: to copy into.
        source: what `backup` made.
        step: told of progress.

    Returns:
        `copied` and `present`: how many files were copied, and how many were intact; `damaged`: the keys that could
        not be restored, each with the reason; `newer` and `again`, where there are any: what the audit log says since,
        and the versions that it says were deleted.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ChecksumMismatch: the registry has lost its audit log, and the source does not have it.
        InvalidInput: the source holds no registry.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", "")
    storage = storage_at(source)
    require_registry(storage)
    outcome = Outcome(actor=registry.actor)
    # Two logs cannot be joined: a registry that has begun one keeps its own. A restore that was killed goes on.
    if lost_its_log(registry.storage) or not _is_prefix(registry.storage, storage):
        loss = bring_log(storage, registry.storage, outcome)
    else:
        _copy_log(storage, registry.storage, outcome)
        loss = name_lost(storage, registry.storage, outcome.damaged)
    logs = sorted({anchor.log for anchor in signature_anchors(storage)})
    registry.audit.append("restore", reason=str(source), logs=logs, **loss.told())
    bring_back(storage, registry.storage, outcome, step=step)
    _forget_unknown_states(storage, registry.storage, outcome)
    told = told_of(storage, registry.storage, outcome)
    registry.audit.append("restore", reason=str(source), logs=logs, **told)
    return _summary(outcome)


def _require_place(source: Storage, target: Storage) -> None:
    """Raises unless a backup of a registry may be written to a place.

    Raises:
        InvalidInput: the place is the registry itself, or lies in it.
        ChecksumMismatch: the place holds a backup of this registry with another log.
        VersionConflict: the place is a registry, or holds the backup of another one.
    """
    own, place = resolved_location(source.location), resolved_location(target.location)
    if place == own or place.startswith(f"{own}/"):
        raise InvalidInput(f"{target.location}: lies in the registry that it would back up; name another place")
    if target.exists(ACCESS_FILE):
        raise VersionConflict(f"{target.location}: is a registry; nothing was copied; name an empty place")
    ours, theirs = first_record(source), first_record(target)
    if ours is None or theirs is None or ours == theirs:
        return
    if set(version_ids(source)) & set(version_ids(target)):
        raise ChecksumMismatch(
            f"audit record 1 is not the one that the backup {target.location} keeps: the log was rewritten since then"
        )
    raise VersionConflict(
        f"{target.location}: is the backup of another registry; nothing was copied; name an empty place"
    )


def _forget_unknown_states(source: Storage, target: Storage, outcome: Outcome) -> None:
    """Leaves out states that the source never had: the bucket of a stack holds versions without their states."""
    for key in [key for key in outcome.damaged if key.endswith(f"/{STATE_FILE}")]:
        if not source.exists(key) and (not target.exists(key) or WITHOUT_STATE.encode() in target.read(key)):
            del outcome.damaged[key]


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {**outcome.to_dict(), "copied": len(outcome.copied)}


def _copy_changing(source: Storage, target: Storage, outcome: Outcome) -> None:
    """Intact states and aliases, and files whose keys were rotated, in place of the copies of before."""
    keys = [key for key in source.keys("models") if key.count("/") == 3] + source.keys("aliases")
    recorded: Recorded | None = None
    for key in keys:
        if key in outcome.copied or not target.exists(key) or not _may_change(source, target, key, outcome):
            continue
        path = source.path(key)
        if file_sha256(path) == file_sha256(target.path(key)):
            continue
        if key.endswith(f"/{SIGNATURE_FILE}") and (lost := lost_signatures(source, target, key)):
            outcome.damaged[key] = f"{lost} of the copy in {target.location}; the copy stays"
            continue
        if key.endswith(f"/{STATE_FILE}") or key.startswith("aliases/"):
            recorded = recorded or read_recorded(source)
            if worse := worse_than_copy(source, target, key, recorded):
                outcome.damaged[key] = f"{worse}; the copy in {target.location} stays"
                continue
        replace(target, key, path)
        outcome.copied.append(key)
        outcome.present -= 1


def _may_change(source: Storage, target: Storage, key: str, outcome: Outcome) -> bool:
    """Whether a file of the registry is intact, and one that replaces its copy where both differ."""
    parts = key.split("/")
    if parts[0] != "models":
        return not alias_damage(source, key)
    if parts[3] not in (*KEPT_FILES, STATE_FILE):
        return False  # none of a version's files, such as a pipe in the place of the evidence
    if "/".join([*parts[:3], MANIFEST_FILE]) in outcome.damaged:
        return False  # of another version in its place
    damage = outcome.source_damage(source, parts[2])
    # Without a manifest nothing can be said of the files that it describes: their good copies stay.
    unknown = MANIFEST_FILE in damage and parts[3] != STATE_FILE
    return is_directory(target, "/".join(parts[:3])) and parts[3] not in damage and not unknown


def _copy_log(source: Storage, target: Storage, outcome: Outcome) -> None:
    for key in source.keys("audit"):
        if not is_record(key):
            continue
        if reason := record_damage(source, key):
            outcome.damaged[key] = reason
        elif record_damage(target, key):
            replace(target, key, source.path(key))
            outcome.copied.append(key)
        elif source.read(key) != target.read(key):
            outcome.damaged[key] = f"{target.location} holds another record of this number; it was not changed"
        else:
            outcome.present += 1


def _name_damage(source: Storage, outcome: Outcome) -> None:
    for name in source.names("models"):
        for model_id in source.names(f"models/{name}"):
            damage = {} if is_unfinished(source, model_id) else outcome.source_damage(source, model_id)
            for file, reason in damage.items():
                outcome.damaged[f"models/{name}/{model_id}/{file}"] = reason
    for key in source.keys("aliases"):
        if reason := alias_damage(source, key):
            outcome.damaged[key] = reason
    # What only the backup has is not the registry's damage.
    for key in [key for key in outcome.damaged if not key.startswith("audit/") and not _is_there(source, key)]:
        del outcome.damaged[key]


def _is_there(source: Storage, key: str) -> bool:
    parts = key.split("/")
    prefix = "/".join(parts[:3]) if parts[0] == "models" else key
    return source.exists(prefix) or source.path(prefix).is_symlink()


def _is_prefix(log: Storage, whole: Storage) -> bool:
    """Whether every record of a log is a record of another, so that the rest can follow."""
    for key in log.keys("audit"):
        if is_record(key):
            try:
                if log.read(key) != whole.read(key):
                    return False
            except (ModelNotFound, UnreadableModel):
                return False
    return True
