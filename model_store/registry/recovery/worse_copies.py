"""Tells whether a state or an alias file is worse than the copy in a backup, by what the audit log tells of both."""

from pathlib import Path
from typing import Any

from conventions.regular_files import parse_json
from model_store.errors import ModelStoreError
from model_store.registry.files.schema import require_aliases, require_state
from model_store.registry.log.recorded import Recorded
from model_store.registry.recovery.newer_state import missing_alias_words, missing_words
from model_store.registry.recovery.unrecorded import unrecorded_alias, unrecorded_decisions
from model_store.storage.base import Storage


def worse_than_copy(source: Storage, target: Storage, key: str, recorded: Recorded) -> str:
    """Why a state or an alias file does not replace the copy of before, in words; empty where it may.

    It is worse where it says what no record tells of, or lacks what a record tells of, and the copy does not.

    Args:
        source: holds the registry.
        target: holds the backup.
        key: of the file; both are intact.
        recorded: what the registry's log tells.

    Raises:
        StorageFailed: one of the two cannot be read.
    """
    try:
        copy = _problems(parse_json(target.read(key)), key, recorded)
    except (ModelStoreError, ValueError):
        return ""
    worse = sorted(_problems(parse_json(source.read(key)), key, recorded) - copy)
    return f"the audit log does not tell so: {', '.join(worse)}" if worse else ""


def _problems(value: Any, key: str, recorded: Recorded) -> set[str]:
    if key.startswith("aliases/"):
        name, found = Path(key).stem, set()
        for short, entry in require_aliases(value).items():
            missing = missing_alias_words(entry, recorded.words.aliases.get((name, short), []))
            found |= {f"{name}@{short} is not {word}" for word in missing}
            found |= {f"{name}@{short}: {why}" for why in [unrecorded_alias(entry, name, short, recorded)] if why}
        return found
    model_id, state = key.split("/")[2], require_state(value)
    lacks = missing_words(state, recorded.words.versions.get(model_id, []))
    return {*unrecorded_decisions(state, model_id, recorded), *(f"it is not {word}" for word in lacks)}
