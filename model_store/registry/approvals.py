"""Decisions about versions, each with its evidence: a status is set, a version is approved, an approval is withdrawn.

Two people approve a version: the actor who brought it, and another one. An approval is of one registry: a backup keeps
it, a bundle does not carry it, and one that a promotion carries tells what was decided elsewhere and counts there only.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conventions.artifact_files import BROUGHT_BY, MANIFEST_FILE
from model_store.errors import (
    AccessDenied,
    EvidenceMissing,
    IllegalTransition,
    IntegrityError,
    InvalidInput,
    ModelNotFound,
)
from model_store.registry.changing import Changing, Stored
from model_store.registry.files.evidence import Evidence, read_evidence, require_evidence, store_evidence
from model_store.registry.files.layout import digest_of, now, version_prefix
from model_store.registry.files.manifest import ModelMetadata, ModelStatus, status_named
from model_store.registry.log.audit import REFUSED
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.registration import REGISTERED, enter_status
from model_store.registry.request import COMPUTED_METRICS, REGISTERED_BY
from model_store.registry.serving import read_serving

REGISTRY = "registry"
"""Of an approval that a promotion carried: the registry where it was given."""
_IMPORTED = "imported"
"""Why a version of a state of before has its first status, if it was imported."""


def set_status(
    registry: Changing, model_id: str, status: ModelStatus | str, reason: str, evidence: Path | None
) -> ModelMetadata:
    """Sets a version's status; the arguments and errors are those of `ModelRegistry.update_model_status`."""
    registry.require_right("status", model_id)
    metadata, target = registry.get_metadata(model_id), status_named(status)
    if metadata.status is target and evidence is None:
        return metadata
    if metadata.status is not target:
        metadata.status.require_transition(target)
    file = read_evidence(evidence) if evidence is not None else None
    shown = _basis(metadata, registry.state(model_id), file) if target is ModelStatus.VALIDATED else {}
    told = {"evidence": file.sha256} if file else {}
    registry.audit.append("status", model_id, reason, **{"from": str(metadata.status), "to": str(target)}, **told)

    def change(state: dict[str, Any]) -> None:
        # Somebody else may have changed it since: the present status decides.
        present = status_named(state["status"])
        if present is not target:
            present.require_transition(target)
            _require_idle(model_id, state, target)
            enter_status(state, target, registry.actor, reason)
        if file is not None:
            _enter_evidence(state, file, str(target), registry.actor)
        if target is ModelStatus.VALIDATED:
            state["validated"] = {"at": now(), "by": registry.actor, "reason": reason, **shown}

    with recorded_failure(registry.audit, "status", model_id):
        if file is not None:
            store_evidence(registry.storage, model_id, file)
        registry.change_state(model_id, change)
    return replace(metadata, status=target)


def approve(registry: Changing, model_id: str, evidence: Path, reason: str) -> dict[str, Any]:
    """Approves a version; the arguments and errors are those of `ModelRegistry.approve`."""
    registry.require_right("approve", model_id)
    metadata = registry.get_metadata(model_id)
    _require_reason(reason)
    if registry.actor in (authors := registrants(metadata, registry.state(model_id))):
        message = (
            f"{registry.actor} registered or imported {model_id}; somebody else has to approve it "
            f"(not allowed: {', '.join(sorted(authors))})"
        )
        registry.audit.append(REFUSED, model_id, message, attempted="approve")
        raise AccessDenied(message)
    file, digest = read_evidence(evidence), manifest_digest(registry, model_id)
    registry.audit.append("approve", model_id, reason, evidence=file.sha256, manifest=digest)
    approval = {"at": now(), "by": registry.actor, "reason": reason, "manifest": digest, "evidence": file.sha256}

    def change(state: dict[str, Any]) -> None:
        _enter_evidence(state, file, "approved", registry.actor)
        state.setdefault("approvals", []).append(approval)

    with recorded_failure(registry.audit, "approve", model_id):
        store_evidence(registry.storage, model_id, file)
        registry.change_state(model_id, change)
    return approval


def withdraw_approval(registry: Changing, model_id: str, reason: str) -> int:
    """Withdraws every approval of a version; arguments and errors are those of `ModelRegistry.withdraw_approval`."""
    registry.require_right("approve", model_id)
    registry.get_metadata(model_id)
    _require_reason(reason)
    standing = [each for each in registry.state(model_id).get("approvals", []) if not each.get("withdrawn")]
    if not standing:
        raise InvalidInput(f"{model_id} has no approval to withdraw")
    registry.audit.append("approve", model_id, reason, withdrawn=True)
    withdrawn = {"at": now(), "by": registry.actor, "reason": reason}

    def change(state: dict[str, Any]) -> None:
        for each in state.get("approvals", []):
            if not each.get("withdrawn"):
                each["withdrawn"] = withdrawn

    with recorded_failure(registry.audit, "approve", model_id):
        registry.change_state(model_id, change)
    return len(standing)


def registrants(metadata: ModelMetadata, state: Mapping[str, Any]) -> set[str]:
    """The actors who registered, imported or promoted a version: none of them may approve it."""
    found = {entry.get("by", "") for entry in state["history"][:1]}
    found |= set(bringers(state))
    return {str(each) for each in (*found, metadata.author, metadata.lineage.get(REGISTERED_BY)) if each}


def bringers(state: Mapping[str, Any]) -> list[str]:
    """The actors who imported or promoted a version.

    A state of before says it in the history alone: in the reason of a first status, which no person writes.
    """
    if BROUGHT_BY in state:
        return list(state[BROUGHT_BY])
    trained = [entry for entry in state["history"] if entry["status"] == ModelStatus.TRAINED]
    return [entry.get("by", "") for entry in trained if entry.get("why", "").startswith(_IMPORTED)]


def read_validation(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """When, by whom and on which evidence a version was validated; None when it never was.

    A state of before has it in its history, without evidence.
    """
    if state.get("validated"):
        found: Mapping[str, Any] = state["validated"]
        return found
    for entry in reversed(state["history"]):
        if entry["status"] == ModelStatus.VALIDATED:
            return {"at": entry["at"], "by": entry.get("by", ""), "reason": entry.get("why", ""), "evidence": []}
    return None


def approval_problem(registry: Stored, model_id: str) -> str:
    """Why a version counts as not approved; empty when an approval stands.

    Raises:
        ModelNotFound: no model version has this id.
        UnreadableModel: its manifest or state is damaged.
    """
    metadata, state = registry.get_metadata(model_id), registry.state(model_id)
    approvals = state.get("approvals", [])
    if not approvals:
        return "nobody has approved it"
    problems = [_find_problem(registry, metadata, state, each) for each in approvals]
    return "" if "" in problems else problems[-1]


def is_withdrawn(state: Mapping[str, Any]) -> bool:
    """Whether a version was approved once, and every approval of it was withdrawn."""
    approvals = state.get("approvals", [])
    own = [each for each in approvals if not each.get(REGISTRY)] or approvals
    return bool(own) and all(each.get("withdrawn") for each in own)


def manifest_digest(registry: Stored, model_id: str) -> str:
    """The digest of a version's stored manifest, `sha256:<hex>`.

    Raises:
        ModelNotFound: no model version has this id.
    """
    return digest_of(registry.storage.read(f"{version_prefix(model_id)}/{MANIFEST_FILE}"))


def _find_problem(
    registry: Stored, metadata: ModelMetadata, state: Mapping[str, Any], approval: Mapping[str, Any]
) -> str:
    if withdrawn := approval.get("withdrawn"):
        return f"{withdrawn['by']} withdrew the approval at {withdrawn['at']}: {withdrawn['reason']}"
    if approval["by"] in registrants(metadata, state):
        return f"{approval['by']} registered or imported it and approved it alone"
    if elsewhere := approval.get(REGISTRY):
        return f"{approval['by']} approved it in {elsewhere}; an approval counts in the registry where it is given"
    if approval["manifest"] != manifest_digest(registry, metadata.model_id):
        return "the approval is of another manifest"
    try:
        require_evidence(registry.storage, metadata.model_id, approval["evidence"])
    except (IntegrityError, ModelNotFound) as error:
        return f"the approval's evidence is not intact: {error}"
    return ""


def _basis(metadata: ModelMetadata, state: Mapping[str, Any], file: Evidence | None) -> dict[str, Any]:
    """What a validation rests on: the file given, evidence from before, or metrics that the registration computed.

    Raises:
        EvidenceMissing: nothing.
    """
    if file is not None:
        return {"evidence": [file.sha256]}
    if earlier := list(dict.fromkeys(entry["sha256"] for entry in state.get("evidence", []))):
        return {"evidence": earlier}
    computed = metadata.lineage.get(COMPUTED_METRICS)
    # A manifest that was imported tells of another registry's computation.
    registered_here = bool(state["history"]) and state["history"][0].get("why") == REGISTERED
    if isinstance(computed, list) and computed and registered_here:
        return {"evidence": [], "metrics": {name: metadata.performance_metrics.get(name) for name in computed}}
    raise EvidenceMissing(
        f"{metadata.model_id} has no evidence; give a file that shows why it is valid: python scripts/manage_models.py "
        f"update-status {metadata.model_id} validated --evidence FILE (a version that is registered with --holdout "
        "needs none)"
    )


def _enter_evidence(state: dict[str, Any], file: Evidence, purpose: str, actor: str) -> None:
    state.setdefault("evidence", []).append(file.to_dict(purpose, actor))


def _require_idle(model_id: str, state: Mapping[str, Any], target: ModelStatus) -> None:
    if target is ModelStatus.ARCHIVED and (serving := read_serving(state)):
        raise IllegalTransition(f"{model_id} serves in {', '.join(sorted(serving))}; it cannot be archived")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("a reason is needed: --reason WHY; it is recorded in the audit log")
