"""Backups of whole registries: what never changes is copied once, what changes as it is now."""

from pathlib import Path

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, MANIFEST_FILE, RUNTIME_FILE, STATE_FILE
from model_store.artifact.reader import measure_digest
from model_store.errors import InvalidInput, VersionConflict
from model_store.registry.anchors import keep_in_backup
from model_store.registry.audit import HINT_FILE
from model_store.registry.layout import file_sha256, storage_at
from model_store.registry.progress import Step, no_step
from model_store.registry.registry import ModelRegistry
from model_store.storage.base import Storage


def backup(registry: ModelRegistry, destination: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies a registry to another place: what never changes once, what changes as it is now.

    Args:
        registry: to copy.
        destination: a directory or `s3://bucket/prefix`, empty or with an earlier backup.
        step: told of progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        VersionConflict: the destination holds something else in the place of what never changes.
        ChecksumMismatch: the audit log was rewritten since an earlier backup.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    head = registry.audit.append("backup", reason=str(destination))
    target = storage_at(destination)
    keep_in_backup(target, head)
    return _copy(registry.storage, target, overwrite_changing=True, step=step)


def restore(registry: ModelRegistry, source: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies from a backup what the registry does not have; what it has stays.

    Args:
        registry: to copy into.
        source: what `backup` made.
        step: told of progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        InvalidInput: the source holds no registry.
        VersionConflict: the registry holds something else in the place of what never changes.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", "")
    storage = storage_at(source)
    if not storage.names("models"):
        raise InvalidInput(f"{source}: holds no registry")
    # Two logs cannot be joined: a registry that has begun one keeps its own, a new one goes on with the backup's.
    log = [] if registry.storage.keys("audit") else [key for key in storage.keys("audit") if key != HINT_FILE]
    for key in log:
        _copy_one(storage, registry.storage, key, overwrite_changing=False)
    registry.audit.append("restore", reason=str(source))
    counts = _copy(storage, registry.storage, overwrite_changing=False, step=step)
    return {**counts, "copied": counts["copied"] + len(log)}


def _copy(source: Storage, target: Storage, *, overwrite_changing: bool, step: Step) -> dict[str, int]:
    counts = {"copied": 0, "present": 0}
    tops = ("models", "aliases", "audit") if overwrite_changing else ("models", "aliases")
    keys = [key for top in tops for key in source.keys(top) if key != HINT_FILE]
    # A manifest makes a model version: it comes after the files it speaks of.
    for number, key in enumerate(sorted(keys, key=lambda key: key.endswith(MANIFEST_FILE))):
        step(number, len(keys), key)
        copied = _copy_one(source, target, key, overwrite_changing=overwrite_changing)
        counts["copied" if copied else "present"] += 1
    return counts


def _copy_one(source: Storage, target: Storage, key: str, *, overwrite_changing: bool) -> bool:
    path = source.path(key)
    if target.exists(key):
        changing = key.startswith("aliases/") or key.endswith(f"/{STATE_FILE}")
        present = target.path(key)
        if file_sha256(path) == file_sha256(present) or (changing and not overwrite_changing):
            return False
        # A rotated artifact differs in its key slots only; its digest is still the manifest's.
        rotated = path.name in (ARTIFACT_FILE, RUNTIME_FILE, GOLDEN_FILE) and measure_digest(path) == measure_digest(
            present
        )
        if not changing and not rotated:
            raise VersionConflict(f"{target.location}/{key}: holds something else than the source; neither was changed")
    target.replace_file(key, path)
    return True
