"""The deployments of a checkout's stacks, read from the engine's update histories."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.engine.reading import read_engine
from stacks.engine.workspace import existing_environments, exported_state, outputs_of, saved_at, select_stack
from stacks.environments import DeploymentEnvironment
from stacks.errors import NoPriorVersion, UnknownDeployment
from stacks.history import Deployment, current_deployment, deployments, in_order, parse_config, prior_versions
from stacks.outcomes import Attempt, attempts
from stacks.periods import require_served, several_deployments

if TYPE_CHECKING:
    from pulumi.automation import Stack

_ALL_UPDATES = 1_000_000
_ATTEMPTS = 4
_AGAIN_SECONDS = 0.3


class DeploymentHistory:
    """Reads what was deployed when.

    Args:
        checkout: the project's root.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def deployments(self, environment: DeploymentEnvironment | str | None = None) -> list[Deployment]:
        """The deployments of an environment, or of all, newest first.

        Raises:
            UnknownEnvironment: there is no such environment.
        """
        found = [deployments(there, self._updates(there)) for there in self._there(environment)]
        if len(found) == 1:
            return found[0]
        return sorted(chain(*found), key=lambda deployment: deployment.started_at, reverse=True)

    def attempts(self, environment: DeploymentEnvironment | str | None = None) -> dict[str, list[Attempt]]:
        """The deployments and rollbacks that were started, the failed ones too, by environment, oldest first.

        Raises:
            UnknownEnvironment: there is no such environment.
        """
        return {str(each): attempts(each, self._updates(each)) for each in self._there(environment)}

    def with_configs(self, environment: DeploymentEnvironment) -> list[tuple[Deployment, dict[str, Any]]]:
        """The deployments of an environment whose stack is there, newest first, each with its config."""
        updates = self._updates(environment)
        found = deployments(environment, updates)
        return [(each, parse_config(updates[len(updates) - each.update])) for each in found]

    def deployment(self, deployment_id: str) -> tuple[Deployment, dict[str, Any]]:
        """A deployment, and the config that it was made with.

        Raises:
            UnknownDeployment: no stack's history has it.
        """
        for each in existing_environments(self._checkout):
            updates = self._updates(each)
            for found in deployments(each, updates):
                if found.deployment_id == deployment_id:
                    return found, parse_config(updates[len(updates) - found.update])
        raise UnknownDeployment(
            f"there is no deployment {deployment_id!r}; see: python scripts/deploy_model.py list-deployments"
        )

    def _there(self, environment: DeploymentEnvironment | str | None) -> list[DeploymentEnvironment]:
        """The environment, or all of them, as far as their stacks were made."""
        wanted = None if environment is None else DeploymentEnvironment.named(environment)
        return [each for each in existing_environments(self._checkout) if wanted in (None, each)]

    def _updates(self, environment: DeploymentEnvironment) -> list[Any]:
        stack = select_stack(self._checkout, environment)
        updates = read_engine(self._checkout, environment.stack, lambda: list_updates(stack))
        state = exported_state(self._checkout, environment.stack)
        serves = str(outputs_of(state).get("modelVersion") or "")
        return in_order(updates, serves, lambda: saved_at(state))


def list_updates(stack: "Stack") -> list[Any]:
    """All updates of a stack, newest first; without a page size the engine lists the newest ten only."""
    from pulumi.automation import CommandError

    for _ in range(_ATTEMPTS):
        with suppress(CommandError):
            return list(stack.history(page_size=_ALL_UPDATES, page=1, show_secrets=False))
        # An update of this moment may be writing the state, which the engine does not replace in one step.
        time.sleep(_AGAIN_SECONDS)
    return list(stack.history(page_size=_ALL_UPDATES, page=1, show_secrets=False))


def rollback_target(
    history: list[Deployment],
    environment: DeploymentEnvironment,
    to: str | None = None,
    at: date | None = None,
) -> tuple[Deployment, str]:
    """Returns the present deployment, and the model version that a rollback deploys.

    Args:
        history: the environment's deployments, newest first.
        environment: for messages.
        to: a model version.
        at: a time, or a day in UTC; the version that served then.

    Raises:
        UnknownDeployment: nothing is deployed.
        NoPriorVersion: nothing else was deployed, `to` never was, or nothing served at that time.
        SeveralDeployments: several versions served on that day.
    """
    current = current_deployment(history, environment)
    return current, rollback_version(history, current, to, at)


def rollback_version(
    history: Sequence[Deployment], current: Deployment, to: str | None = None, at: date | None = None
) -> str:
    """Returns the model version that a rollback deploys: the prior one, or the requested one.

    Args:
        history: deployments, newest first.
        current: the current deployment.
        to: the requested model version.
        at: a time, or a day in UTC; selects the version that served then.

    Raises:
        NoPriorVersion: there is no prior version, `to` was never deployed, or nothing served at `at`.
        SeveralDeployments: several versions served on the day `at`; names each with the option that chooses it.
    """
    if at is not None:
        return _version_at(history, current.environment, at)
    if to is None:
        prior = prior_versions(history)
        if not prior:
            raise NoPriorVersion(
                f"there is no version before {current.model_id} in {current.environment}; nothing was changed"
            )
        return prior[0]
    if all(deployment.model_id != to for deployment in history):
        raise NoPriorVersion(
            f"{to} was never deployed in {current.environment}; deploy it instead, or roll back to one of: "
            + ", ".join(dict.fromkeys(item.model_id for item in history))
        )
    return to


def _version_at(history: Sequence[Deployment], environment: str, at: date) -> str:
    try:
        served = require_served(history, environment, at)
    except NoPriorVersion as error:
        raise NoPriorVersion(f"{error}; nothing was changed") from None
    if len({item.model_id for item in served}) > 1:
        raise several_deployments(served, environment, at)
    return served[0].model_id
