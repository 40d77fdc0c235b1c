"""Brings a stack to its config, or destroys it: one change at a time, and the config is put back when it fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.deployment_config import DeploymentConfig
from infra.endpoint_tls import require_address
from infra.rollout_config import RolloutConfig
from infra.settings import require_platform
from stacks.deployment_history import list_updates
from stacks.engine.cluster_state import pod_problems, require_live_objects_match
from stacks.engine.docker_state import on_docker, remove_containers, require_docker, runs_in_containers
from stacks.engine.interrupts import interrupts_held
from stacks.engine.locks import changing, engine_locks, remove_stale_locks, require_unlocked
from stacks.engine.reading import read_engine
from stacks.engine.run import Log, forget_pending_creations, run_destroy, run_up
from stacks.engine.stack_file import StackFile
from stacks.engine.workspace import exported_state, saved_at, select_stack, stack_provider
from stacks.environments import DeploymentEnvironment
from stacks.errors import AddressTaken, DeploymentFailed, StackBusy
from stacks.history import Deployment, Intent, current_deployment, deployments, in_order, message_for
from stacks.records import DeploymentRecord
from stacks.requirements import missing_without_glass

if TYPE_CHECKING:
    from pulumi.automation import Stack

    from model_store import ModelRegistry


@dataclass(frozen=True)
class DeployOutcome:
    """The result of a deploy or a rollback."""

    deployment: Deployment
    """What runs now."""
    changed: bool
    """False when the environment ran this already and nothing was done."""
    changes: dict[str, int]
    """How many resources were created, updated, deleted or left the same."""
    outputs: dict[str, Any]
    """The stack's outputs: `url`, `modelVersion`, `modelDigest` and so on."""


class DeploymentUpdates:
    """Changes the stacks of a checkout.

    Args:
        checkout: the project's root.
        registry: opens the registry that deployments take their model versions from.
        log: told the progress, line by line.
    """

    def __init__(self, checkout: Path, registry: "Callable[[], ModelRegistry]", log: Log) -> None:
        self._checkout, self._registry, self._log = checkout, registry, log

    def converge(
        self,
        file: StackFile,
        model_id: str,
        config: DeploymentConfig,
        message: str,
        *,
        auto_rollback: bool = False,
        rollout: RolloutConfig | None = None,
        action: str = "deploy",
        reason: str = "",
    ) -> DeployOutcome:
        """Writes the stack's config and brings the stack to it; the audit log has a record before and one after.

        Args:
            file: the stack's config as it was read.
            model_id: the stable model version.
            config: how it is deployed.
            message: for the stack's history.
            auto_rollback: whether a cluster goes back to the version before when this one does not get healthy.
            rollout: what the other slot holds, and its weight; as it is when not given.
            action: what the audit log calls it, such as `rollback`.
            reason: why, in a person's words; for the stack's history and the audit log.

        Raises:
            AccessDenied: the actor's role does not allow it; nothing was looked at.
            ModelStoreError: the registry does not have a model version, its artifact is not intact, or the key at
                hand does not open it.
            AddressTaken: another program listens there.
            StackBusy: somebody else changes the environment, or has changed its config since it was read.
            StackLocked: a run that has died left the stack locked.
            DeploymentFailed: the engine or the serving process failed; the config is unchanged.
        """
        environment, registry = file.environment, self._registry()
        registry.require_right(action, model_id, environment=str(environment), intent=message)
        record = DeploymentRecord(registry, action, environment, model_id, message, reason)
        with record.refusals():
            for version in filter(None, (model_id, rollout.other if rollout else "")):
                registry.verify_artifact(version)
                registry.require_key(version)
            self._require_free_address(file, config)
        with changing(self._checkout, environment), self._interruptible(environment):
            self._require_unlocked(file)
            stack = select_stack(self._checkout, environment, self._serves_on(file, model_id, rollout))
            try:
                with record.recorded(), file.changed(model_id, config, rollout) as changed:
                    result = run_up(stack, environment, record.update_message, self._log, changed.run_file)
                    require_live_objects_match(changed, config, result.outputs)
            except DeploymentFailed as error:
                before, cause = file.model_version, f"{error}{pod_problems(file, config)}"
                if not auto_rollback or before in ("", model_id) or not file.in_cluster:
                    raise DeploymentFailed(cause) from None
                self._go_back(file, model_id)
                raise DeploymentFailed(f"{cause}; {environment} went back to {before}") from None
            updates = in_order(self._history(stack, environment), model_id, lambda: self._saved_at(environment))
            current = current_deployment(deployments(environment, updates), environment)
        record.ended(current if result.changed else None)
        return DeployOutcome(current, result.changed, result.changes, result.outputs)

    def _history(self, stack: "Stack", environment: DeploymentEnvironment) -> list[Any]:
        return read_engine(self._checkout, environment.stack, lambda: list_updates(stack))

    def _saved_at(self, environment: DeploymentEnvironment) -> datetime | None:
        return saved_at(exported_state(self._checkout, environment.stack))

    def _go_back(self, file: StackFile, model_id: str) -> None:
        """Brings a cluster back to the version before one that did not get healthy."""
        before, environment = file.model_version, file.environment
        self._log(f"{model_id} did not get healthy; going back to {before}")
        reason = f"{model_id} did not get healthy"
        message = message_for(Intent.ROLLBACK, before, reason)
        record = DeploymentRecord(self._registry(), "rollback", environment, before, message, reason)
        stack = select_stack(self._checkout, environment, before)
        with record.recorded(), file.changed(before, file.deployment(), file.rollout()) as changed:
            run_up(stack, environment, record.update_message, self._log, changed.run_file)
        record.done()

    def destroy(self, environment: DeploymentEnvironment, reason: str = "") -> bool:
        """Stops the endpoint and deletes what the stack holds; registry and history stay.

        Args:
            environment: which.
            reason: why; for the audit log and the stack's history.

        Returns:
            Whether there was anything to delete.

        Raises:
            AccessDenied: the actor's role does not allow it.
            DeploymentFailed: the engine failed.
        """
        with changing(self._checkout, environment), self._interruptible(environment):
            file = StackFile.read(self._checkout, environment)
            self._require_unlocked(file)
            stack = select_stack(self._checkout, environment) if self._is_made(environment) else None
            if stack is None or (not stack.outputs() and not _has_resources(stack)):
                return on_docker(file) and remove_containers(file, self._checkout) > 0
            registry, model_id = self._registry(), file.model_version
            registry.require_right("destroy", model_id, environment=str(environment))
            require_docker(file)
            message = "stop the endpoint and destroy the stack"
            record = DeploymentRecord(registry, "destroy", environment, model_id, message, reason)
            with record.recorded():
                run_destroy(stack, record.update_message, self._log)
                if on_docker(file) or runs_in_containers(file):
                    remove_containers(file, self._checkout)
            record.done()
            registry.record_end(str(environment))
        return True

    def unlock(self, environment: DeploymentEnvironment, dead_host: str = "") -> int:
        """Removes what dead runs left in the environment's state: locks, and creations they had begun.

        What they were creating is not in the state then; the next update creates it, or finds it running.

        Args:
            environment: which.
            dead_host: a host whose runs have ended; its locks go, however young they are.

        Returns:
            How many locks there were.

        Raises:
            AccessDenied: the actor's role does not allow it; nothing was looked at.
        """
        registry = self._registry()
        registry.require_right("unlock", "", environment=str(environment))
        record = DeploymentRecord(registry, "unlock", environment, "", "remove the lock of a run that has died")
        if not engine_locks(self._checkout, environment):
            return 0
        with record.recorded():
            locks = remove_stale_locks(self._checkout, environment, dead_host)
            for lock in locks:
                self._log(f"removed the lock of a run that has died ({lock})")
            if locks:
                forget_pending_creations(select_stack(self._checkout, environment))
        record.done()
        return len(locks)

    @contextmanager
    def _interruptible(self, environment: DeploymentEnvironment) -> Iterator[None]:
        """Lets the block come to its end at a Ctrl-C, and removes the lock of an engine that a second one ended."""
        try:
            with interrupts_held(self._log):
                yield
        except KeyboardInterrupt:
            with interrupts_held(), suppress(StackBusy):
                if remove_stale_locks(self._checkout, environment):
                    forget_pending_creations(select_stack(self._checkout, environment))
            raise

    def _require_unlocked(self, file: StackFile) -> None:
        """Raises StackLocked where a run that has died holds the stack, unless its containers can be taken over."""
        if on_docker(file) and engine_locks(self._checkout, file.environment):
            self.unlock(file.environment)
        require_unlocked(self._checkout, file.environment)

    def _is_made(self, environment: DeploymentEnvironment) -> bool:
        """Whether there is such a stack: selecting it would make it."""
        return stack_provider(self._checkout, environment.stack) is not None

    def _serves_on(self, file: StackFile, model_id: str, rollout: RolloutConfig | None) -> str:
        """The stable version, where a rollout's step leaves it as it is: what it lacks since keeps no candidate there.

        Tells what that is, in a line each.
        """
        if rollout is None or model_id != file.model_version:
            return ""
        for missing in missing_without_glass(self._registry(), file)[1]:
            if missing.name != "signed":
                self._log(f"{model_id} serves on in {file.environment} although it lacks {missing}")
        return model_id

    def _require_free_address(self, file: StackFile, config: DeploymentConfig) -> None:
        """Raises AddressTaken, before anything is changed, where a process of this machine cannot listen."""
        from components.address_conflicts import find_address_conflict

        require_platform(file.environment, file.platform, file.name)
        require_address(config, file.platform, file.name)
        wanted = {"checkout": self._checkout, "deployment_name": config.deployment_name}
        if not file.in_cluster and (
            taken := find_address_conflict({**wanted, "host": config.host, "port": config.port})
        ):
            raise AddressTaken(taken)


def _has_resources(stack: "Stack") -> bool:
    state = stack.export_stack().deployment or {}
    return bool(state.get("resources") or state.get("pending_operations"))
