"""Checks a version against the environment's requirements (`gates.requires`) in the registry."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.errors import SignatureInvalid
from model_store.registry.approvals import approval_problem, is_withdrawn, read_validation, registrants
from model_store.registry.files.evidence import evidence_damage
from model_store.registry.files.manifest import ModelStatus
from model_store.registry.reader import RegistryReader
from model_store.registry.serving import served_before
from model_store.registry.signing import parse_public_key

_PROGRAM = "python scripts/manage_models.py"


@dataclass(frozen=True)
class Missing:
    """One missing requirement of a version."""

    name: str
    """`validated`, `approved` or `signed`."""
    detail: str
    command: str
    """Gives it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}: {self.command}"


def missing_requirements(
    registry: RegistryReader,
    model_id: str,
    environment: str,
    requires: Sequence[str],
    public_keys: Sequence[str] = (),
    *,
    way_back: bool = True,
) -> list[Missing]:
    """Returns the requirements of an environment that a version does not meet.

    Args:
        registry: holds the version.
        model_id: the version.
        environment: the environment to deploy to.
        requires: `validated`, `approved`, `signed`.
        public_keys: of trusted signers.
        way_back: whether a version that served in the environment before, with all that was required then, goes on
            without a validation or approval that is required since; a withdrawn approval and an archived version count.

    Raises:
        ModelNotFound: no model version has this id.
        UnreadableModel: its manifest or state is damaged.
    """
    if not requires:
        return []
    found = _found(registry, model_id, environment, requires, public_keys)
    state = registry.state(model_id)
    archived = state["status"] == ModelStatus.ARCHIVED
    if way_back and served_before(state, environment) and not archived and not is_withdrawn(state):
        return [each for each in found if each.name == "signed"]
    return list(found)


def _found(
    registry: RegistryReader, model_id: str, environment: str, requires: Sequence[str], public_keys: Sequence[str]
) -> Iterator[Missing]:
    state = registry.state(model_id)
    if "validated" in requires:
        command = f"{_PROGRAM} update-status {model_id} validated --evidence FILE --reason WHY"
        if state["status"] == ModelStatus.ARCHIVED:
            command = f"{_PROGRAM} update-status {model_id} deprecated --reason WHY"
            yield Missing("validated", f"{model_id} is archived", command)
        elif (validation := read_validation(state)) is None:
            detail = f"{model_id} is {state['status']}; {environment} serves what was validated"
            yield Missing("validated", detail, command)
        elif damage := evidence_damage(registry.storage, model_id, _as_evidence(validation)):
            command = f"{_PROGRAM} verify {model_id} --repair BACKUP"
            yield Missing("validated", f"its evidence is not intact: {'; '.join(damage.values())}", command)
    if "approved" in requires and (problem := approval_problem(registry, model_id)):
        others = ", ".join(sorted(registrants(registry.get_metadata(model_id), state)))
        command = f"{_PROGRAM} approve {model_id} --evidence FILE --reason WHY (by somebody other than {others})"
        yield Missing("approved", problem, command)
    if "signed" in requires and (problem := _signature_problem(registry, model_id, public_keys)):
        yield Missing("signed", problem, f"{_PROGRAM} sign {model_id} --sign-key FILE")


def _as_evidence(validation: Mapping[str, Any]) -> dict[str, Any]:
    return {"evidence": [{"sha256": each} for each in validation.get("evidence", ())]}


def _signature_problem(registry: RegistryReader, model_id: str, public_keys: Sequence[str]) -> str:
    try:
        registry.verify_signature(model_id, [parse_public_key(text) for text in public_keys])
    except SignatureInvalid as error:
        return str(error).partition("; sign it:")[0]
    return ""
