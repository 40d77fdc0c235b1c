"""Versions that are neither there nor gone: a registration in S3 that was ended, and a removal that was ended.

In S3 the state of a new version says `unfinished`, since its manifest, which makes the version, follows; the next
change of the state takes that away. The state of a version that is being removed says `removing`. Without a manifest
such a version is not listed and does not count as damaged.
"""

from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from conventions.artifact_files import EVIDENCE_DIRECTORY, MANIFEST_FILE, SIGNATURE_FILE, STATE_FILE, UNFINISHED
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.files.layout import now, version_prefix
from model_store.registry.files.manifest import is_model_id
from model_store.storage.base import Storage

_REMOVING = "removing"
_ADDED_LATER = {SIGNATURE_FILE, EVIDENCE_DIRECTORY}
_UNFINISHED_SECONDS = 48 * 3600
"""A registration takes no day; what has had no manifest for two is named as damage."""
_REMOVAL_SECONDS = 60
"""A removal takes a second; one that began before was ended."""


def begin_removal(state: MutableMapping[str, Any], actor: str) -> None:
    """Enters in a state that somebody removes the version now."""
    state[_REMOVING] = {"at": now(), "by": actor}


def end_removal(state: MutableMapping[str, Any]) -> None:
    """Enters in a state that the version stays."""
    state.pop(_REMOVING, None)


def is_being_removed(state: MutableMapping[str, Any]) -> bool:
    """Whether somebody removes a version at this moment, as far as its state says."""
    try:
        began = datetime.fromisoformat(state[_REMOVING]["at"])
        return abs((datetime.now(UTC) - began).total_seconds()) < _REMOVAL_SECONDS
    except (KeyError, TypeError, ValueError):
        return False


def require_not_removed(model_id: str, state: MutableMapping[str, Any]) -> None:
    """Raises VersionConflict while somebody removes a version; a removal that was ended is forgotten.

    Raises:
        VersionConflict: says who, and what to do.
    """
    if is_being_removed(state):
        raise VersionConflict(
            f"{model_id} is being deleted by {state[_REMOVING].get('by', 'somebody')}; if that was ended, delete it "
            "again, or wait a minute to keep it"
        )
    end_removal(state)


def require_still_there(storage: Storage, model_id: str) -> None:
    """Raises ModelNotFound where a version was removed while a file was added to it; takes the file away again.

    Raises:
        ModelNotFound: somebody removed it.
        StorageFailed: the storage cannot be read or written.
    """
    prefix = version_prefix(model_id)
    if storage.exists(f"{prefix}/{MANIFEST_FILE}") or not is_unfinished(storage, model_id):
        return
    with suppress(ModelNotFound):
        storage.remove(prefix)
    raise ModelNotFound(f"{model_id} was deleted by somebody else at the same time")


def is_unfinished(storage: Storage, model_id: str) -> bool:
    """Whether the files of a version are what an ended registration or removal left: those without a manifest.

    Its state says so; or there is only what can be added while the version is removed: a signature, evidence.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    if not is_model_id(model_id):
        return False
    prefix = version_prefix(model_id)
    if storage.exists(f"{prefix}/{MANIFEST_FILE}"):
        return False
    try:
        state = parse_json(storage.read(f"{prefix}/{STATE_FILE}"))
    except ModelNotFound:
        left = {key.removeprefix(f"{prefix}/").split("/")[0] for key in storage.keys(prefix)}
        return bool(left) and left <= _ADDED_LATER
    except (UnreadableModel, ValueError):
        return False
    return isinstance(state, dict) and (_is_recent(state.get(UNFINISHED)) or _REMOVING in state)


def _is_recent(began: object) -> bool:
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(str(began))
    except ValueError:
        return False
    return abs(age.total_seconds()) < _UNFINISHED_SECONDS
