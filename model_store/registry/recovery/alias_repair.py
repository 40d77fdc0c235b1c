"""Brings back alias files, up to what the audit log says of each alias."""

from pathlib import Path
from typing import Any

from conventions.artifact_files import MANIFEST_FILE
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.files.layout import json_bytes
from model_store.registry.files.manifest import is_model_id, is_model_name, parse_model_name
from model_store.registry.files.placing import replace, replace_content
from model_store.registry.files.schema import require_aliases
from model_store.registry.recovery.log_repair import is_same_log
from model_store.registry.recovery.newer_state import bring_alias
from model_store.registry.recovery.repair_outcome import Outcome
from model_store.registry.recovery.restored_state import told
from model_store.registry.recovery.unrecorded import unrecorded_alias
from model_store.storage.base import Storage


def bring_aliases(source: Storage, target: Storage, outcome: Outcome) -> None:
    """Copies alias files that are damaged or missing in the target.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    recorded = outcome.recorded(target).aliases if outcome.brings_back else {}
    known = {f"aliases/{name}.json" for name in recorded if is_model_name(name)}
    for key in sorted({*source.keys("aliases"), *target.keys("aliases"), *known}):
        ours = alias_damage(target, key)
        if not ours:
            outcome.present += 1
            continue
        theirs = alias_damage(source, key) or (outcome.brings_back and _foreign_aliases(source, target, key))
        if not theirs and not outcome.brings_back:
            replace(target, key, source.path(key))
            outcome.copied.append(key)
        elif not theirs or key in known:
            _bring_file(source, target, key, outcome, "" if not theirs else ours)
        else:
            outcome.damaged[key] = ours if not source.exists(key) else f"damaged in the source, too: {theirs}"


def _bring_file(source: Storage, target: Storage, key: str, outcome: Outcome, lost: str) -> None:
    """A file of the source's entries and the log's words; of the log's words alone where the source has none."""
    entries: dict[str, Any] = {} if lost else require_aliases(parse_json(source.read(key)))
    name, recorded = Path(key).stem, outcome.recorded(target)
    # Aliases of which this log tells nothing may come from another registry, on the word of who repairs.
    words, is_own = recorded.words.aliases, is_same_log(source, target) or recorded.tells_of_aliases(name)
    shorts = sorted({*entries, *(short for model_name, short in words if model_name == name and short)})
    entered: list[str] = []
    left: list[str] = []
    unrecorded: list[str] = []
    for short in shorts:
        said = words.get((name, short), [])
        found, new, old = bring_alias(entries.get(short), said, lambda each: _is_version(target, name, each))
        if is_own and (why := unrecorded_alias(found, name, short, recorded)):
            unrecorded.append(f"{name}@{short}: {why}")
            found, _, old = bring_alias(None, said, lambda each: _is_version(target, name, each))
        entries[short] = found
        entered += map(told, new)
        left += map(told, old)
    entries = {short: entry for short, entry in entries.items() if entry["history"] or (name, short) in words}
    replace_content(target, key, json_bytes(entries))
    outcome.copied.append(key)
    outcome.aliases += [f"{name}@{short}" for short in entries]
    outcome.brought(key, key, entered, left, unrecorded)
    if lost and outcome.recorded(target).nameless and key not in outcome.damaged:
        outcome.damaged[key] = f"{lost}; made from the audit log alone, which may not tell of every alias"
    outcome.name_uncertain(source, target, key)


def _is_id_of(model_id: str, name: str) -> bool:
    """Whether a text is the id of a version of a model name."""
    return is_model_id(model_id) and parse_model_name(model_id) == name


def _is_version(target: Storage, name: str, model_id: str) -> bool:
    return _is_id_of(model_id, name) and target.exists(f"models/{name}/{model_id}/{MANIFEST_FILE}")


def _foreign_aliases(source: Storage, target: Storage, key: str) -> str:
    """Why a source's aliases are none of the target's, in words; empty when they name versions that it has."""
    name = Path(key).stem
    named = [entry["model_id"] for entry in require_aliases(parse_json(source.read(key))).values() if entry["model_id"]]
    if odd := [each for each in named if not _is_id_of(each, name)]:
        return f"{key}: {odd[0]} is not a version of {name}"
    if named and not any(target.exists(f"models/{name}/{each}/{MANIFEST_FILE}") for each in named):
        return f"{key}: {target.location} has no version that they name"
    return ""


def alias_damage(storage: Storage, key: str) -> str:
    """Why an alias file cannot be read; empty when it is intact."""
    try:
        require_aliases(parse_json(storage.read(key)))
    except ModelNotFound:
        return f"{key}: missing"
    except ValueError:
        return f"{key}: not JSON"
    except UnreadableModel as error:
        return f"{key}: {error}"
    return ""
