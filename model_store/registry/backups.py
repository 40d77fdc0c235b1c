"""Backups of whole registries: what never changes is copied once, what changes as it is now.

Damage never spreads: a damaged file is named and not copied, and a good copy in the backup stays.
"""

from pathlib import Path
from typing import Any

from conventions.artifact_files import STATE_FILE
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.anchors import keep_in_backup
from model_store.registry.layout import file_sha256, storage_at
from model_store.registry.log_repair import record_damage, repair_log
from model_store.registry.misplaced import misplaced
from model_store.registry.placing import replace
from model_store.registry.progress import Step, no_step
from model_store.registry.registry import ModelRegistry
from model_store.registry.repair import WITHOUT_STATE, Outcome, alias_damage, bring_back, is_directory, require_registry
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
        VersionConflict: the destination holds something else, intact, in the place of what never changes.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    head = registry.record_reading("backup", reason=str(destination))
    source, target = registry.storage, storage_at(destination)
    if head is not None:
        keep_in_backup(target, head)
    outcome = Outcome(damaged={f"models/{name}": reason for name, reason in misplaced(source).items()})
    bring_back(source, target, outcome, step=step, strict=True)
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
        not be restored, each with the reason.

    Raises:
        AccessDenied: the actor's role does not allow it.
        InvalidInput: the source holds no registry.
        VersionConflict: the registry holds something else, intact, in the place of what never changes.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", "")
    storage = storage_at(source)
    require_registry(storage)
    outcome = Outcome()
    # Two logs cannot be joined: a registry that has begun one keeps its own. A restore that was killed goes on.
    if _is_prefix(registry.storage, storage):
        _copy_log(storage, registry.storage, outcome)
    else:
        repair_log(storage, registry.storage, outcome.copied, outcome.damaged)
    registry.audit.append("restore", reason=str(source))
    bring_back(storage, registry.storage, outcome, step=step, strict=True)
    _forget_unknown_states(storage, registry.storage, outcome)
    registry.audit.append("restore", reason=str(source), copied=len(outcome.copied), outcome="succeeded")
    return _summary(outcome)


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
    for key in keys:
        if key in outcome.copied or not target.exists(key):
            continue
        parts = key.split("/")
        if parts[0] == "models":
            if not is_directory(target, "/".join(parts[:3])) or parts[3] in outcome.source_damage(source, parts[2]):
                continue
        elif alias_damage(source, key):
            continue
        path = source.path(key)
        if file_sha256(path) != file_sha256(target.path(key)):
            replace(target, key, path)
            outcome.copied.append(key)
            outcome.present -= 1


def _copy_log(source: Storage, target: Storage, outcome: Outcome) -> None:
    for key in source.keys("audit"):
        if not key.endswith(".json"):
            continue
        if reason := record_damage(source, key):
            outcome.damaged[key] = reason
        elif record_damage(target, key):
            replace(target, key, source.path(key))
            outcome.copied.append(key)
        else:
            outcome.present += 1


def _name_damage(source: Storage, outcome: Outcome) -> None:
    for name in source.names("models"):
        for model_id in source.names(f"models/{name}"):
            for file, reason in outcome.source_damage(source, model_id).items():
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
        if key.endswith(".json"):
            try:
                if log.read(key) != whole.read(key):
                    return False
            except (ModelNotFound, UnreadableModel):
                return False
    return True
