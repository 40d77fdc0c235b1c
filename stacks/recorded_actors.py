"""Who made a deployment, where the stack's own history does not tell: found in the audit log.

The message of a plain `pulumi up` and of releases before this one names nobody; a record of the audit log does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stacks.history import Deployment, Intent

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from model_store.registry.log.log_window import LogWindows

Log = Callable[[str], None]
MOST = 50
"""How many deployments without an actor are looked up: the newest."""
_AFTERWARDS = timedelta(minutes=10)
"""A command writes its last record after the update: checks of a cluster's objects lie between."""


def with_actors(history: Sequence[Deployment], registry: "ModelRegistry") -> list[Deployment]:
    """The deployments, each with its actor where the audit log has it.

    Args:
        history: deployments, newest first.
        registry: holds the audit log.

    Raises:
        ModelStoreError: the registry or its log cannot be read.
    """
    from model_store.registry.log.log_window import LogWindows

    windows, left, found = LogWindows(registry.audit), MOST, []
    for deployment in history:
        if not deployment.actor and left > 0:
            left -= 1
            found.append(replace(deployment, actor=_actor_of(deployment, windows)))
        else:
            found.append(deployment)
    return found


def known_actors(
    history: Sequence[Deployment], registry: "Callable[[], ModelRegistry]", log: Log = lambda _line: None
) -> list[Deployment]:
    """As `with_actors`; where the audit log cannot be read, the deployments as they are.

    Args:
        history: deployments, newest first.
        registry: opens the registry that holds the audit log.
        log: told that the log cannot be read.
    """
    from model_store.errors import ModelStoreError

    try:
        return with_actors(history, registry())
    except ModelStoreError as error:
        log(f"some actors are not known: the audit log cannot be read ({error})")
        return list(history)


def _actor_of(deployment: Deployment, windows: "LogWindows") -> str:
    from model_store.registry.log.audit import UPDATE

    plain = deployment.intent is Intent.UP
    last = deployment.finished_at if plain else _later(deployment.finished_at)
    for record in windows.between(deployment.started_at, last):
        if record.details.get("environment") != deployment.environment:
            continue
        if record.action == UPDATE if plain else record.details.get("deployment_id") == deployment.deployment_id:
            return record.actor
    return ""


def _later(moment: str) -> str:
    return (datetime.fromisoformat(moment) + _AFTERWARDS).isoformat(timespec="seconds").replace("+00:00", "Z")
