"""Names files that a copy brought back for the keys of before a rotation."""

from collections.abc import Sequence

from conventions.artifact_files import ARTIFACT_FILE, STATE_FILE
from conventions.regular_files import parse_json
from model_store.artifact.reader import open_artifact
from model_store.errors import ModelStoreError
from model_store.registry.exchange.imported import OPENED_FILES
from model_store.registry.files.layout import json_bytes, version_prefix
from model_store.registry.files.schema import require_state
from model_store.registry.log.recorded import Recorded
from model_store.registry.recovery.repair_outcome import Outcome
from model_store.storage.base import Storage


def name_old_keys(target: Storage, model_id: str, copied: Sequence[str], outcome: Outcome) -> None:
    """Names a version's files that came back for other keys than the last rotation's; its state tells which open them.

    Args:
        target: the registry.
        model_id: which version.
        copied: the keys of its files that were brought.
        outcome: gets what stays damaged.

    Raises:
        StorageFailed: the registry cannot be read or written.
    """
    prefix = version_prefix(model_id)
    if not {key.removeprefix(f"{prefix}/") for key in copied} & {*OPENED_FILES, STATE_FILE}:
        return
    for name, reason in old_keys(target, model_id, outcome.recorded(target)).items():
        outcome.damaged.setdefault(f"{prefix}/{name}", reason)
    outcome.states.append(model_id)
    _follow_keys(target, model_id)


def old_keys(storage: Storage, model_id: str, recorded: Recorded) -> dict[str, str]:
    """The files of a version that other keys open than those of the last rotation, each with what to do.

    Args:
        storage: of the registry.
        model_id: which.
        recorded: what the log tells.
    """
    number, wanted = recorded.words.keys.get(model_id, (0, ()))
    found = {}
    for name in OPENED_FILES:
        slots = _slots(storage, f"{version_prefix(model_id)}/{name}") if number else None
        if slots and slots != wanted:
            found[name] = (
                f"{model_id}: the {name} is encrypted for {', '.join(slots)}, of before the rotation to "
                f"{', '.join(wanted)} (audit record {number}); with the key of before: python scripts/manage_models.py "
                f"rotate-key {model_id} --new-key FILE"
            )
    return found


def _follow_keys(target: Storage, model_id: str) -> None:
    key = f"{version_prefix(model_id)}/{STATE_FILE}"
    slots = _slots(target, f"{version_prefix(model_id)}/{ARTIFACT_FILE}")
    try:
        content = target.read(key)
        state = require_state(parse_json(content))
    except (ModelStoreError, ValueError):
        return
    if slots and state.get("key_ids") and sorted(state["key_ids"]) != list(slots):
        target.compare_and_swap(key, json_bytes({**state, "key_ids": list(slots)}), content)


def _slots(storage: Storage, key: str) -> tuple[str, ...] | None:
    """The keys that open a file; None where there is none, or one that cannot be read."""
    if not storage.exists(key):
        return None
    try:
        with open_artifact(storage.path(key)) as artifact:
            return tuple(sorted(slot.key_id for slot in artifact.header.slots))
    except (ModelStoreError, OSError):
        return None
