"""What a promotion carries of a version's state, and how it joins what the target knows already."""

from collections.abc import Mapping
from typing import Any

from conventions.artifact_files import BROUGHT_BY
from model_store.registry.approvals import REGISTRY, bringers, read_validation
from model_store.registry.files.layout import now
from model_store.registry.files.manifest import ModelStatus

_TRAINED = ModelStatus.TRAINED
_ELSEWHERE = (ModelStatus.STAGED, ModelStatus.DEPLOYED)
"""Statuses that tell of one registry's environments."""


def carried_state(state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Status, history, evidence, validation and approvals of a version, without its deployments.

    Args:
        state: of the version in the source. A version that is staged or deployed there counts as validated, where it
            was, and as trained otherwise.
        source: location of the source; approvals name it, and count nowhere else.
    """
    found: dict[str, Any] = {
        "status": state["status"],
        "history": list(state["history"]),
        "evidence": list(state.get("evidence", [])),
        "approvals": [{REGISTRY: source, **each} for each in state.get("approvals", [])],
    }
    validation = read_validation(state)
    if found["status"] in _ELSEWHERE:
        found["status"] = str(ModelStatus.VALIDATED if validation else ModelStatus.TRAINED)
    if state.get("validated"):
        found["validated"] = state["validated"]
    if state.get("key_ids"):
        found["key_ids"] = state["key_ids"]
    return found


def merged_state(present: Mapping[str, Any], carried: Mapping[str, Any], actor: str, why: str) -> dict[str, Any]:
    """The target's state with what was carried; equal to the present one when it adds nothing.

    Args:
        present: the target's.
        carried: what `carried_state` returned.
        actor: who promotes, and brings the version where its status or validation is taken over.
        why: of the entry in the history.

    Returns:
        A state. What the target decided stays: a status is taken over from a version that is `trained` there, a
        validation where there is none, evidence and approvals that are not there yet.
    """
    merged = {**present}
    for name, same in (("evidence", ("sha256", "for")), ("approvals", ("at", "by", "manifest"))):
        joined = _joined(present.get(name, []), carried[name], same)
        if joined != present.get(name, []):
            merged[name] = joined
    if carried.get("validated") and not present.get("validated"):
        merged["validated"] = carried["validated"]
    if present["status"] == ModelStatus.TRAINED:
        merged["status"] = carried["status"]
    if merged == present:
        return merged
    if carried.get("key_ids") and not present.get("key_ids"):
        merged["key_ids"] = carried["key_ids"]
    known = [(each["status"], each["at"]) for each in present["history"]]
    earlier = [each for each in carried["history"] if (each["status"], each["at"]) not in known]
    entry = {"status": merged["status"], "at": now(), "by": actor, "why": why}
    if any(merged.get(name) != present.get(name) for name in ("status", "validated")):
        merged[BROUGHT_BY] = list(dict.fromkeys([*bringers(present), actor]))
    # Within one second a version is trained first: who trained it is the first of its history.
    earlier = sorted([*earlier, *present["history"]], key=lambda each: (str(each["at"]), each["status"] != _TRAINED))
    merged["history"] = [*earlier, entry]
    return merged


def _joined(present: list[Any], carried: list[Any], same: tuple[str, ...]) -> list[Any]:
    """Entries of both; one that was withdrawn in the source is withdrawn here, too."""

    def identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(entry.get(name) for name in same)

    theirs = {identity(entry): entry for entry in carried}
    ours = {identity(entry) for entry in present}
    kept = [{**entry, **_withdrawal(theirs.get(identity(entry), {}))} for entry in present]
    return [*kept, *(entry for entry in carried if identity(entry) not in ours)]


def _withdrawal(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"withdrawn": entry["withdrawn"]} if entry.get("withdrawn") else {}
