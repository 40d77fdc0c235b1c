"""Finds what a state or an alias says and no record of the audit log tells of.

Every decision is recorded before it takes effect. What no record tells of was written by somebody past the registry, or
its record was cut off. A copy brings nothing of it: who may write a backup decides nothing in the registry.
"""

from collections.abc import Mapping
from typing import Any

from conventions.artifact_files import BROUGHT_BY
from model_store.registry.approvals import REGISTRY, bringers, read_validation
from model_store.registry.files.manifest import ModelStatus
from model_store.registry.log.last_words import Kind
from model_store.registry.log.recorded import Recorded
from model_store.registry.serving import read_serving

_ANY = ("None", "")
"""Of an approval's record by an earlier program: it names neither evidence nor manifest."""


def unrecorded_decisions(state: Mapping[str, Any], model_id: str, recorded: Recorded) -> list[str]:
    """What a version's state says and no record tells of, in words; nothing where the log is not whole.

    Args:
        state: of the version.
        model_id: which.
        recorded: what the log tells.
    """
    return [] if recorded.joining else without_unrecorded(state, model_id, recorded)[1]


def without_unrecorded(state: Mapping[str, Any], model_id: str, recorded: Recorded) -> tuple[dict[str, Any], list[str]]:
    """A state without what no record tells of, and that in words; the state as it is where the log is not whole.

    Args:
        state: of a copy.
        model_id: whose.
        recorded: what the log of the registry tells.
    """
    found: list[str] = []
    kept = dict(state)
    if not _tells_all(recorded):
        return kept, found
    _keep_recorded_approvals(kept, model_id, recorded, found)
    _name_importers(kept, model_id, recorded, found)
    if model_id not in recorded.elsewhere:
        _keep_recorded_deployments(kept, model_id, recorded, found)
        _keep_recorded_statuses(kept, model_id, recorded, found)
    return kept, found


def _tells_all(recorded: Recorded) -> bool:
    """Whether a log is whole, so that what it does not tell did not happen."""
    return bool(recorded.known) and not (recorded.uncertain_to or recorded.unreadable or recorded.joined)


def _keep_recorded_approvals(state: dict[str, Any], model_id: str, recorded: Recorded, found: list[str]) -> None:
    """Approvals that stand; those that another registry gave do not count, and a withdrawn one harms nobody."""
    approvals, told = state.get("approvals", []), recorded.approved.get(model_id, {})
    withdrawn = model_id in recorded.withdrawals  # `restored_state` and `verify` know what to do with those before it
    kept = [
        each
        for each in approvals
        if each.get(REGISTRY) or each.get("withdrawn") or withdrawn or any(_is_of(each, record) for record in told)
    ]
    if len(kept) < len(approvals):
        found += [f"{each['by']} approved it" for each in approvals if each not in kept]
        state["approvals"] = kept


def _is_of(approval: Mapping[str, Any], record: tuple[str, str, str]) -> bool:
    actor, evidence, manifest = record
    return (
        approval["by"] == actor
        and evidence in (approval["evidence"], *_ANY)
        and manifest in (approval["manifest"], *_ANY)
    )


def _name_importers(state: dict[str, Any], model_id: str, recorded: Recorded, found: list[str]) -> None:
    """Who brought the version may not approve it, whatever the state leaves out."""
    named = {*bringers(state), *(entry.get("by", "") for entry in state["history"][:1])}
    left_out = sorted(recorded.importers.get(model_id, set()) - named)
    if left_out:
        found += [f"{actor} did not bring it, and a record says so" for actor in left_out]
        state[BROUGHT_BY] = [*bringers(state), *left_out]


def _keep_recorded_deployments(state: dict[str, Any], model_id: str, recorded: Recorded, found: list[str]) -> None:
    words = recorded.words.versions.get(model_id, [])
    told, ran = {word.deployment_id for word in words if word.kind is Kind.BEGIN}, recorded.ran.get(model_id, set())
    kept = [each for each in state["deployments"] if each["deployment_id"] in told or {each["environment"], "*"} & ran]
    if len(kept) < len(state["deployments"]):
        found += [
            f"it was deployed in {each['environment']} ({each['deployment_id']})"
            for each in state["deployments"]
            if each not in kept
        ]
        serving = read_serving(state)
        state["deployments"] = kept
        ids = {each["deployment_id"] for each in kept}
        state["serving"] = {name: entry for name, entry in serving.items() if entry["deployment_id"] in ids}


def _keep_recorded_statuses(state: dict[str, Any], model_id: str, recorded: Recorded, found: list[str]) -> None:
    """The status and the validation; a promotion brings a history that another registry recorded."""
    words = [each for each in recorded.words.versions.get(model_id, []) if each.kind is Kind.STATUS]
    told = {word.value for word in words} | {str(ModelStatus.TRAINED)}
    told |= recorded.tried.get(model_id, set())
    told |= {str(ModelStatus.DEPLOYED)} if state["deployments"] else set()
    told |= {str(ModelStatus.VALIDATED)} if any(word.validated_by for word in words) else set()
    said = [str(ModelStatus.VALIDATED)] if read_validation(state) else []
    odd = [each for each in dict.fromkeys([*said, state["status"]]) if each not in told]
    if not odd:
        return
    found += [f"it is {status}" for status in odd]
    if ModelStatus.VALIDATED in odd:
        state.pop("validated", None)
    state["history"] = [each for each in state["history"] if each["status"] not in odd]
    if state["status"] in odd:
        last = next((each["status"] for each in reversed(state["history"]) if each["status"] in told), None)
        state["status"] = last or str(ModelStatus.TRAINED)


def unrecorded_alias(entry: Mapping[str, Any], name: str, alias: str, recorded: Recorded) -> str:
    """Where an alias points without a record, in words; empty where its last record says so, or the log is not whole.

    Args:
        entry: of the alias.
        name: of the model.
        alias: its name.
        recorded: what the log tells.
    """
    words = recorded.words.aliases.get((name, alias), [])
    if not _tells_all(recorded) or recorded.nameless or f"aliases/{name}.json" in recorded.elsewhere:
        return ""
    said = words[-1].model_id if words else None
    if entry["model_id"] in (None, said):
        return ""
    return f"it points at {entry['model_id']}"
