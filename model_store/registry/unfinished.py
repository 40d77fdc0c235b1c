"""Versions that are neither there nor gone: a registration in S3 that was ended, and a removal that was ended.

In S3 the state of a version says `unfinished` until its manifest, which makes the version, is written. The state of a
version that is being removed says `removing`. Neither is damage, and neither is listed without a manifest.
"""

from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

from conventions.artifact_files import MANIFEST_FILE, STATE_FILE, UNFINISHED
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.layout import now, version_prefix
from model_store.registry.taken import is_taken
from model_store.storage.base import Storage

_REMOVING = "removing"
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


def is_unfinished(storage: Storage, model_id: str) -> bool:
    """Whether files of a version are what an ended registration or removal left: without the manifest, and known so.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    try:
        prefix = version_prefix(model_id)
        if storage.exists(f"{prefix}/{MANIFEST_FILE}"):
            return False
        if is_taken(storage, model_id):
            return True
        state = parse_json(storage.read(f"{prefix}/{STATE_FILE}"))
    except (ModelNotFound, UnreadableModel, ValueError):
        return False
    return isinstance(state, dict) and state.get(UNFINISHED) is True
