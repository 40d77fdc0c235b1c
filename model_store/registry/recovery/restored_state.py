"""What counts of a version's state that a repair or restore brings back."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from conventions.artifact_files import BROUGHT_BY
from conventions.regular_files import parse_json
from model_store.errors import ModelStoreError
from model_store.registry.approvals import REGISTRY, bringers
from model_store.registry.files.evidence import require_evidence
from model_store.registry.files.layout import json_bytes
from model_store.registry.files.schema import require_state
from model_store.registry.log.last_words import AliasWord, Word
from model_store.registry.log.recorded import Recorded
from model_store.registry.recovery.log_repair import is_same_log
from model_store.registry.recovery.newer_state import bring_state
from model_store.registry.recovery.unrecorded import without_unrecorded
from model_store.storage.base import Storage

_OF_ONE_REGISTRY = ("approvals", "serving")


class RestoredState(NamedTuple):
    """A state that a copy brings."""

    content: bytes
    entered: list[str]
    """What the log says since, and that was entered."""
    left: list[str]
    """What the log says since, and that could not be entered."""
    unrecorded: list[str]
    """What the copy says and the log does not, and that was left out."""


def restored_state(
    source: Storage, target: Storage, model_id: str, content: bytes, recorded: Callable[[], Recorded], actor: str
) -> RestoredState:
    """A state of the source, without what does not count in the target, and with what the target's log says since.

    Approvals, deployments and what serves belong to the source's registry alone, where it is another one; the actor
    brings the version then. In the same registry an approval that was withdrawn after the copy was made stays
    withdrawn. An approval is never made from the log, and of a version that the log knows nothing counts that the log
    does not tell of.

    Args:
        source: where the state comes from.
        target: where it goes.
        model_id: whose state it is.
        content: of the source's file.
        recorded: what the target's log tells.
        actor: who brings it.
    """
    state = require_state(parse_json(content))
    before, log, extra = json_bytes(state), recorded(), list[str]()
    is_own = is_same_log(source, target)
    if not is_own:
        brought = dict.fromkeys([*bringers(state), actor] if actor else bringers(state))
        state = {name: value for name, value in state.items() if name not in _OF_ONE_REGISTRY}
        state = {**state, "deployments": [], BROUGHT_BY: list(brought)}
    elif why := log.withdrawals.get(model_id):
        since, approvals = log.approved.get(model_id, {}), state.get("approvals", [])
        after = [each if _decision(each) in since else {"withdrawn": why, **each} for each in approvals]
        state = {**state, "approvals": after} if after != approvals else state
    if is_own or model_id in log.known:
        state, extra = without_unrecorded(state, model_id, log)
    entered, left = bring_state(state, model_id, log.words, partial(_has_evidence, (source, target), model_id))
    changed = json_bytes(state)
    left += [word for each, word in log.words.open_ended.values() if each == model_id]
    decisions = [f"{what} (audit record {number})" for what, number in missing_decisions(state, model_id, log)]
    content = changed if changed != before else content
    return RestoredState(content, [*map(told, entered)], [*map(told, left), *decisions], extra)


def told(word: Word | AliasWord) -> str:
    """What a record says, with its number."""
    return f"{word} (audit record {word.number})"


def _has_evidence(places: Sequence[Storage], model_id: str, sha256: str) -> bool:
    for place in places:
        with suppress(ModelStoreError):
            require_evidence(place, model_id, sha256)
            return True
    return False


def missing_decisions(state: Mapping[str, Any], model_id: str, recorded: Recorded) -> list[tuple[str, int]]:
    """The last withdrawal and the approvals after it that a state does not have, each with the number of its record."""
    own = [each for each in state.get("approvals", []) if not each.get(REGISTRY)]
    approved = recorded.approved.get(model_id, {})
    standing = {_decision(each) for each in own if not each.get("withdrawn")}
    there = {_decision(each) for each in own}
    found = [
        (f"says that {approval[0]} approved it", number)
        for approval, number in approved.items()
        if approval not in there
    ]
    withdrawal = recorded.withdrawals.get(model_id)
    if withdrawal and standing - set(approved):
        found.append((f"says that {withdrawal['by']} withdrew the approval", recorded.withdrawn_at[model_id]))
    return sorted(found, key=lambda each: each[1])


def _decision(approval: Mapping[str, Any]) -> tuple[str, str, str]:
    return approval["by"], approval["evidence"], approval["manifest"]
