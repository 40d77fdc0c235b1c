"""Operations on many model versions: verify, delete, clean up.

A version that is deployed, has an alias or is a rollback's target is never removed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conventions import exit_codes
from conventions.artifact_files import ACCESS_FILE
from model_store.errors import (
    ChecksumMismatch,
    InUse,
    ModelNotFound,
    ModelStoreError,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.access_file import list_admins, parse_access, read_access
from model_store.registry.aliases import Aliases
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelMetadata, ModelStatus, is_model_id
from model_store.registry.files.model_directory import cleanup_model_files
from model_store.registry.files.own_files import OwnFiles
from model_store.registry.files.progress import Step, no_step
from model_store.registry.files.verification import require_manifest_digest
from model_store.registry.log.recorded import read_recorded
from model_store.registry.log.reserve import keep_reserve, record_removal
from model_store.registry.misplaced import misplaced, misplaced_records
from model_store.registry.recovery.damage import unfinished_ids, version_ids
from model_store.registry.recovery.older_states import older_than_the_log
from model_store.registry.registry import ModelRegistry
from model_store.registry.removal import remove_version
from model_store.registry.signatures import require_own_signature
from model_store.registry.upkeep.comparing import differences, is_lost
from model_store.registry.upkeep.leftovers import leftovers, remove_leftovers
from model_store.registry.upkeep.log_proof import prove_audit_log
from model_store.storage.base import Storage

ROLLBACK_WINDOW = 5
"""Last different versions of each environment that are kept for a rollback."""
ROLLBACK_WINDOW_DAYS = 90
"""Days that a deployed version is kept for a rollback."""


@dataclass(frozen=True)
class Finding:
    """The result of verifying one object of the registry."""

    subject: str
    """A model id, or `audit`."""
    intact: bool
    detail: str
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self)


def verify_everything(
    registry: ModelRegistry, model_ids: Sequence[str] = (), step: Step = no_step
) -> Iterator[Finding]:
    """Verifies every manifest, state, artifact, alias and audit record, or the named model versions.

    Args:
        registry: the registry.
        model_ids: verifies only these, without aliases and the audit log.
        step: gets the progress.
    """
    wanted = list(model_ids) or version_ids(registry.storage)
    for number, model_id in enumerate(wanted):
        step(number, len(wanted), model_id)
        yield _finding(model_id, lambda each=model_id: _verified(registry, each))
    if not model_ids:
        for model_id in unfinished_ids(registry.storage):
            detail = "what an ended registration or deletion left; cleanup takes it away a day later"
            yield Finding(model_id, intact=True, detail=detail)
        yield from _alias_findings(registry)
        recorded = read_recorded(registry.storage)
        for subject, detail, is_sure in older_than_the_log(registry, recorded, set(wanted)):
            yield Finding(subject, not is_sure, detail, exit_codes.NOT_INTACT if is_sure else 0)
        wrong = [*misplaced_records(registry.storage).items(), *differences(registry, recorded)]
        for subject, reason in [*misplaced(registry.storage).items(), *wrong]:
            yield Finding(subject, intact=False, detail=reason, exit_code=exit_codes.NOT_INTACT)
        if registry.storage.exists(ACCESS_FILE):
            yield _finding("access", lambda: _described_access(registry.storage))
        yield _finding("audit", lambda: prove_audit_log(registry))


def _verified(registry: ModelRegistry, model_id: str) -> str:
    """Verifies the files of a version, and that a signature beside them is of its manifest."""
    digest = registry.verify_artifact(model_id)
    require_own_signature(registry.storage, registry.get_metadata(model_id))
    return digest


def _described_access(storage: Storage) -> str:
    content = read_access(storage) or b""
    if not (admins := list_admins(parse_access(content, storage.location))):
        raise UnreadableModel(f"{ACCESS_FILE} names no admin; make one: manage_models.py access take-over --reason WHY")
    return f"admins: {', '.join(admins)}"


def _alias_findings(registry: ModelRegistry) -> Iterator[Finding]:
    aliases = Aliases(registry)
    for name, targets in aliases.all().items():
        for named in (f"{name}@{alias}" for alias in targets):
            yield _finding(named, lambda each=named: registry.get_metadata(aliases.resolve(each)).model_id)
    for name, reason in aliases.damaged().items():
        yield Finding(f"{name}@", intact=False, detail=reason, exit_code=exit_codes.NOT_INTACT)


def _finding(subject: str, look: Any) -> Finding:
    try:
        return Finding(subject, intact=True, detail=str(look()))
    except ModelStoreError as error:
        return Finding(subject, intact=False, detail=str(error), exit_code=error.exit_code)
    except OSError as error:
        return Finding(subject, intact=False, detail=f"cannot be read ({error})", exit_code=exit_codes.NOT_INTACT)


def reasons_to_keep(
    registry: ModelRegistry, own: OwnFiles | None = None, in_use: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The model versions that must not be deleted, each with the reason.

    Args:
        registry: the registry.
        own: what the files of all its versions say, when the caller has read them.
        in_use: other versions to keep, with their reasons, such as those that stacks name.
    """
    own = own or registry.own_files()
    reasons: dict[str, str] = dict(in_use or {})
    oldest = (datetime.now(UTC) - timedelta(days=ROLLBACK_WINDOW_DAYS)).isoformat()
    deployments: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for model in own.models:
        if model.serving or model.status is ModelStatus.DEPLOYED:
            where = f" in {', '.join(sorted(model.serving))}" if model.serving else ""
            reasons.setdefault(model.model_id, f"is deployed{where}")
        for entry in own.deployments[model.model_id]:
            deployments[entry["environment"]].append((entry["at"], model.model_id))
    for model_id, damage in own.damaged.items():
        reasons.setdefault(model_id, f"is damaged, and may be in use: {damage}")
    for environment, all_entries in deployments.items():
        latest = dict.fromkeys(model_id for _, model_id in sorted(all_entries, reverse=True))
        recent = {model_id for at, model_id in all_entries if at >= oldest}
        for model_id in [*list(latest)[:ROLLBACK_WINDOW], *recent]:
            reasons.setdefault(model_id, f"is what a rollback in {environment} may go back to")
    return {**_aliased(registry), **reasons}


def _aliased(registry: ModelRegistry) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for name, aliases in Aliases(registry).all().items():
        for alias, model_id in aliases.items():
            reasons.setdefault(model_id, f"has the alias {name}@{alias}")
    for name, reason in Aliases(registry).damaged().items():
        for model_id in registry.storage.names(f"models/{name}"):
            reasons.setdefault(model_id, f"may have an alias: {reason}")
    return reasons


def delete_model(
    registry: ModelRegistry, model_id: str, reason: str = "", in_use: Mapping[str, str] | None = None
) -> None:
    """Deletes a model version for good.

    Args:
        registry: the registry.
        model_id: which.
        reason: why; recorded.
        in_use: as for `reasons_to_keep`.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: no model version has this id.
        InUse: it is deployed, has an alias, or is a rollback's target.
        UnreadableModel: it is damaged, and no reason is given to delete it all the same.
        StorageFailed: it cannot be removed.
    """
    registry.require_right("delete", model_id)
    if reason.strip() and is_model_id(model_id) and is_lost(registry.storage, model_id):
        record_removal(registry.audit, registry.storage, "delete", model_id, reason, lost=True)
        return
    damage = _damage_of(registry, model_id)
    if damage and not reason.strip():
        raise UnreadableModel(
            f"{damage}; bring it back: python scripts/manage_models.py verify {model_id} --repair BACKUP; to delete it "
            "all the same, say why: --reason WHY"
        )
    # Nobody can read where a damaged version has served: stacks and aliases say what is in use.
    kept = {**_aliased(registry), **(in_use or {})} if damage else reasons_to_keep(registry, in_use=in_use)
    if model_id in kept:
        raise InUse(f"{model_id} {kept[model_id]}; it cannot be deleted")
    if damage:
        record_removal(registry.audit, registry.storage, "delete", model_id, reason, damage=damage)
        registry.storage.remove(version_prefix(model_id))
    else:
        remove_version(registry, registry.get_metadata(model_id), reason)
    keep_reserve(registry.storage)


def _damage_of(registry: ModelRegistry, model_id: str) -> str:
    """Why a version cannot be read, or is not the one that was registered; empty when it can, and is.

    Raises:
        ModelNotFound: no model version has this id.
    """
    try:
        version = registry.get_version(model_id)
        require_manifest_digest(model_id, version.digest, version.state)
    except (UnreadableModel, ChecksumMismatch) as error:
        return str(error)
    return ""


def cleanup(
    registry: ModelRegistry, keep_latest: int, *, dry_run: bool, in_use: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Keeps the latest versions of every model and deletes the others.

    Args:
        registry: the registry.
        keep_latest: versions of each model that stay; at least 1.
        dry_run: whether to report without deleting.
        in_use: as for `reasons_to_keep`.

    Returns:
        The deleted versions (or those a dry run would delete), and the old versions that stay, each with the reason.

    Raises:
        AccessDenied: the actor's role does not allow it.
        StorageFailed: a version cannot be removed; those before it are deleted.
    """
    if not dry_run:
        registry.require_right("cleanup", registry.storage.location)
    own = registry.own_files()
    models = own.models
    reasons = reasons_to_keep(registry, own, in_use)
    by_name: dict[str, list[str]] = defaultdict(list)
    for model in models:
        by_name[model.model_name].append(model.model_id)
    old = [model_id for model_ids in by_name.values() for model_id in model_ids[: -max(1, keep_latest)]]
    going = [model_id for model_id in old if model_id not in reasons]
    if not dry_run:
        registry.require_right("cleanup", "")
        wanted = [model for model in models if model.model_id in set(going)]
        reasons |= _remove_all(registry, wanted, f"cleanup, the latest {keep_latest} are kept")
        keep_reserve(registry.storage)
        going = [model_id for model_id in going if model_id not in reasons]
    return going, {model_id: reasons[model_id] for model_id in old if model_id in reasons}


def _remove_all(registry: ModelRegistry, models: Iterable[ModelMetadata], reason: str) -> dict[str, str]:
    """Removes versions; returns those that somebody uses or changes meanwhile, each with the reason."""
    stay = {}
    for model in models:
        try:
            remove_version(registry, model, reason)
        except InUse as error:
            stay[model.model_id] = f"is used since a moment ago: {error}"
        except VersionConflict:
            stay[model.model_id] = "is being changed by somebody else"
        except ModelNotFound:
            continue  # somebody else has removed it
    return stay


def cleanup_leftovers(registry: ModelRegistry, *, dry_run: bool) -> list[str]:
    """Removes what processes that were ended left behind; see `leftovers`.

    Args:
        registry: the registry.
        dry_run: whether to report without removing.

    Returns:
        The keys that are gone, or that would go.

    Raises:
        AccessDenied: the actor's role does not allow it.
        StorageFailed: the registry cannot be written.
    """
    if dry_run:
        return leftovers(registry.storage)
    registry.require_right("cleanup", "")
    found = leftovers(registry.storage)
    if not found:
        return []
    reason = f"{len(found)} leftovers: {', '.join(found[:20])}"
    ended = [name for name in (key.rpartition("/")[2] for key in found) if is_model_id(name)]
    record_removal(registry.audit, registry.storage, "cleanup", reason=reason, ended=ended)
    removed = remove_leftovers(registry.storage)
    keep_reserve(registry.storage)
    return removed


def cleanup_directory(registry: ModelRegistry, directory: Path, keep_latest: int, *, dry_run: bool) -> list[str]:
    """Removes old model files of a directory outside the registry; the registry's audit log tells of it.

    Args:
        registry: holds the rights and the audit log.
        directory: of model files.
        keep_latest: versions of each model that stay; at least 1.
        dry_run: whether to report without removing.

    Returns:
        The files that are gone, or that would go.

    Raises:
        AccessDenied: the actor's role does not allow it.
        FileMissing: there is no such directory.
        StorageFailed: the audit log cannot be written, or a file cannot be removed.
    """
    if not dry_run:
        registry.require_right("cleanup", str(directory))
    going = cleanup_model_files(directory, keep_latest, dry_run=True)
    if dry_run or not going:
        return going
    reason = f"the latest {keep_latest} of each model are kept"
    place, files = str(directory.resolve()), [Path(each).name for each in going]
    record_removal(registry.audit, registry.storage, "cleanup", reason=reason, directory=place, files=files)
    removed = cleanup_model_files(directory, keep_latest, dry_run=False)
    keep_reserve(registry.storage)
    return removed
