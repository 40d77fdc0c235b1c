"""Promotes a version into another registry, such as the one of the next environment or of another account.

The version goes with its manifest, artifact, golden rows, optimized form and signatures, byte for byte, and with what
was decided about it: status and evidence, and as information the approvals, of which the target needs its own.
Deployments stay where they were. Killed at any point, the same call finishes what is left. Both registries record it.

A publisher of the target may bring the files, a promoter what was decided; each leaves the rest to the other.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conventions.artifact_files import BROUGHT_BY, KEPT_FILES, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.errors import (
    AccessDenied,
    ChecksumMismatch,
    InvalidInput,
    ModelNotFound,
    StorageForbidden,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.exchange.bundles import require_free_number, require_harmless
from model_store.registry.exchange.carried_state import carried_state, merged_state
from model_store.registry.exchange.imported import (
    record_import,
    require_encryption,
    require_own_files,
    require_plausible,
)
from model_store.registry.files.evidence import evidence_key
from model_store.registry.files.layout import digest_of, file_sha256, resolved_location, version_prefix, write_json
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.recovery.damage import file_damage, read_manifest
from model_store.registry.recovery.repair import copy_synced
from model_store.registry.registration import enter_status
from model_store.registry.registry import ModelRegistry
from model_store.registry.taken import claim_imported

CARRIED, LEFT = "carried", "left to a promoter"


@dataclass
class Promotion:
    """What a promotion did."""

    model_id: str
    source: str
    target: str
    copied: list[str] = field(default_factory=list)
    """The keys that were written."""
    state: str = CARRIED
    """`carried`, or `left to a promoter`."""
    status: str = ""
    """Of the version in the target now."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "model_id": self.model_id,
            "from": self.source,
            "to": self.target,
            "copied": self.copied,
            "state": self.state,
            "status": self.status,
        }


def promote_version(
    source: ModelRegistry, target: ModelRegistry, model_id: str, reason: str = "", *, follow_keys: bool = False
) -> Promotion:
    """Promotes a version from one registry into another.

    Args:
        source: holds the version.
        target: gets it.
        model_id: which.
        reason: recorded in both audit logs.
        follow_keys: whether files that the target has already are replaced where their keys were rotated in the source.

    Returns:
        What was copied, and whether the state was carried; an empty list when nothing was left to do.

    Raises:
        AccessDenied: the actor may not export from the source, or not import into the target.
        InvalidInput: both are the same registry.
        ModelNotFound: the source has no such version.
        ChecksumMismatch: a file of the source is damaged; nothing was copied.
        VersionConflict: the target has another version of this id, or of this number.
        StorageFailed: one of the two cannot be read or written.
    """
    told = Promotion(model_id, source.storage.location, target.storage.location)
    if resolved_location(told.source) == resolved_location(told.target):
        raise InvalidInput(f"{told.source}: source and target are the same registry; name another one with --to")
    source.require_right("export", model_id)
    target.require_right("import", model_id)
    metadata = source.get_metadata(model_id)
    if damage := file_damage(source.storage, model_id):
        raise ChecksumMismatch(
            f"{'; '.join(damage.values())}; nothing was promoted: verify {model_id} --repair BACKUP in {told.source}"
        )
    is_there = _is_there(target, metadata)
    if not is_there:
        require_free_number(target, metadata)
    wanted = _missing_files(source, target, model_id, follow_keys=follow_keys) if is_there else list(KEPT_FILES)
    if wanted:
        source.record_reading("export", model_id, reason, promoted_to=target.storage.location)
        if not is_there:
            claim_imported(target.storage, metadata)
        told.copied += _bring_files(source, target, metadata, wanted, reason, is_there=is_there)
        if is_there and follow_keys:
            _follow_keys(target, model_id, source.key_ids(model_id))
    claim_imported(target.storage, metadata)
    _carry_state(source, target, told, reason)
    told.status = str(target.get_metadata(model_id).status)
    return told


def _follow_keys(target: ModelRegistry, model_id: str, key_ids: tuple[str, ...]) -> None:
    """The state tells which keys open the artifact, where there is a state that the actor may change."""
    with suppress(StorageForbidden):
        target.change_state(model_id, lambda state: state.update(key_ids=list(key_ids)))


def _is_there(target: ModelRegistry, metadata: ModelMetadata) -> bool:
    try:
        present = read_manifest(target.storage, metadata.model_id)
    except ModelNotFound:
        return False
    except UnreadableModel:
        # Files without a manifest are what a killed promotion left: the manifest makes the version.
        if target.storage.exists(f"{version_prefix(metadata.model_id)}/{MANIFEST_FILE}"):
            raise
        return False
    if present.manifest() != metadata.manifest():
        raise VersionConflict(
            f"{target.storage.location} has another {metadata.model_id}; neither was changed. Register the model again "
            "under a new id, or promote into another registry"
        )
    return True


def _missing_files(source: ModelRegistry, target: ModelRegistry, model_id: str, *, follow_keys: bool) -> list[str]:
    prefix = version_prefix(model_id)
    damage = file_damage(target.storage, model_id)
    found = []
    for name in KEPT_FILES:
        key = f"{prefix}/{name}"
        if not source.storage.exists(key):
            continue
        rotated = follow_keys and name not in (MANIFEST_FILE, SIGNATURE_FILE)
        if (
            name in damage
            or not target.storage.exists(key)
            or (rotated and file_sha256(source.storage.path(key)) != file_sha256(target.storage.path(key)))
        ):
            found.append(name)
    return found


def _bring_files(
    source: ModelRegistry,
    target: ModelRegistry,
    metadata: ModelMetadata,
    wanted: list[str],
    reason: str,
    *,
    is_there: bool,
) -> list[str]:
    """Copies files; a version that is new appears as a whole. Returns their keys."""
    model_id, prefix, storage = metadata.model_id, version_prefix(metadata.model_id), source.storage
    names = [name for name in wanted if storage.exists(f"{prefix}/{name}")]
    with target.storage.staged(model_id) as staging:
        if staging is None:
            raise VersionConflict(f"{model_id} is being written by somebody else right now; try again")
        for name in names:
            copy_synced(storage.path(f"{prefix}/{name}"), staging / name)
        is_new = not is_there and _announced(source, target, metadata, staging)
        manifest, signature = (storage.path(f"{prefix}/{name}") for name in (MANIFEST_FILE, SIGNATURE_FILE))
        with recorded_failure(target.audit, "import", model_id):
            record_import(target, metadata, manifest, signature, reason, promoted_from=storage.location)
            if not (is_new and target.storage.publish(staging, prefix)):
                _place(target, staging, prefix, names)
    return [f"{prefix}/{name}" for name in names]


def _announced(source: ModelRegistry, target: ModelRegistry, metadata: ModelMetadata, staging: Path) -> bool:
    """Checks a version that is new in the target; false where a promotion that was killed has begun it."""
    require_plausible(metadata)
    require_own_files(staging, metadata)
    require_encryption(target, metadata, staging)
    require_harmless(target, staging, metadata)
    digest = digest_of((staging / MANIFEST_FILE).read_bytes())
    write_json(staging / STATE_FILE, {**_first_state(source, target, metadata), "manifest": digest})
    return target.storage.announce(staging, version_prefix(metadata.model_id))


def _place(target: ModelRegistry, staging: Path, prefix: str, names: list[str]) -> None:
    """Files one by one, the manifest last: it makes the version."""
    for name in names:
        if name != MANIFEST_FILE:
            target.storage.replace_file(f"{prefix}/{name}", staging / name)
    manifest = staging / MANIFEST_FILE
    if manifest.exists() and not target.storage.put_if_absent(f"{prefix}/{MANIFEST_FILE}", manifest.read_bytes()):
        raise VersionConflict(f"{prefix}: somebody else wrote its {MANIFEST_FILE} at the same time; try again")


def _first_state(source: ModelRegistry, target: ModelRegistry, metadata: ModelMetadata) -> dict[str, Any]:
    """The state before what was decided is carried: trained, by who registered it, brought by who promotes it."""
    state: dict[str, Any] = {"status": "", "history": [], "deployments": [], "key_ids": list(metadata.key_ids)}
    state[BROUGHT_BY] = [target.actor]
    registered_by = str(metadata.lineage.get("registered_by") or metadata.author)
    enter_status(state, ModelStatus.TRAINED, registered_by, f"imported from {source.storage.location}")
    return state


def _decided_elsewhere(present: dict[str, Any], merged: dict[str, Any]) -> dict[str, Any]:
    """Of the record: who validated on which evidence, and who approved, in the registry that the version comes from."""
    told: dict[str, Any] = {}
    if (validated := merged.get("validated")) and validated != present.get("validated"):
        told = {"validated_by": validated["by"], "evidence": list(validated.get("evidence", []))}
    came = [each for each in merged.get("approvals", []) if each not in present.get("approvals", [])]
    return {**told, "approved_by": sorted({each["by"] for each in came})} if came else told


def _carry_state(source: ModelRegistry, target: ModelRegistry, told: Promotion, reason: str) -> None:
    """Carries status, evidence and approvals, where the actor may decide about versions in the target."""
    model_id = told.model_id
    carried = carried_state(source.state(model_id), told.source)
    entry = (target.actor, f"promoted from {told.source} {reason}".strip())
    present = target.state(model_id)
    merged = merged_state(present, carried, *entry)
    if merged == present:
        return
    try:
        target.access.require("status")
        for sha256 in dict.fromkeys(each["sha256"] for each in carried.get("evidence", [])):
            key = evidence_key(model_id, sha256)
            if target.storage.put_if_absent(key, source.storage.read(key)):
                told.copied.append(key)
        moved = {"from": present["status"], "to": merged["status"], **_decided_elsewhere(present, merged)}
        target.audit.append("status", model_id, reason, **moved, promoted_from=told.source)

        def change(state: dict[str, Any]) -> None:
            state.update(merged_state(state, carried, *entry))

        target.change_state(model_id, change)
    except (AccessDenied, StorageForbidden):
        told.state = LEFT
        return
    told.copied.append(f"{version_prefix(model_id)}/{STATE_FILE}")
