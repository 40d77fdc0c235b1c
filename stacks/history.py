"""A stack's history as deployments: what was deployed when, by which way, and what a rollback goes back to."""

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from conventions.config_keys import BREAK_GLASS, DEPLOYMENT, MODEL_VERSION, ROLLOUT
from stacks.environments import DeploymentEnvironment
from stacks.errors import UnknownDeployment
from stacks.provenance import Provenance, commit_of, read_message, read_run

_STATE = (MODEL_VERSION, ROLLOUT, BREAK_GLASS)
_SUCCEEDED = "succeeded"
_ENDED = (_SUCCEEDED, "failed")
_MESSAGE = re.compile(r"^(?P<intent>deploy|rollback|rollout) (?P<model_id>\S+)")


class Intent(StrEnum):
    """The purpose of a deployment."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    """A step of a rollout: the stable version stays, its candidate comes, gets another weight or goes."""
    UP = "up"
    """A plain `pulumi up`, which does not say."""


@dataclass(frozen=True)
class Deployment:
    """One successful `up` with a model version that changed something."""

    deployment_id: str
    """`deploy_<name>_<environment>_<YYYYmmdd_HHMMSS>`, UTC."""
    environment: str
    model_id: str
    started_at: str
    """RFC 3339, UTC."""
    finished_at: str
    update: int
    """Number of the update in the stack's history, from 1."""
    intent: Intent
    message: str
    api_endpoint: str
    current: bool
    """Whether this is what the stack runs now."""
    candidate: str = ""
    """The model version that was tried beside it; empty when none was."""
    candidate_weight: int = 0
    """Percent of the requests that the candidate answered."""
    until: str = ""
    """When the next deployment, or the end of the stack, followed: RFC 3339, UTC; empty while it serves."""
    actor: str = ""
    """Who made it; empty where neither the stack's history nor the audit log tells."""
    reason: str = ""
    """Why: `--reason` of the command, `--message` of a plain `pulumi up`."""
    commit: str = ""
    """The commit that was checked out; empty outside of a Git repository."""
    run: str = ""
    """The pipeline run: its address, or its system and number; empty where a person ran the command."""
    break_glass: Mapping[str, Any] = field(default_factory=dict)
    """Why it was made although the version lacks something: `missing`, `reason`, `by`, `until`; empty otherwise."""

    @property
    def break_glass_reason(self) -> str:
        """Why its version was deployed although it lacks something; empty when it lacks nothing."""
        return str(self.break_glass.get("reason", "")) if self.break_glass.get("model_id") == self.model_id else ""

    def to_dict(self) -> dict[str, Any]:
        """The deployment as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ToldUpdate:
    """An update of a stack that ended, whether it succeeded or failed."""

    environment: str
    kind: str
    """In the engine's words: `update`, `destroy` and so on."""
    model_id: str
    """The stable model version that it is for; empty where it is for none."""
    candidate: str
    """The model version beside it; empty when there is none."""
    intent: Intent
    succeeded: bool
    changed: bool
    """Whether it changed a resource."""
    started_at: str
    """RFC 3339, UTC."""
    finished_at: str


def told_updates(environment: DeploymentEnvironment, updates: Iterable[Any]) -> list[ToldUpdate]:
    """The updates of a stack that ended, oldest first.

    Args:
        environment: whose stack it is.
        updates: the stack's history as the engine lists it, newest first.
    """
    found: list[ToldUpdate] = []
    state: dict[str, Any] = {}
    for each in reversed(list(updates)):
        update = _with_state(each, state)
        if update.result in _ENDED:
            found.append(_told_update(environment, update))
        if update.result == _SUCCEEDED and update.kind == "update":
            state = _state_of(update)
    return found


def in_order(updates: Iterable[Any], serves: str, saved: Callable[[], datetime | None]) -> list[Any]:
    """A stack's updates, newest first, also where a clock was set back or another host's is behind.

    The engine lists updates by their times. The one that made the state is the newest, whatever its time.

    Args:
        updates: as the engine lists them.
        serves: the stable model version in the state of the stack; empty without a deployment.
        saved: tells when the state was saved, by the clock of the update that saved it; asked where it decides.
    """
    listed = list(updates)
    made = [each for each in listed if each.kind == "update" and each.result == _SUCCEEDED and _changes(each)]
    if not serves or not made or _value(made[0], MODEL_VERSION) in ("", serves):
        return listed
    could_be = [each for each in made if _value(each, MODEL_VERSION) == serves]
    if not could_be:
        return listed
    at = saved()
    newest = min(could_be, key=lambda each: abs(_utc(each.end_time or each.start_time) - at)) if at else could_be[0]
    return [newest, *(each for each in listed if each is not newest)]


def message_for(intent: Intent, model_id: str, detail: str = "") -> str:
    """The message that an update is recorded with, so that the history can be read back."""
    return f"{intent} {model_id}{f' ({detail})' if detail else ''}"


def deployments(environment: DeploymentEnvironment, updates: Iterable[Any]) -> list[Deployment]:
    """The deployments among a stack's updates, newest first.

    Args:
        environment: whose stack it is.
        updates: the stack's history as the engine lists it, newest first. (A `file://` state numbers none of them.)
    """
    found: list[Deployment] = []
    running = False
    state: dict[str, Any] = {}
    for number, each in enumerate(reversed(list(updates)), start=1):
        update = _with_state(each, state)
        if update.result != _SUCCEEDED:
            continue
        if update.kind == "destroy":
            if running:
                found[-1] = replace(found[-1], until=_rfc3339(_utc(update.end_time or update.start_time)))
            running = False
        elif update.kind == "update" and _changes(update) and _value(update, MODEL_VERSION):
            following = _deployment(environment, update, number)
            if running:
                found[-1] = replace(found[-1], until=following.finished_at)
            found.append(following)
            running = True
        if update.kind == "update":
            state = _state_of(update)
    if running:
        found[-1] = replace(found[-1], current=True)
    return found[::-1]


def current_deployment(history: Iterable[Deployment], environment: DeploymentEnvironment) -> Deployment:
    """Returns the present deployment of an environment.

    Raises:
        UnknownDeployment: nothing is deployed.
    """
    for deployment in history:
        if deployment.current:
            return deployment
    raise UnknownDeployment(
        f"nothing is deployed in {environment}; deploy a model version first: "
        f"python scripts/deploy_model.py deploy MODEL_ID {environment}"
    )


def prior_versions(history: Iterable[Deployment]) -> list[str]:
    """Returns the model versions that successive rollbacks deploy, nearest first.

    Each deployment pushes its version on a stack. A rollback removes every version above its target, so the next
    rollback reaches an older version. A plain `up` with the version below the top counts as a rollback.

    Args:
        history: deployments, newest first.
    """
    version_stack: list[str] = []
    for deployment in reversed(list(history)):
        push_version(version_stack, deployment.model_id, deployment.intent)
    return version_stack[-2::-1]


def push_version(version_stack: list[str], model_id: str, intent: Intent) -> bool:
    """Changes a version stack by a deployment; returns whether it went back to a version in it.

    Args:
        version_stack: model versions, the one that serves at the end.
        model_id: the version that serves now.
        intent: what the deployment was for.
    """
    if version_stack and version_stack[-1] == model_id:
        return False
    went_back = intent is Intent.ROLLBACK and model_id in version_stack
    stepped_back = intent is Intent.UP and version_stack[-2:-1] == [model_id]
    if went_back or stepped_back:
        del version_stack[_last_index(version_stack, model_id) + 1 :]
        return True
    version_stack.append(model_id)
    return False


def _last_index(version_stack: list[str], model_id: str) -> int:
    return len(version_stack) - 1 - version_stack[::-1].index(model_id)


def _deployment(environment: DeploymentEnvironment, update: Any, number: int) -> Deployment:
    started = _utc(update.start_time)
    model_id = _value(update, MODEL_VERSION)
    config = _parsed(_value(update, DEPLOYMENT))
    intent = _intent_of(update)
    message, told = _told(update, intent)
    rollout = _parsed(_value(update, ROLLOUT))
    name = config.get("deployment_name", "unnamed")
    return Deployment(
        deployment_id=f"deploy_{name}_{environment}_{started:%Y%m%d_%H%M%S}",
        environment=str(environment),
        model_id=model_id,
        started_at=_rfc3339(started),
        finished_at=_rfc3339(_utc(update.end_time or update.start_time)),
        update=number,
        intent=intent,
        message=message,
        api_endpoint=config.get("api_endpoint", ""),
        current=False,
        candidate=str(rollout.get("candidate", "")),
        candidate_weight=int(rollout.get("weight", 0)),
        actor=told.actor,
        reason=told.reason,
        commit=told.commit,
        run=told.run,
        break_glass=_parsed(_value(update, BREAK_GLASS)),
    )


def _told_update(environment: DeploymentEnvironment, update: Any) -> ToldUpdate:
    return ToldUpdate(
        environment=str(environment),
        kind=update.kind,
        model_id=_value(update, MODEL_VERSION),
        candidate=str(_parsed(_value(update, ROLLOUT)).get("candidate", "")),
        intent=_intent_of(update),
        succeeded=update.result == _SUCCEEDED,
        changed=_changes(update),
        started_at=_rfc3339(_utc(update.start_time)),
        finished_at=_rfc3339(_utc(update.end_time or update.start_time)),
    )


def _intent_of(update: Any) -> Intent:
    """What an update is for, by its message; one whose message names another version is a plain update."""
    marked = _MESSAGE.match(update.message or "")
    return Intent(marked["intent"]) if marked and marked["model_id"] == _value(update, MODEL_VERSION) else Intent.UP


def _told(update: Any, intent: Intent) -> tuple[str, Provenance]:
    """The update's message, and who made it why, from which commit and in which run."""
    message, told = read_message(update.message or "")
    environment = getattr(update, "environment", None) or {}
    reason = " ".join(message.split()) if intent is Intent.UP else told.reason
    return message, replace(told, reason=reason, commit=commit_of(environment), run=read_run(environment))


def parse_config(update: Any) -> dict[str, Any]:
    """The config that an update was made with: by key, objects as such, secrets left out."""
    return {
        key: _parsed(str(entry.value)) or str(entry.value)
        for key, entry in sorted(update.config.items())
        if not entry.secret
    }


def _with_state(update: Any, state: Mapping[str, Any]) -> Any:
    """An update whose config names no version went on with what the stack's state had before it."""
    if update.kind != "update" or MODEL_VERSION in update.config or not state:
        return update
    found = copy.copy(update)
    found.config = {**state, **update.config}
    return found


def _state_of(update: Any) -> dict[str, Any]:
    return {key: update.config[key] for key in _STATE if key in update.config}


def _changes(update: Any) -> bool:
    changes: Mapping[str, int] = update.resource_changes or {}
    return any(count for operation, count in changes.items() if operation != "same")


def _value(update: Any, key: str) -> str:
    entry = update.config.get(key)
    return str(entry.value) if entry else ""


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
