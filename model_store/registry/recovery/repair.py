"""Brings back what is damaged or missing in one storage from another; each file is checked before it is written.

A damaged file of the source is never written. A file that is intact in the target stays. Killed at any point, the same
call finishes what is left.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import EVIDENCE_DIRECTORY, KEPT_FILES, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE
from conventions.regular_files import parse_json
from model_store.errors import (
    ChecksumMismatch,
    InvalidInput,
    ModelNotFound,
    ModelStoreError,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.files.evidence import require_evidence
from model_store.registry.files.layout import now, version_prefix, write_json
from model_store.registry.files.manifest import ModelStatus, is_model_id, parse_model_name
from model_store.registry.files.placing import clear, replace, replace_content
from model_store.registry.files.progress import Step, no_step
from model_store.registry.recovery.alias_repair import bring_aliases
from model_store.registry.recovery.damage import file_damage, read_manifest, version_ids
from model_store.registry.recovery.key_repair import name_old_keys
from model_store.registry.recovery.log_repair import LogLoss, is_same_log, repair_log, take_whole_log
from model_store.registry.recovery.repair_outcome import Outcome
from model_store.registry.recovery.restored_state import restored_state
from model_store.registry.recovery.same_registry import is_log_of, lost_its_log
from model_store.registry.recovery.signature_repair import repair_signature
from model_store.registry.registry import ModelRegistry
from model_store.registry.taken import copy_claims
from model_store.storage.atomic_file import make_directories, read_blocks, write_blocks
from model_store.storage.base import Storage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_FILES = (*KEPT_FILES, STATE_FILE)
_EVIDENCE_PARTS = 5
"""Of the key of an evidence file."""
WITHOUT_STATE = "copied from where it has no state"
"""The reason in the state that such a version gets."""


def repair(
    registry: ModelRegistry, source: Storage, step: Step = no_step, public_keys: Sequence["Ed25519PublicKey"] = ()
) -> Outcome:
    """Brings back what is damaged or missing in a registry from a backup or another registry.

    A version that the registry's audit log says was deleted stays deleted. A state or an alias gets what the log says
    since the copy was made; what of it cannot be brought is named.

    Args:
        registry: to repair.
        source: a backup or another registry.
        step: gets the progress.
        public_keys: tell which of two signatures is right.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ChecksumMismatch: the registry has lost its audit log, and the source does not have it.
        InvalidInput: the source holds no registry.
        StorageFailed: one of the two cannot be read or written.
    """
    registry.require_right("restore", "")
    require_registry(source)
    outcome = Outcome(actor=registry.actor, brings_deleted=False)
    loss = bring_log(source, registry.storage, outcome)
    registry.audit.append("repair", reason=source.location, **loss.told())
    bring_back(source, registry.storage, outcome, outcome.recorded(registry.storage).deleted, step)
    _bring_signatures(source, registry.storage, outcome, public_keys)
    registry.audit.append("repair", reason=source.location, **told_of(source, registry.storage, outcome))
    return outcome


def bring_log(source: Storage, target: Storage, outcome: Outcome) -> LogLoss:
    """Repairs an audit log, or brings the whole log back where it is gone; nothing is appended over a gap unseen.

    Returns:
        What is lost all the same.

    Raises:
        ChecksumMismatch: the log is gone, and the source does not have it.
        StorageFailed: one of the two cannot be read or written.
    """
    if not (what := lost_its_log(target)):
        return repair_log(source, target, outcome.copied, outcome.damaged)
    if not is_log_of(source, target):
        raise ChecksumMismatch(
            f"the registry holds {what}, and its audit log has no records: it was removed. Nothing shows that the log "
            f"of {source.location} is this registry's; nothing was changed. Name a backup of this registry"
        )
    return take_whole_log(source, target, outcome.copied, outcome.damaged)


def told_of(source: Storage, target: Storage, outcome: Outcome) -> dict[str, Any]:
    """Of the second record of a repair or restore: what came, and of what the log's own words are left."""
    return {
        "copied": len(outcome.copied),
        "outcome": "succeeded",
        "versions": unrecorded_versions(source, target, outcome),
        "states": sorted(set(outcome.states)),
        "aliases": sorted(outcome.aliases),
        "another_log": not is_same_log(source, target),
    }


def require_registry(source: Storage) -> None:
    """Raises InvalidInput unless a storage holds a registry."""
    local = source.path("") if not source.location.startswith("s3://") else None
    if (local is not None and local.exists() and not local.is_dir()) or not source.names("models"):
        raise InvalidInput(f"{source.location}: holds no registry; name a backup or another registry")


def unrecorded_versions(source: Storage, target: Storage, outcome: Outcome) -> list[str]:
    """The versions of a source that are in the target now, and that no record of the target's log tells of."""
    known = outcome.recorded(target).known
    return [each for each in version_ids(source) if each not in known and target.exists(version_prefix(each))]


def bring_back(
    source: Storage,
    target: Storage,
    outcome: Outcome,
    without: Collection[str] = (),
    step: Step = no_step,
) -> Outcome:
    """Copies versions, version numbers and aliases that are damaged or missing in the target.

    Args:
        source: where the files come from.
        target: where they go.
        outcome: is filled and returned.
        without: versions that are not brought back when they are missing.
        step: gets the progress.

    Raises:
        VersionConflict: a version is being written by somebody else.
        StorageFailed: one of the two cannot be read or written.
    """
    theirs = version_ids(source)
    wanted = sorted({*theirs, *version_ids(target)})
    for number, model_id in enumerate(wanted):
        step(number, len(wanted), model_id)
        try:
            prefix = version_prefix(model_id)
        except ModelNotFound as error:
            outcome.damaged[f"models/{model_id}"] = str(error)
            continue
        first = len(outcome.copied)
        if is_directory(target, prefix):
            _bring_files(source, target, model_id, outcome)
        elif model_id not in without:
            _bring_missing(source, target, model_id, outcome)
        if outcome.brings_back:
            name_old_keys(target, model_id, outcome.copied[first:], outcome)
    _bring_evidence(source, target, outcome)
    numbers, odd = copy_claims(source, target)
    outcome.copied += numbers
    outcome.damaged.update(odd)
    bring_aliases(source, target, outcome)
    return outcome


def _bring_missing(source: Storage, target: Storage, model_id: str, outcome: Outcome) -> None:
    if outcome.brings_back and (reason := outcome.may_be_deleted(target, model_id)):
        outcome.damaged[version_prefix(model_id)] = reason
    else:
        first = len(outcome.copied)
        _bring_version(source, target, model_id, outcome)
        if outcome.brings_back and len(outcome.copied) > first and model_id in outcome.recorded(target).deleted:
            outcome.again.append(model_id)


def is_directory(storage: Storage, prefix: str) -> bool:
    """Whether there are files below a prefix; in a directory, whether it is one and no link."""
    if storage.location.startswith("s3://"):
        return storage.exists(prefix)
    path = storage.path(prefix)
    return path.is_dir() and not path.is_symlink()


def _bring_version(source: Storage, target: Storage, model_id: str, outcome: Outcome) -> None:
    """A version that is missing as a whole appears as a whole."""
    prefix = version_prefix(model_id)
    damage = dict(outcome.source_damage(source, model_id))
    has_state = source.exists(f"{prefix}/{STATE_FILE}")
    if not has_state:
        damage.pop(STATE_FILE, None)
    if damage:
        outcome.damaged.update(_in_both(prefix, damage))
        return
    clear(target, prefix, for_directory=True)
    with target.staged(model_id) as staging:
        if staging is None:
            raise VersionConflict(f"{model_id} is being written by somebody else right now; try again")
        names = [name for name in _FILES if source.exists(f"{prefix}/{name}")]
        for name in names:
            copy_synced(source.path(f"{prefix}/{name}"), staging / name)
        if has_state and outcome.brings_back:
            state = staging / STATE_FILE
            copied = state.read_bytes()
            if (content := _restored(source, target, model_id, copied, outcome)) != copied:
                state.unlink()
                write_json(state, parse_json(content))
        if not has_state:
            # The bucket of a stack holds the files of versions without their states.
            entry = {"status": str(ModelStatus.TRAINED), "at": now(), "by": "", "why": WITHOUT_STATE}
            write_json(staging / STATE_FILE, {"status": entry["status"], "history": [entry], "deployments": []})
        _copy_evidence(source, target, model_id, staging)
        if not target.publish(staging, prefix):
            raise VersionConflict(f"{model_id} was registered by somebody else at the same time; try again")
        if target.location.startswith("s3://"):
            # Publishing marks a state as unfinished there; the copy is the state as it is.
            target.replace_file(f"{prefix}/{STATE_FILE}", staging / STATE_FILE)
    outcome.copied += [f"{prefix}/{name}" for name in names]


def _copy_evidence(source: Storage, target: Storage, model_id: str, staging: Path) -> None:
    """A version appears with its evidence; damaged evidence stays behind, and `_bring_evidence` names it."""
    for key in source.keys(f"{version_prefix(model_id)}/{EVIDENCE_DIRECTORY}"):
        sha256 = key.rsplit("/", 1)[-1]
        with suppress(ModelStoreError):
            require_evidence(source, model_id, sha256)
            if target.location.startswith("s3://"):
                target.put_if_absent(key, source.read(key))
                continue
            place = staging / EVIDENCE_DIRECTORY
            make_directories(place)
            copy_synced(source.path(key), place / sha256)


def _bring_files(source: Storage, target: Storage, model_id: str, outcome: Outcome) -> None:
    prefix = version_prefix(model_id)
    damage = file_damage(target, model_id)
    if MANIFEST_FILE in damage:
        # The manifest makes the version, so the files that it speaks of come first.
        for name in _FILES:
            if name != MANIFEST_FILE and source.exists(f"{prefix}/{name}") and not target.exists(f"{prefix}/{name}"):
                _bring_file(source, target, model_id, name, outcome, {})
        if _bring_file(source, target, model_id, MANIFEST_FILE, outcome, damage):
            damage = file_damage(target, model_id)
        else:
            return
    elif not _same_manifest(source, target, model_id, outcome):
        outcome.damaged.update({f"{prefix}/{name}": reason for name, reason in damage.items()})
        return
    for name in sorted(damage):
        _bring_file(source, target, model_id, name, outcome, damage)
    there = [name for name in _FILES if name not in damage and target.exists(f"{prefix}/{name}")]
    outcome.present += len([name for name in there if f"{prefix}/{name}" not in outcome.copied])
    for name in KEPT_FILES:
        # A version need not be signed, so a missing signature is found only in the source.
        if name not in damage and name not in there and source.exists(f"{prefix}/{name}"):
            _bring_file(source, target, model_id, name, outcome, {name: f"{model_id}: the {name} is missing"})


def _same_manifest(source: Storage, target: Storage, model_id: str, outcome: Outcome) -> bool:
    """Whether two intact manifests are equal; a source without an intact one contradicts nothing."""
    if MANIFEST_FILE in outcome.source_damage(source, model_id):
        return True
    try:
        theirs = read_manifest(source, model_id)
    except (ModelNotFound, UnreadableModel):
        return True
    if theirs.manifest() == read_manifest(target, model_id).manifest():
        return True
    key = f"{version_prefix(model_id)}/{MANIFEST_FILE}"
    message = f"{target.location}/{key}: holds something else than {source.location}; neither was changed"
    outcome.damaged[key] = message
    return False


def _bring_file(
    source: Storage, target: Storage, model_id: str, name: str, outcome: Outcome, damage: dict[str, str]
) -> bool:
    prefix = version_prefix(model_id)
    key = f"{prefix}/{name}"
    if not source.exists(key):
        outcome.damaged[key] = f"{damage.get(name, name)}; {source.location} has no such file"
        return False
    theirs = outcome.source_damage(source, model_id)
    # A state says nothing of the manifest; every other file is checked against it.
    if name in theirs or (MANIFEST_FILE in theirs and name != STATE_FILE):
        outcome.damaged.update(_in_both(prefix, {name: theirs.get(name, theirs.get(MANIFEST_FILE, ""))}))
        return False
    if name == STATE_FILE and outcome.brings_back:
        # Written once: a state that is older than the log is never there.
        replace_content(target, key, _restored(source, target, model_id, source.read(key), outcome))
    else:
        replace(target, key, source.path(key))
    outcome.copied.append(key)
    return True


def _bring_evidence(source: Storage, target: Storage, outcome: Outcome) -> None:
    """Evidence files that the target does not have; a state that names them may follow."""
    for key in source.keys("models"):
        parts = key.split("/")
        if len(parts) != _EVIDENCE_PARTS or parts[3] != EVIDENCE_DIRECTORY or target.exists(key):
            continue
        if not is_directory(target, "/".join(parts[:3])):
            continue
        try:
            require_evidence(source, parts[2], parts[4])
        except ModelStoreError as error:
            outcome.damaged[key] = f"damaged in the source, too: {error}"
            continue
        replace(target, key, source.path(key))
        outcome.copied.append(key)


def _in_both(prefix: str, damage: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}/{name}": f"damaged in the source, too: {reason}" for name, reason in damage.items()}


def _bring_signatures(
    source: Storage, target: Storage, outcome: Outcome, public_keys: Sequence["Ed25519PublicKey"]
) -> None:
    """Signatures of another signer's bytes than the source's, where a public key tells which are right."""
    for model_id in version_ids(target):
        key = f"models/{parse_model_name(model_id)}/{model_id}/{SIGNATURE_FILE}" if is_model_id(model_id) else ""
        if not key or key in outcome.damaged or key in outcome.copied:
            continue
        is_replaced, reason = repair_signature(source, target, model_id, public_keys)
        if is_replaced:
            outcome.copied.append(key)
        elif reason:
            outcome.damaged[key] = reason


def copy_synced(source: Path, target: Path) -> None:
    """Copies a file into a staging directory.

    Raises:
        StorageFailed: one cannot be read, or the other not be written; names it.
    """
    write_blocks(target, read_blocks(source))


def _restored(source: Storage, target: Storage, model_id: str, content: bytes, outcome: Outcome) -> bytes:
    found = restored_state(source, target, model_id, content, partial(outcome.recorded, target), outcome.actor)
    key = f"{version_prefix(model_id)}/{STATE_FILE}"
    outcome.brought(key, model_id, found.entered, found.left, found.unrecorded)
    outcome.name_uncertain(source, target, key)
    return found.content
