"""Backups of whole registries, what is restored from them, and the repair of single versions."""

from pathlib import Path
from typing import Any

from model_store.errors import InvalidInput
from model_store.registry.anchors import keep_in_backup
from model_store.registry.copying import Copied, copy_log, copy_registry, repair_aliases_of, repair_version
from model_store.registry.layout import storage_at, version_prefix
from model_store.registry.progress import Step, no_step
from model_store.registry.registry import ModelRegistry


def backup(registry: ModelRegistry, destination: Path | str, step: Step = no_step) -> Copied:
    """Copies a registry to another place: what never changes once, what changes as it is now.

    A damaged file is not copied: the backup keeps its earlier, intact one. The same command finishes a backup that was
    interrupted.

    Args:
        registry: to copy.
        destination: a directory or `s3://bucket/prefix`, empty or with an earlier backup.
        step: told of progress.

    Returns:
        What was copied, and what is damaged.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ChecksumMismatch: the audit log was rewritten since an earlier backup.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    head = registry.audit.append("backup", reason=str(destination))
    target = storage_at(destination)
    keep_in_backup(target, head)
    return copy_registry(registry.storage, target, latest=True, step=step)


def restore(registry: ModelRegistry, source: Path | str, step: Step = no_step) -> Copied:
    """Copies from a backup what the registry does not have, or has damaged; what it has intact stays.

    The same command finishes a restoration that was interrupted.

    Args:
        registry: to copy into.
        source: what `backup` made.
        step: told of progress.

    Returns:
        What was copied and repaired, and what the backup itself has damaged.

    Raises:
        AccessDenied: the actor's role does not allow it.
        InvalidInput: the source holds no registry.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", "")
    storage = storage_at(source)
    if not storage.names("models"):
        raise InvalidInput(f"{source}: holds no registry")
    log = copy_log(storage, registry.storage)
    registry.audit.append("restore", reason=str(source))
    copied = copy_registry(storage, registry.storage, latest=False, step=step)
    copied.copied += log
    told: dict[str, Any] = {"copied": copied.copied, "repaired": copied.repaired, "outcome": "succeeded"}
    registry.audit.append("restore", reason=str(source), **told)
    return copied


def repair(registry: ModelRegistry, model_id: str, source: Path | str) -> Copied:
    """Brings back what is damaged or missing of a model version.

    Args:
        registry: of the version.
        model_id: which.
        source: a backup or another registry: a directory or `s3://bucket/prefix`.

    Returns:
        What was brought back, and what the source has damaged.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: it is not a model id.
        InvalidInput: the source holds no registry.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", model_id)
    storage = storage_at(source)
    if not storage.names("models"):
        raise InvalidInput(f"{source}: holds no registry")
    registry.audit.append("repair", model_id, reason=str(source))
    return repair_version(storage, registry.storage, version_prefix(model_id))


def repair_aliases(registry: ModelRegistry, model_name: str, source: Path | str) -> Copied:
    """Brings back the aliases of a model as the source has them, where they cannot be read; errors as for `repair`."""
    registry.require_right("restore", "")
    registry.audit.append("repair", reason=str(source), aliases=model_name)
    return repair_aliases_of(storage_at(source), registry.storage, model_name)
