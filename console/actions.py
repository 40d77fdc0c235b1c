"""What a person may change: each action with its right, a preview of what would change, and what carries it out.

The preview is made from what is known now. Its digest goes with the form: where something else has changed meanwhile,
the preview is shown again and nothing is done.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from console.processes import run_worker
from console.state import Console
from model_store.errors import AccessDenied, InvalidInput, ModelNotFound, ModelStoreError
from stacks.environments import DeploymentEnvironment
from stacks.errors import NoRollout, StacksError

if TYPE_CHECKING:
    from model_store import ModelRegistry

Asked = Mapping[str, str]
_LONGEST_NAME = 200
"""Bytes of a file's name."""


@dataclass(frozen=True)
class Change:
    """One thing that would be another one afterwards."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Preview:
    """What an action would do, and why it is refused where it is."""

    subject: str
    """The environment or the model version that changes."""
    back: str
    """The page to go to afterwards."""
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""
    expected: Mapping[str, str] = field(default_factory=dict)
    """What the environment has, so that the change is made to this alone: `stable`, `candidate`, and of a rollback the
    `target`."""

    @property
    def digest(self) -> str:
        """Names this very preview."""
        changes = [[each.what, each.before, each.after] for each in self.changes]
        shown = [self.subject, self.refusal, changes, sorted(self.expected.items())]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


@dataclass(frozen=True)
class Given:
    """What a person has sent: the fields of the form, the reason, and an evidence file."""

    asked: Asked
    reason: str
    evidence_name: str = ""
    evidence: bytes = b""


@dataclass(frozen=True)
class Action:
    """One action."""

    name: str
    title: str
    right: str
    """As the registry's roles name it."""
    fields: tuple[str, ...]
    """Of the address."""
    preview: "Callable[[Console, ModelRegistry, Asked], Preview]"
    run: "Callable[[Console, ModelRegistry, Given], None] | None" = None
    """Carries it out at once; None: the worker does, with the action's name as its task."""
    wants_evidence: bool = False
    needs_evidence: bool = False


def preview_of(action: Action, console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    """The preview of an action for the actor of a registry, with the refusal where the role does not allow it."""
    found = action.preview(console, registry, asked)
    try:
        rights = registry.access.rights()
        rights.require(registry.actor, action.right, asked.get("alias") if action.right == "alias" else None)
    except AccessDenied as error:
        return replace(found, refusal=str(error))
    return found


def require_right(action: Action, registry: "ModelRegistry", subject: str, asked: Asked) -> None:
    """Raises AccessDenied, and records it, unless the actor may carry an action out."""
    told = {"environment": asked["environment"]} if "environment" in asked else {}
    registry.require_right(action.right, subject, asked.get("alias") if action.right == "alias" else None, **told)


def carry_out_elsewhere(
    console: Console,
    action: Action,
    actor: str,
    given: Given,
    expected: Mapping[str, str],
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Carries an action out in the worker, where the environment is as expected, and returns what it tells."""
    request = {
        "environment": given.asked["environment"],
        "reason": given.reason,
        "to": given.asked.get("to") or None,
        "expected": dict(expected),
    }
    return run_worker(console.checkout, action.name, actor, request, log)


def _preview_promote(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    environment, file = _file(console, asked)
    rollout, back = file.rollout(), f"/environments/{environment}/rollout"
    if not rollout.candidate:
        return Preview(environment, back, refusal=str(NoRollout(f"no candidate is being tried in {environment}")))
    changes = (
        Change("stable version", file.model_version, rollout.candidate),
        Change("requests of the candidate", f"{rollout.weight} %", "100 %"),
        Change(
            "kept ready for a rollback", rollout.kept or "-", f"{file.model_version}, {rollout.keep_minutes} minutes"
        ),
    )
    look = console.looking.at(environment)
    status = look.rollout
    notes = [f"the checks say: {status.verdict}{f' ({status.reason})' if status.reason else ''}"] if status else []
    refusal = _missing(registry, file, rollout.candidate)
    return Preview(environment, back, changes, tuple(notes), refusal, expected_of(file))


def _preview_abort(console: Console, _registry: "ModelRegistry", asked: Asked) -> Preview:
    environment, file = _file(console, asked)
    rollout, back = file.rollout(), f"/environments/{environment}/rollout"
    if not rollout.candidate:
        return Preview(environment, back, refusal=str(NoRollout(f"no candidate is being tried in {environment}")))
    changes = (
        Change("candidate", rollout.candidate, "withdrawn"),
        Change("requests of the candidate", f"{rollout.weight} %", "0 %"),
        Change("stable version", file.model_version, file.model_version),
    )
    return Preview(environment, back, changes, expected=expected_of(file))


def _preview_rollback(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    from stacks.checks.comparison import compare
    from stacks.deployment_history import rollback_target

    environment, file = _file(console, asked)
    back, history = f"/environments/{environment}", console.histories.of(environment, wait=20.0)
    if file.rollout().candidate:
        if not asked.get("to"):
            found = _preview_abort(console, registry, asked)
            note = "a candidate is being tried: the way back is to withdraw it"
            return replace(found, back=back, notes=(note,))
        refusal = f"{environment} is trying {file.rollout().candidate}; promote or withdraw it first"
        return Preview(environment, back, refusal=refusal)
    try:
        current, target = rollback_target(
            list(history.deployments), DeploymentEnvironment(environment), asked.get("to") or None
        )
    except StacksError as error:
        return Preview(environment, back, refusal=str(error))
    changes = [Change("version", current.model_id, target)]
    before = next((each for each in history.deployments if each.model_id == target), current)
    now, then = (history.find(each.deployment_id) for each in (current, before))
    if now is not None and then is not None:
        changes += [
            Change(each["what"], each["a"], each["b"])
            for each in compare(now, then, registry)
            if each["what"].startswith(("metric ", "model ")) and each["what"] != "model version"
        ]
    note = f"the configuration stays as it is; {target} served here until {before.until or 'now'}"
    refusal = _missing(registry, file, target, way_back=True)
    return Preview(environment, back, tuple(changes), (note,), refusal, expected_of(file) | {"target": target})


def expected_of(file: Any) -> dict[str, str]:
    """What an environment has as a change finds it: its stable version, and its candidate or an empty text."""
    return {"stable": str(file.model_version), "candidate": str(file.rollout().candidate)}


def _file(console: Console, asked: Asked) -> tuple[str, Any]:
    from stacks.engine.stack_file import StackFile

    environment = DeploymentEnvironment.named(asked.get("environment", ""))
    return str(environment), StackFile.read(console.checkout, environment)


def _missing(registry: "ModelRegistry", file: Any, model_id: str, *, way_back: bool = False) -> str:
    from stacks.requirements import find_missing

    try:
        found = find_missing(registry, file, model_id, file.deployment(), way_back=way_back)
    except ModelStoreError as error:
        return str(error)
    glass = file.break_glass()
    return "; ".join(str(each) for each in found if glass is None or not glass.passes(model_id, each.name))


def _preview_alias(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    from model_store.registry.aliases import Aliases
    from model_store.registry.files.manifest import parse_model_name

    model_id, alias = registry.get_metadata(asked.get("model_id", "")).model_id, asked.get("alias", "")
    name, back = parse_model_name(model_id), f"/registry/{model_id}"
    del console
    if not alias:
        return Preview(model_id, back, refusal="name the alias, such as champion")
    before = Aliases(registry).of(name).get(alias, "-")
    refusal = "it points there already" if before == model_id else ""
    return Preview(model_id, back, (Change(f"{name}@{alias}", before, model_id),), refusal=refusal)


def _run_alias(_console: Console, registry: "ModelRegistry", given: Given) -> None:
    from model_store.registry.aliases import Aliases
    from model_store.registry.files.manifest import parse_model_name

    model_id = given.asked["model_id"]
    Aliases(registry).set(parse_model_name(model_id), given.asked["alias"], model_id, given.reason)


def _preview_status(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    from model_store.registry.files.manifest import status_named

    metadata = registry.get_metadata(asked.get("model_id", ""))
    back, allowed = f"/registry/{metadata.model_id}", ", ".join(metadata.status.leads_to)
    del console
    try:
        target = status_named(asked.get("status", ""))
        metadata.status.require_transition(target)
    except ModelStoreError as error:
        return Preview(metadata.model_id, back, refusal=str(error))
    note = f"{metadata.status} leads to: {allowed}"
    return Preview(metadata.model_id, back, (Change("status", str(metadata.status), str(target)),), (note,))


def _run_status(_console: Console, registry: "ModelRegistry", given: Given) -> None:
    with _evidence_file(given) as evidence:
        registry.update_model_status(given.asked["model_id"], given.asked["status"], given.reason, evidence=evidence)


def _preview_approve(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    from model_store.registry.approvals import approval_problem, manifest_digest, registrants

    metadata = registry.get_metadata(asked.get("model_id", ""))
    model_id, back = metadata.model_id, f"/registry/{metadata.model_id}"
    del console
    authors = registrants(metadata, registry.state(model_id))
    refusal = ""
    if registry.actor in authors:
        refusal = f"{registry.actor} registered or imported it; somebody else has to approve it"
    before = approval_problem(registry, model_id) or "approved"
    changes = (Change("approval", before, f"approved by {registry.actor}"),)
    return Preview(model_id, back, changes, (f"of the manifest {manifest_digest(registry, model_id)}",), refusal)


def _run_approve(_console: Console, registry: "ModelRegistry", given: Given) -> None:
    with _evidence_file(given) as evidence:
        if evidence is None:
            raise InvalidInput("an approval needs an evidence file; nothing was changed")
        registry.approve(given.asked["model_id"], evidence, given.reason)


def _preview_withdraw(console: Console, registry: "ModelRegistry", asked: Asked) -> Preview:
    metadata = registry.get_metadata(asked.get("model_id", ""))
    model_id, back = metadata.model_id, f"/registry/{metadata.model_id}"
    del console
    standing = [each for each in registry.state(model_id).get("approvals", []) if not each.get("withdrawn")]
    changes = tuple(Change(f"approval by {each['by']}, {each['at']}", "stands", "withdrawn") for each in standing)
    return Preview(model_id, back, changes, refusal="" if standing else f"{model_id} has no approval to withdraw")


def _run_withdraw(_console: Console, registry: "ModelRegistry", given: Given) -> None:
    registry.withdraw_approval(given.asked["model_id"], given.reason)


class _evidence_file:  # noqa: N801 - used as a function
    """The evidence file on this machine for as long as the block lasts; None where none was sent."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._directory: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path | None:
        if not self._given.evidence:
            return None
        self._directory = TemporaryDirectory(prefix="console-evidence-")
        # The browser's name of the file is data: only its last part, and never a path.
        name = self._given.evidence_name.replace("\\", "/").rpartition("/")[2].strip(".") or "evidence"
        plain = "".join(letter if letter.isprintable() else "_" for letter in name)
        path = Path(self._directory.name) / plain.encode()[-_LONGEST_NAME:].decode(errors="ignore")
        path.write_bytes(self._given.evidence)
        return path

    def __exit__(self, *_error: object) -> None:
        if self._directory is not None:
            self._directory.cleanup()


ACTIONS = {
    each.name: each
    for each in (
        Action("promote", "Make the candidate the stable version", "promote", ("environment",), _preview_promote),
        Action("abort", "Withdraw the candidate", "abort", ("environment",), _preview_abort),
        Action("rollback", "Go back to a version of before", "rollback", ("environment", "to"), _preview_rollback),
        Action("alias", "Move an alias", "alias", ("model_id", "alias"), _preview_alias, _run_alias),
        Action(
            "status",
            "Set the status",
            "status",
            ("model_id", "status"),
            _preview_status,
            _run_status,
            wants_evidence=True,
        ),
        Action(
            "approve",
            "Approve the version",
            "approve",
            ("model_id",),
            _preview_approve,
            _run_approve,
            wants_evidence=True,
            needs_evidence=True,
        ),
        Action("withdraw", "Withdraw the approval", "approve", ("model_id",), _preview_withdraw, _run_withdraw),
    )
}


def action_named(name: str) -> Action:
    """The action of a name.

    Raises:
        ModelNotFound: there is no such action.
    """
    if name not in ACTIONS:
        raise ModelNotFound("there is no such action")
    return ACTIONS[name]
