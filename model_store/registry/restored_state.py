"""What counts of a version's state that a repair or restore brings back."""

from collections.abc import Callable, Mapping
from typing import Any

from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel
from model_store.registry.approvals import bringers
from model_store.registry.layout import json_bytes
from model_store.registry.log_repair import record_key
from model_store.registry.recorded import Recorded
from model_store.registry.registration import BROUGHT_BY
from model_store.registry.schema import require_state
from model_store.storage.base import Storage

_COMPARED = 3
"""So many first records tell two logs apart, where one of them is damaged."""
_OF_ONE_REGISTRY = ("approvals", "serving")


def restored_state(
    source: Storage, target: Storage, model_id: str, content: bytes, recorded: Callable[[], Recorded], actor: str
) -> bytes:
    """A state of the source, without what does not count in the target.

    Approvals, deployments and what serves belong to the source's registry alone, where it is another one; the actor
    brings the version then. In the same registry an approval that was withdrawn after the copy was made stays
    withdrawn: the audit log says so.

    Args:
        source: where the state comes from.
        target: where it goes.
        model_id: whose state it is.
        content: of the source's file.
        recorded: what the target's log tells.
        actor: who brings it.
    """
    state = require_state(parse_json(content))
    if not is_same_log(source, target):
        here = {name: value for name, value in state.items() if name not in _OF_ONE_REGISTRY}
        brought = dict.fromkeys([*bringers(state), actor] if actor else bringers(state))
        return json_bytes({**here, "deployments": [], BROUGHT_BY: list(brought)})
    log, approvals = recorded(), state.get("approvals", [])
    if not (why := log.withdrawals.get(model_id)):
        return content
    since = log.approved.get(model_id, set())
    after = [each if _decision(each) in since else {"withdrawn": why, **each} for each in approvals]
    return json_bytes({**state, "approvals": after}) if after != approvals else content


def _decision(approval: Mapping[str, Any]) -> tuple[str, str, str]:
    return approval["by"], approval["evidence"], approval["manifest"]


def is_same_log(source: Storage, target: Storage) -> bool:
    """Whether two storages are of one registry: they share one of the first records of their logs.

    A target without a log takes the source for its own. A source without one proves nothing.
    """
    if first_record(target) is None:
        return True
    pairs = ((_record(source, number), _record(target, number)) for number in range(1, _COMPARED + 1))
    return any(theirs is not None and theirs == ours for theirs, ours in pairs)


def first_record(storage: Storage) -> bytes | None:
    """The first record of a storage's audit log, by which logs are told apart; None without one."""
    return _record(storage, 1)


def _record(storage: Storage, number: int) -> bytes | None:
    try:
        return storage.read(record_key(number))
    except (ModelNotFound, UnreadableModel):
        return None
