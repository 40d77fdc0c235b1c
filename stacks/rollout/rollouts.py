"""Rollouts: a candidate beside the stable version, promoted or withdrawn by what it does.

    deployments = ModelDeployment()
    rollouts = Rollouts(deployments)
    config = deployments.create_deployment_config("fraud_detector:7", "production")
    rollouts.deploy(config, RolloutConfig(strategy="canary"))

The stack's state alone holds how far a rollout is. After a command was killed, `resume` continues from that state and
the history.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig, parse_rollout_config
from stacks.deployment_updates import DeployOutcome
from stacks.engine.cluster_state import stable_capacity, wait_for_capacity
from stacks.engine.interrupts import Interrupted
from stacks.engine.serving_state import find_silence
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import CandidateWithdrawn
from stacks.history import Intent, message_for
from stacks.model_deployment import ModelDeploymentConfig
from stacks.requirements import BreakGlassRequest
from stacks.rollout.checks import Decision
from stacks.rollout.deployer import Deployer
from stacks.rollout.observer import RolloutObserver
from stacks.rollout.state import RolloutStatus, require_no_rollout, require_rollout
from stacks.rollout.steps import Steps
from stacks.rollout.waiting import Watch, wait_for_decision

_ACTIONS = {"canary": "canary", "blue_green": "blue-green"}
"""What the audit log calls the steps of a strategy."""


class Rollouts:
    """Takes candidates through their rollouts.

    Args:
        deployments: what changes the stacks.
        api_key_file: file with an API key that has the scope `admin`; without one, drift and accuracy of processes of
            this machine are not known.
        watch: told the rollout's status at every look.
        reason: why, in a person's words; recorded with every step in the stack's history and in the audit log.
    """

    def __init__(
        self, deployments: Deployer, api_key_file: Path | None = None, watch: Watch | None = None, reason: str = ""
    ) -> None:
        self._deployments, self._steps = deployments, Steps(deployments, reason)
        self._log = deployments.log
        self._observer = RolloutObserver(deployments, api_key_file or deployments.checkout / ".secrets" / "api_key")
        self._watch = watch or (lambda _status: None)

    def settings(self, environment: DeploymentEnvironment | str) -> RolloutConfig:
        """The rollout of an environment's stack, as its config has it.

        Raises:
            ConfigError: it does not fit.
        """
        return self._deployments.stack_file(environment).rollout()

    def deploy(
        self,
        config: ModelDeploymentConfig,
        rollout: RolloutConfig,
        *,
        shadow: bool = False,
        override_reason: str = "",
        break_glass: BreakGlassRequest | None = None,
    ) -> DeployOutcome:
        """Takes a model version through a rollout; returns when it is the stable one.

        The first one of an environment has nothing to be compared with, and is deployed at once.

        Args:
            config: the model version, and how to deploy it.
            rollout: strategy, steps and checks; slots and weights are the stack's own.
            shadow: whether the candidate is sent copies first, and answers only once it has passed the checks on them.
            override_reason: as for `ModelDeployment.deploy`.
            break_glass: as for `ModelDeployment.deploy`.

        Raises:
            RolloutInProgress: another candidate is being tried.
            CandidateWithdrawn: it was worse than the stable version, which serves as before.
            RolloutUndecided: too few requests came to decide.
            GatesFailed, ModelStoreError, StackBusy, StackLocked, DeploymentFailed: as for `ModelDeployment.deploy`.
        """
        from model_store.registry.aliases import Aliases

        action = _ACTIONS.get(rollout.strategy, "deploy")
        _require_right(self._deployments, action, config.environment, config.model_id)
        file = self._deployments.stack_file(config.environment)
        model_id = Aliases(self._deployments.registry).resolve(config.model_id)
        now, stable = require_no_rollout(file), file.model_version
        wanted = _alone(replace(rollout, slot=now.slot))
        deployed = self._deployments.list_deployments(file.environment)
        if not wanted.has_two_slots or stable in ("", model_id) or not deployed:
            kept = now if wanted.has_two_slots else wanted
            first = replace(wanted, kept=kept.kept, kept_until=kept.kept_until, capacity=kept.capacity)
            return self._deployments.deploy(
                config,
                reason=self._steps.reason,
                override_reason=override_reason,
                break_glass=break_glass,
                rollout=first,
                action=action,
            )
        file = self._deployments.checks.require_fit(file, model_id, config, break_glass)
        self._deployments.require_gates(file, model_id, config, override_reason)
        candidate = replace(wanted, candidate=model_id, shadow=shadow, capacity=stable_capacity(file))
        with _told_to_resume(self._deployments, file.environment):
            self._steps.change(file, config, candidate, f"candidate {model_id} beside it", action)
            return self._drive(file.environment, config)

    def resume(self, environment: DeploymentEnvironment | str) -> DeployOutcome | None:
        """Goes on with what was interrupted: an update, the rollout's steps, or a kept version whose time is over.

        Returns:
            What runs now; None when there was nothing to do.

        Raises:
            CandidateWithdrawn, RolloutUndecided, StackBusy, DeploymentFailed: as for `deploy`.
        """
        environment = DeploymentEnvironment.named(environment)
        _require_right(self._deployments, "resume", environment)
        self._deployments.unlock(environment)
        file = self._deployments.stack_file(environment)
        rollout, config = file.rollout(), file.deployment()
        outcome = None
        if self._observer.interrupted(file) or find_silence(file, self._deployments.checkout):
            stable = file.model_version
            message = message_for(Intent.ROLLOUT, stable, "resumed")
            outcome = self._steps.converge(file, stable, config, message, rollout=rollout, action="resume")
        if rollout.candidate:
            return self._drive(environment, config)
        if rollout.kept and datetime.fromisoformat(rollout.kept_until) <= datetime.now(UTC):
            empty = replace(rollout, kept="", kept_until="", capacity=0)
            return self._steps.change(file, config, empty, f"{rollout.kept} is kept no more", "resume")
        return outcome

    def promote(self, environment: DeploymentEnvironment | str) -> DeployOutcome:
        """Makes the candidate the stable version now, whatever the checks say; its processes and pods go on.

        Raises:
            NoRollout: there is no candidate.
            StackBusy, DeploymentFailed: as for `deploy`.
        """
        _require_right(self._deployments, "promote", environment)
        file = self._deployments.stack_file(environment)
        self._deployments.checks.require_fit(file, require_rollout(file).candidate, file.deployment())
        self._deployments.unlock(file.environment)
        wait_for_capacity(file, file.deployment())
        return self._promote(file, file.deployment(), "promoted by hand")

    def abort(self, environment: DeploymentEnvironment | str, reason: str = "aborted by hand") -> DeployOutcome:
        """Withdraws the candidate: stable has all requests again before the candidate goes.

        Raises:
            NoRollout: there is no candidate.
            StackBusy, DeploymentFailed: as for `deploy`.
        """
        _require_right(self._deployments, "abort", environment)
        file = self._deployments.stack_file(environment)
        rollout = require_rollout(file)
        self._deployments.unlock(file.environment)
        config = file.deployment()
        detail = f"{rollout.candidate} withdrawn: {reason}"
        outcome = self._steps.change(file, config, _without_candidate(rollout), detail, "abort", reason)
        _stop_orphaned_process(file, self._deployments.checkout, f"{config.deployment_name}-{rollout.other_slot}")
        return outcome

    def rollback(
        self,
        environment: DeploymentEnvironment | str,
        to: str | None = None,
        at: date | None = None,
        break_glass: BreakGlassRequest | None = None,
    ) -> DeployOutcome:
        """Goes back to a model version that was deployed before; it is ready before it has traffic.

        Without `to` and `at`, it is the last one that differs; a second rollback goes back further. While a candidate
        is tried, the way back is to withdraw it. In a stack with two slots, a version that is still kept is switched
        to, and any other is at full size in the other slot first.

        Args:
            environment: which.
            to: a model version, by any of its names.
            at: a time, or a day in UTC: to the version that served then.
            break_glass: as for `ModelDeployment.deploy`, where its approval was withdrawn or it is archived.

        Raises:
            RolloutInProgress: another version than the stable one is asked for while a candidate is tried.
            NoPriorVersion: nothing else was deployed, `to` never was, or nothing served at that time.
            SeveralDeployments: several versions served on that day.
            UnknownDeployment: nothing is deployed.
            ModelStoreError, StackBusy, StackLocked, DeploymentFailed: as for `ModelDeployment.deploy`.
        """
        _require_right(self._deployments, "rollback", environment, to or "")
        file = self._deployments.stack_file(environment)
        rollout, stable = file.rollout(), file.model_version
        if rollout.candidate:
            if to is None and at is None:
                return self.abort(file.environment, self._steps.reason or "rolled back")
            require_no_rollout(file)
        current, target = self._deployments.rollback_target(file.environment, to, at)
        config = file.deployment()
        file = self._deployments.checks.require_fit(file, target, config, break_glass, way_back=True)
        message = message_for(Intent.ROLLBACK, target, f"from {current.model_id}")
        if not rollout.has_two_slots or target == stable:
            return self._steps.converge(file, target, config, message, action="rollback")
        capacity = stable_capacity(file)
        if rollout.kept != target or rollout.capacity < capacity:
            if rollout.kept != target:
                rollout = replace(rollout, candidate=target, kept="", kept_until="")
            rollout = replace(rollout, capacity=capacity)
            self._steps.change(file, config, rollout, f"{target} beside it, to go back to", "rollback")
            file = self._deployments.stack_file(environment)
        wait_for_capacity(file, config)
        switched = _switched(file, rollout, stable)
        return self._steps.converge(file, target, config, message, rollout=switched, action="rollback")

    def status(self, environment: DeploymentEnvironment | str, since: datetime | None = None) -> RolloutStatus:
        """Returns the status of the rollout; arguments are those of `RolloutObserver.status`."""
        return self._observer.status(self._deployments.stack_file(environment), since)

    def _drive(self, environment: DeploymentEnvironment, config: DeploymentConfig) -> DeployOutcome:
        """Takes the candidate from where it is to the end."""
        with _told_to_resume(self._deployments, environment):
            while True:
                file = self._deployments.stack_file(environment)
                rollout = file.rollout()
                wait_for_capacity(file, config)
                if rollout.shadow:
                    self._wait_for_decision(environment)
                    rollout = replace(rollout, shadow=False)
                    detail = f"{rollout.candidate} no longer in the shadow"
                    self._steps.change(file, config, rollout, detail, _ACTIONS[rollout.strategy])
                elif rollout.strategy == "blue_green":
                    return self._promote(file, config, "switched")
                elif rollout.weight == 0:
                    self._step(file, config, rollout, rollout.steps[0])
                else:
                    self._wait_for_decision(environment)
                    later = [step for step in rollout.steps if step > rollout.weight]
                    if not later:
                        return self._promote(file, config, "promoted")
                    self._step(file, config, rollout, later[0])

    def _step(self, file: StackFile, config: DeploymentConfig, rollout: RolloutConfig, weight: int) -> None:
        detail = f"candidate {rollout.candidate} at {weight} %"
        changed = replace(rollout, weight=weight, capacity=max(rollout.capacity, stable_capacity(file)))
        self._steps.change(file, config, changed, detail, _ACTIONS[rollout.strategy])

    def _wait_for_decision(self, environment: DeploymentEnvironment) -> None:
        """Waits until the checks have decided about this step.

        Raises:
            CandidateWithdrawn: by its numbers.
            RolloutUndecided: they have not in time.
        """
        status = wait_for_decision(self._deployments, self._observer, environment, self._watch)
        if status.verdict == Decision.WITHDRAW:
            self.abort(environment, status.reason)
            rollout = status.rollout
            raise CandidateWithdrawn(
                f"{rollout.candidate} was withdrawn at {rollout.weight} %: {status.reason}; {status.stable} serves"
            )

    def _promote(self, file: StackFile, config: DeploymentConfig, how: str) -> DeployOutcome:
        rollout, stable = file.rollout(), file.model_version
        message = message_for(Intent.DEPLOY, rollout.candidate, f"{how}, {rollout.strategy}, after {stable}")
        switched = _switched(file, rollout, stable)
        return self._steps.converge(file, rollout.candidate, config, message, rollout=switched, action="promote")


@contextmanager
def _told_to_resume(deployments: Deployer, environment: DeploymentEnvironment) -> Iterator[None]:
    """Tells after a Ctrl-C how to go on with a candidate, which stays as it is; without one, the command begins again.

    Raises:
        Interrupted: there is a candidate.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not deployments.stack_file(environment).rollout().candidate:
            raise
        raise Interrupted(
            f"interrupted; the rollout stays as it is: python scripts/deploy_model.py resume {environment} goes on "
            "with it, abort withdraws the candidate"
        ) from None


def with_options(rollout: RolloutConfig, **options: Any) -> RolloutConfig:
    """Returns the stack's rollout with the command line's options, without the other slot's version.

    Args:
        rollout: of the stack.
        **options: `strategy`, `steps`, `interval_seconds`; what is None stays as it is.

    Raises:
        ConfigError: it is impossible; says what is allowed.
    """
    changes = {name: value for name, value in options.items() if value is not None}
    return parse_rollout_config({**_alone(rollout).to_dict(), **changes}, "rollout", "", "local")


def _switched(file: StackFile, rollout: RolloutConfig, stable: str) -> RolloutConfig:
    """The other slot's version is the stable one, and the stable one is kept for a while, with as many pods."""
    until = datetime.now(UTC) + timedelta(minutes=rollout.keep_minutes)
    keeps = rollout.keep_minutes > 0
    return replace(
        rollout,
        slot=rollout.other_slot,
        candidate="",
        weight=0,
        shadow=False,
        kept=stable if keeps else "",
        capacity=max(rollout.capacity, stable_capacity(file)) if keeps else 0,
        kept_until=until.isoformat(timespec="seconds").replace("+00:00", "Z") if keeps else "",
    )


def _without_candidate(rollout: RolloutConfig) -> RolloutConfig:
    return replace(rollout, candidate="", weight=0, shadow=False, capacity=0)


def _alone(rollout: RolloutConfig) -> RolloutConfig:
    return _without_candidate(replace(rollout, kept="", kept_until=""))


def _stop_orphaned_process(file: StackFile, checkout: Path, run_name: str) -> None:
    """Stops the other slot's process when a killed run has started it without recording it in the stack's state."""
    from components import container_supervision, process_supervision

    if file.platform == "local":
        process_supervision.stop({"checkout": checkout, "run_name": run_name})
    elif file.platform == "docker":
        container_supervision.stop({"checkout": checkout, "run_name": f"{run_name}-container"})


def _require_right(
    deployments: Deployer, action: str, environment: DeploymentEnvironment | str, model_id: str = ""
) -> None:
    """Raises AccessDenied, and records it, before anything is read or changed."""
    told = {"environment": str(DeploymentEnvironment.named(environment))}
    deployments.registry.require_right(action, model_id, **told)
