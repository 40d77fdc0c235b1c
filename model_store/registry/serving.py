"""Where versions serve: what a state says of environments, beside the status, which says what was found out.

A state holds `serving`: by environment, the deployment that serves and since when. States of before have no such field:
a deployed version of that time serves where it was last deployed to, unless another version followed there.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from model_store.errors import IllegalTransition, ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.changing import Changing
from model_store.registry.files.layout import now
from model_store.registry.files.manifest import ModelMetadata, ModelStatus, status_named
from model_store.registry.log.recent_servers import recent_servers
from model_store.registry.registration import enter_status

_ATTEMPTS = 10
UNCHECKED = "unchecked"
"""Of a deployment whose caller has not checked what the environment asks for; deployments of before have no such field.
"""


def read_serving(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Where a version serves, by environment: `deployment_id` and `since`."""
    if "serving" in state:
        return {environment: dict(entry) for environment, entry in state["serving"].items()}
    if state["status"] != ModelStatus.DEPLOYED:
        return {}
    return {
        entry["environment"]: {"deployment_id": entry["deployment_id"], "since": entry["at"]}
        for entry in state["deployments"]
    }


def served_before(state: Mapping[str, Any], environment: str) -> bool:
    """Whether a version has served in an environment with all that the environment asked for then.

    A deployment that was only recorded, by a caller who has checked nothing, says nothing of it.
    """
    return any(
        entry["environment"] == environment and not entry.get("break_glass") and not entry.get(UNCHECKED)
        for entry in state["deployments"]
    )


def latest_only(models: Iterable[ModelMetadata]) -> list[ModelMetadata]:
    """The models, where an environment that several claim to serve in belongs to the latest.

    States of before name no end; a command that was killed between two states leaves both.
    """
    models = list(models)
    latest: dict[str, tuple[str, int, str]] = {}
    busy = [model for model in models if model.serving]
    for model in busy:
        for environment, since in model.serving.items():
            latest[environment] = max(latest.get(environment, ("", 0, "")), (since, model.version, model.model_id))
    if len(latest) == sum(len(model.serving) for model in busy):
        return models
    return [_without_superseded(model, latest) if model.serving else model for model in models]


def serves_in(registry: Changing, model_id: str) -> Mapping[str, str]:
    """The environments where a version serves, each with the time since when.

    Its own state says so, and that of no version that followed there; the index only proposes who may have followed.

    Raises:
        ModelNotFound: no model version has this id.
        UnreadableModel: its manifest or state is damaged.
    """
    own = registry.get_metadata(model_id)
    models = [own]
    if own.serving:
        for other in registry.stored_models():
            if other.serving and other.model_id != model_id:
                with suppress(ModelNotFound, UnreadableModel):
                    models.append(registry.get_metadata(other.model_id))
    return next(each.serving for each in latest_only(models) if each.model_id == model_id)


def _without_superseded(model: ModelMetadata, latest: Mapping[str, tuple[str, int, str]]) -> ModelMetadata:
    kept = {each: since for each, since in model.serving.items() if latest[each][2] == model.model_id}
    return model if len(kept) == len(model.serving) else replace(model, serving=kept)


def begin_serving(
    registry: Changing,
    model_id: str,
    environment: str,
    deployment_id: str,
    break_glass: str = "",
    *,
    checked: bool = False,
) -> None:
    """Enters in the states that a version serves in an environment, and that the versions before no longer do.

    Args:
        registry: holds the states.
        model_id: the version that serves now.
        environment: where.
        deployment_id: of the deployment.
        break_glass: the reason, where the version lacks what the environment asks for; empty when it lacks nothing.
        checked: whether the caller has checked what the environment asks for.

    Raises:
        IllegalTransition: the version is archived.
        VersionConflict: somebody else changed a state at the same time, again and again.
    """
    entry: dict[str, Any] = {"environment": environment, "deployment_id": deployment_id, "at": now()}
    if not checked:
        entry[UNCHECKED] = True
    if break_glass:
        entry["break_glass"] = break_glass

    def begin(state: dict[str, Any]) -> None:
        require_servable(model_id, state)
        serving = read_serving(state)
        state["deployments"].append(entry)
        state["serving"] = {**serving, environment: {"deployment_id": deployment_id, "since": entry["at"]}}
        if ModelStatus.DEPLOYED in status_named(state["status"]).leads_to:
            enter_status(state, ModelStatus.DEPLOYED, registry.actor, deployment_id)

    registry.change_state(model_id, begin)
    end_serving(registry, environment, f"{deployment_id} follows in {environment}", but=model_id)


def require_servable(model_id: str, state: Mapping[str, Any]) -> None:
    """Raises IllegalTransition for an archived version: it serves nowhere.

    Raises:
        IllegalTransition: says what to do.
    """
    if state["status"] == ModelStatus.ARCHIVED:
        raise IllegalTransition(
            f"{model_id} is archived and cannot serve; first: python scripts/manage_models.py update-status {model_id} "
            "deprecated"
        )


def end_serving(registry: Changing, environment: str, reason: str, but: str = "") -> None:
    """Enters in the states that the versions of an environment no longer serve there.

    A version that serves nowhere gets back the status from before it was deployed.

    Args:
        registry: holds the states.
        environment: where.
        reason: entered in the history of a status that changes.
        but: the version that goes on serving; empty when none does.

    Raises:
        VersionConflict: somebody else changed a state at the same time, again and again.
    """

    def end(state: dict[str, Any]) -> None:
        serving = read_serving(state)
        serving.pop(environment, None)
        state["serving"] = serving
        if not serving and state["status"] == ModelStatus.DEPLOYED:
            enter_status(state, status_before(state), registry.actor, reason)

    for model_id in _servers(registry, environment):
        if model_id != but:
            _until_done(registry, model_id, end)


def _servers(registry: Changing, environment: str) -> list[str]:
    """The versions whose states say that they serve in an environment.

    A version that a wrong index hides is left out; `latest_only` shows that another one followed.
    """
    named = recent_servers(registry.audit, environment)
    if named is None:
        return [model.model_id for model in registry.stored_models() if environment in model.serving]
    found = []
    for model_id in sorted(named):
        with suppress(ModelNotFound, UnreadableModel):
            if environment in registry.get_metadata(model_id).serving:
                found.append(model_id)
    return found


def status_before(state: Mapping[str, Any]) -> ModelStatus:
    """The last status of a state's history before it was deployed."""
    for entry in reversed(state["history"]):
        if entry["status"] != ModelStatus.DEPLOYED:
            return status_named(entry["status"])
    return ModelStatus.TRAINED


def _until_done(registry: Changing, model_id: str, change: Callable[[dict[str, Any]], None]) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return registry.change_state(model_id, change)
        except VersionConflict:
            if attempt == _ATTEMPTS:
                raise
    return None
