"""Finds states, aliases and keys that are older than the audit log, and what they say that no record tells of."""

from collections.abc import Iterator
from typing import Any

from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, ModelStoreError, UnreadableModel
from model_store.registry.files.manifest import is_model_name
from model_store.registry.files.schema import require_aliases
from model_store.registry.log.recorded import Recorded
from model_store.registry.reader import RegistryReader
from model_store.registry.recovery.key_repair import old_keys
from model_store.registry.recovery.newer_state import missing_alias_words, missing_words
from model_store.registry.recovery.restored_state import missing_decisions
from model_store.registry.recovery.unrecorded import unrecorded_alias, unrecorded_decisions
from model_store.storage.base import Storage

_OR_KILLED = "a command was killed after its record, or an older state was put in its place; run the command again"
_UNRECORDED = (
    "no record of the audit log tells of it: it was written past the registry, or its record was cut off; decide "
    "again: update-status, approve --withdraw and alias set record it"
)
_FROM_COPY = "a copy from before was brought back, see audit record"


def older_than_the_log(
    reader: RegistryReader, recorded: Recorded, present: set[str]
) -> Iterator[tuple[str, str, bool]]:
    """What is older than the audit log's last word about it, and what says more than the log.

    Args:
        reader: of the registry.
        recorded: what its log tells.
        present: the versions that are there.

    Yields:
        What it is (`MODEL_ID state`, `MODEL_ID decisions`, `MODEL_ID keys` or `name@alias state`); why, and what to do;
        and whether that is sure: a repair or a restore brought a copy after the record. Otherwise a killed command may
        have left the record alone.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    for model_id in sorted(present):
        try:
            state = reader.state(model_id)
        except ModelStoreError:
            continue  # `verify` names the damaged file
        lacks = [
            (f"says {word}", word.number) for word in missing_words(state, recorded.words.versions.get(model_id, []))
        ]
        lacks += missing_decisions(state, model_id, recorded)
        if lacks:
            reasons = "; ".join(f"audit record {number} {what}" for what, number in lacks)
            since = recorded.brought.get(model_id, 0)
            yield (
                f"{model_id} state",
                *_finding(f"{model_id}: its state does not have it: {reasons}", lacks[-1][1], since),
            )
        if extra := unrecorded_decisions(state, model_id, recorded):
            yield f"{model_id} decisions", f"{model_id}: its state says: {', '.join(extra)}; {_UNRECORDED}", True
    yield from _old_aliases(reader.storage, recorded)
    for model_id in sorted(set(recorded.words.keys) & present):
        number = recorded.words.keys[model_id][0]
        for reason in old_keys(reader.storage, model_id, recorded).values():
            yield f"{model_id} keys", reason, recorded.brought.get(model_id, 0) > number


def _finding(what: str, number: int, brought: int) -> tuple[str, bool]:
    is_sure = brought > number
    why = f"{_FROM_COPY} {brought}; decide again" if is_sure else _OR_KILLED
    return f"{what} ({why})", is_sure


def _old_aliases(storage: Storage, recorded: Recorded) -> Iterator[tuple[str, str, bool]]:
    for name in sorted({name for name, _ in recorded.words.aliases if is_model_name(name)}):
        entries = read_aliases(storage, name)
        for short in sorted(entries or {}):
            words = recorded.words.aliases.get((name, short), [])
            if entries and (missing := missing_alias_words(entries[short], words)):
                last = missing[-1]
                what = f"{name}@{short}: it does not point where audit record {last.number} says: {last}"
                brought = recorded.brought.get(f"aliases/{name}.json", 0)
                yield f"{name}@{short} state", *_finding(what, last.number, brought)
            elif (
                entries
                and words
                and not recorded.joining
                and (why := unrecorded_alias(entries[short], name, short, recorded))
            ):
                yield f"{name}@{short} state", f"{name}@{short}: {why}; {_UNRECORDED}", True


def unknown_aliases(storage: Storage, recorded: Recorded) -> Iterator[tuple[str, str]]:
    """The aliases that no record of the log tells of, each with what to do.

    Args:
        storage: of the registry.
        recorded: what its log tells; where records are missing or tell less, nothing is found.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    if recorded.uncertain_to or recorded.nameless or recorded.joining or not recorded.known:
        return
    for key in storage.keys("aliases"):
        name = key.removeprefix("aliases/").removesuffix(".json")
        for short, entry in (read_aliases(storage, name) or {} if is_model_name(name) else {}).items():
            if entry["model_id"] and short not in recorded.aliases.get(name, {}):
                yield (
                    f"{name}@{short}",
                    (
                        f"{name}@{short}: no record of the audit log tells who set it; remove it: python "
                        f"scripts/manage_models.py alias remove {name} {short} --reason WHY, or set it again"
                    ),
                )


def read_aliases(storage: Storage, name: str) -> dict[str, Any] | None:
    """Entries of a model name's aliases: empty without a file, None for a damaged one."""
    try:
        return require_aliases(parse_json(storage.read(f"aliases/{name}.json")))
    except ModelNotFound:
        return {}
    except (UnreadableModel, ValueError):
        return None
