"""Rollouts: a candidate beside the stable version, promoted or withdrawn by what it does.

    deployments = ModelDeployment()
    rollouts = Rollouts(deployments)
    config = deployments.create_deployment_config("fraud_detector:7", "production")
    rollouts.deploy(config, RolloutConfig(strategy="canary"))

Where a rollout is, its stack's config says, and nothing else: a command that was killed has left the config and the
history, and `resume` goes on from there.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conventions.config_keys import CLOUD, MODEL_VERSION, PLATFORM, PROJECT, ROLLOUT
from infra.cloud_config import CloudConfig, parse_object
from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig, parse_rollout_config
from stacks.engine.cluster_state import in_cluster, wait_for_capacity
from stacks.engine.locks import held_by
from stacks.engine.stack_config import read_config, read_rollout
from stacks.engine.workspace import stack_config_file
from stacks.environments import DeploymentEnvironment
from stacks.errors import CandidateWithdrawn, DeploymentFailed, RolloutUndecided
from stacks.history import Intent, message_for
from stacks.model_deployment import ModelDeploymentConfig
from stacks.rollout.checks import Decision, Limits, Verdict, judge
from stacks.rollout.deployer import Deployer, DeployOutcome
from stacks.rollout.metrics import CloudMetrics, RolloutMetrics, TrafficSplitterMetrics
from stacks.rollout.state import RolloutStatus, require_no_rollout, require_rollout

_POLL_SECONDS = 1.0
_ALL = 100
Watch = Callable[[RolloutStatus], None]


class Rollouts:
    """Takes candidates through their rollouts.

    Args:
        deployments: what changes the stacks.
        api_key_file: file with an API key that has the scope `admin`; without one, drift and accuracy of processes of
            this machine are not known.
        watch: told the rollout's status at every look.
    """

    def __init__(self, deployments: Deployer, api_key_file: Path | None = None, watch: Watch | None = None) -> None:
        self._deployments = deployments
        self._log = deployments.log
        self._api_key_file = api_key_file or deployments.checkout / ".secrets" / "api_key"
        self._watch = watch or (lambda _status: None)

    def settings(self, environment: DeploymentEnvironment | str) -> RolloutConfig:
        """The rollout of an environment's stack, as its config has it.

        Raises:
            ConfigError: it does not fit.
        """
        return read_rollout(self._file(DeploymentEnvironment.named(environment)))

    def deploy(
        self,
        config: ModelDeploymentConfig,
        rollout: RolloutConfig,
        *,
        shadow: bool = False,
        override_reason: str = "",
    ) -> DeployOutcome:
        """Takes a model version through a rollout; returns when it is the stable one.

        The first one of an environment has nothing to be compared with, and is deployed at once.

        Args:
            config: the model version, and how to deploy it.
            rollout: strategy, steps and checks; slots and weights are the stack's own.
            shadow: whether the candidate is sent copies first, and answers only once it has passed the checks on them.
            override_reason: as for `ModelDeployment.deploy`.

        Raises:
            RolloutInProgress: another candidate is being tried.
            CandidateWithdrawn: it was worse than the stable version, which serves as before.
            RolloutUndecided: too few requests came to decide.
            GatesFailed, ModelStoreError, StackBusy, StackLocked, DeploymentFailed: as for `ModelDeployment.deploy`.
        """
        from model_store.registry.aliases import Aliases

        environment = DeploymentEnvironment.named(config.environment)
        model_id = Aliases(self._deployments.registry).resolve(config.model_id)
        now = require_no_rollout(self._file(environment), environment)
        stable = self._stable(environment)
        wanted = replace(rollout, slot=now.slot, candidate="", weight=0, shadow=False, kept="", kept_until="")
        if not wanted.has_two_slots or stable in ("", model_id) or not self._deployments.list_deployments(environment):
            kept = now if wanted.has_two_slots else wanted
            first = replace(wanted, kept=kept.kept, kept_until=kept.kept_until)
            return self._deployments.deploy(config, override_reason=override_reason, rollout=first)
        self._deployments.require_gates(model_id, environment, config, override_reason)
        candidate = replace(wanted, candidate=model_id, shadow=shadow)
        self._change(environment, stable, config, candidate, f"candidate {model_id} beside it")
        return self._drive(environment, config)

    def resume(self, environment: DeploymentEnvironment | str) -> DeployOutcome | None:
        """Goes on with what was interrupted: an update, the rollout's steps, or a kept version whose time is over.

        Returns:
            What runs now; None when there was nothing to do.

        Raises:
            CandidateWithdrawn, RolloutUndecided, StackBusy, DeploymentFailed: as for `deploy`.
        """
        environment = DeploymentEnvironment.named(environment)
        self._deployments.unlock(environment)
        rollout, config = self.settings(environment), self._deployments.deployed_config(environment)
        outcome = None
        if self._interrupted(environment):
            message = message_for(Intent.ROLLOUT, self._stable(environment), "resumed")
            outcome = self._deployments.converge(
                environment, self._stable(environment), config, message, rollout=rollout
            )
        if rollout.candidate:
            return self._drive(environment, config)
        if rollout.kept and datetime.fromisoformat(rollout.kept_until) <= datetime.now(UTC):
            empty = replace(rollout, kept="", kept_until="")
            return self._change(
                environment, self._stable(environment), config, empty, f"{rollout.kept} is kept no more"
            )
        return outcome

    def promote(self, environment: DeploymentEnvironment | str) -> DeployOutcome:
        """Makes the candidate the stable version now, whatever the checks say; its processes and pods go on.

        Raises:
            NoRollout: there is no candidate.
            StackBusy, DeploymentFailed: as for `deploy`.
        """
        environment = DeploymentEnvironment.named(environment)
        require_rollout(self._file(environment), environment)
        self._deployments.unlock(environment)
        config = self._deployments.deployed_config(environment)
        wait_for_capacity(self._file(environment), config)
        return self._promote(environment, config, "promoted by hand")

    def abort(self, environment: DeploymentEnvironment | str, reason: str = "aborted by hand") -> DeployOutcome:
        """Withdraws the candidate: stable has all requests again before the candidate goes.

        Raises:
            NoRollout: there is no candidate.
            StackBusy, DeploymentFailed: as for `deploy`.
        """
        environment = DeploymentEnvironment.named(environment)
        rollout = require_rollout(self._file(environment), environment)
        self._deployments.unlock(environment)
        config = self._deployments.deployed_config(environment)
        detail = f"{rollout.candidate} withdrawn: {reason}"
        outcome = self._change(environment, self._stable(environment), config, _without_candidate(rollout), detail)
        self._stop_what_no_stack_has(environment, config, rollout.other_slot)
        return outcome

    def rollback(
        self, environment: DeploymentEnvironment | str, to: str | None = None, at: datetime | None = None
    ) -> DeployOutcome:
        """Goes back to a model version that was deployed before; it is ready before it has traffic.

        Without `to` and `at`, it is the last one that differs; a second rollback goes back further. While a candidate
        is tried, the way back is to withdraw it. In a stack with two slots, a version that is still kept is switched
        to, and any other is at full size in the other slot first.

        Args:
            environment: which.
            to: a model version.
            at: to the one that was deployed then.

        Raises:
            RolloutInProgress: another version than the stable one is asked for while a candidate is tried.
            NoPriorVersion: nothing else was deployed, `to` never was, or nothing was at that time.
            UnknownDeployment: nothing is deployed.
            ModelStoreError, StackBusy, StackLocked, DeploymentFailed: as for `ModelDeployment.deploy`.
        """
        environment = DeploymentEnvironment.named(environment)
        rollout = self.settings(environment)
        if rollout.candidate:
            if to is None and at is None:
                return self.abort(environment, "rolled back")
            require_no_rollout(self._file(environment), environment)
        current, target = self._deployments.rollback_target(environment, to, at)
        config, stable = self._deployments.deployed_config(environment), self._stable(environment)
        message = message_for(Intent.ROLLBACK, target, f"from {current.model_id}")
        if not rollout.has_two_slots or target == stable:
            return self._deployments.converge(environment, target, config, message)
        if rollout.kept != target:
            beside = replace(rollout, candidate=target, kept="", kept_until="")
            self._change(environment, stable, config, beside, f"{target} beside it, to go back to")
            rollout = beside
        wait_for_capacity(self._file(environment), config)
        switched = _switched(rollout, stable)
        return self._deployments.converge(environment, target, config, message, rollout=switched)

    def status(self, environment: DeploymentEnvironment | str) -> RolloutStatus:
        """Where the rollout is: what is asked for, what is in force, what both versions did, what the checks say.

        Raises:
            UnknownDeployment: nothing is deployed.
        """
        environment = DeploymentEnvironment.named(environment)
        return self._look(environment, self._since(environment), self._interrupted(environment))

    def _look(self, environment: DeploymentEnvironment, since: datetime, interrupted: str = "") -> RolloutStatus:
        """The status, without asking the engine."""
        rollout, stable = self.settings(environment), self._stable(environment)
        config = self._deployments.deployed_config(environment)
        numbers, alarms = self._numbers(environment, config, rollout, stable, since)
        verdict = self._verdict(numbers, alarms, config, rollout) if rollout.candidate else None
        return RolloutStatus(
            environment=str(environment),
            stable=stable,
            rollout=rollout,
            in_force=numbers.weight,
            interrupted=interrupted,
            since=since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            numbers={"stable": numbers.stable.to_dict(), "candidate": numbers.candidate.to_dict()}
            if rollout.candidate
            else {},
            candidate_share=numbers.candidate_share,
            verdict=str(verdict.decision) if verdict else "",
            reason=verdict.reason if verdict else "",
            held_by=held_by(self._deployments.checkout, environment),
        )

    def _drive(self, environment: DeploymentEnvironment, config: DeploymentConfig) -> DeployOutcome:
        """Takes the candidate from where it is to the end."""
        while True:
            rollout, stable = self.settings(environment), self._stable(environment)
            wait_for_capacity(self._file(environment), config)
            if rollout.shadow:
                self._settle(environment)
                rollout = replace(rollout, shadow=False)
                self._change(environment, stable, config, rollout, f"{rollout.candidate} no longer in the shadow")
            elif rollout.strategy == "blue_green":
                return self._promote(environment, config, "switched")
            elif rollout.weight == 0:
                self._step(environment, config, rollout, rollout.steps[0])
            else:
                self._settle(environment)
                later = [step for step in rollout.steps if step > rollout.weight]
                if not later:
                    return self._promote(environment, config, "promoted")
                self._step(environment, config, rollout, later[0])

    def _step(
        self, environment: DeploymentEnvironment, config: DeploymentConfig, rollout: RolloutConfig, weight: int
    ) -> None:
        changed = replace(rollout, weight=weight)
        detail = f"candidate {rollout.candidate} at {weight} %"
        self._change(environment, self._stable(environment), config, changed, detail)

    def _settle(self, environment: DeploymentEnvironment) -> None:
        """Waits until the checks have decided about this step.

        Raises:
            CandidateWithdrawn: by its numbers.
            RolloutUndecided: they have not in time.
        """
        rollout = self.settings(environment)
        # Of this command: what is resumed is waited for anew, since nobody has looked meanwhile.
        began, told = time.monotonic(), 0.0
        since = self._since(environment) if in_cluster(self._file(environment)) else datetime.now(UTC)
        while True:
            status = self._look(environment, since)
            self._watch(status)
            waited = time.monotonic() - began
            if status.verdict == Decision.WITHDRAW:
                self.abort(environment, status.reason)
                raise CandidateWithdrawn(
                    f"{rollout.candidate} was withdrawn at {rollout.weight} %: {status.reason}; {status.stable} serves"
                )
            if status.verdict == Decision.GO_ON and waited >= rollout.interval_seconds:
                return
            if waited > max(rollout.checks.max_wait_seconds, rollout.interval_seconds):
                raise RolloutUndecided(
                    f"{rollout.candidate} stays at {rollout.weight} %: {status.reason} after {waited:.0f} s; "
                    f"python scripts/deploy_model.py promote|abort|resume {environment}"
                )
            if waited - told >= 10 * _POLL_SECONDS:
                told = waited
                self._log(f"{rollout.weight} % for {waited:.0f} s: {status.reason or 'all checks passed'}")
            time.sleep(_POLL_SECONDS)

    def _promote(self, environment: DeploymentEnvironment, config: DeploymentConfig, how: str) -> DeployOutcome:
        rollout, stable = self.settings(environment), self._stable(environment)
        message = message_for(Intent.DEPLOY, rollout.candidate, f"{how}, {rollout.strategy}, after {stable}")
        switched = _switched(rollout, stable)
        return self._deployments.converge(environment, rollout.candidate, config, message, rollout=switched)

    def _change(
        self,
        environment: DeploymentEnvironment,
        stable: str,
        config: DeploymentConfig,
        rollout: RolloutConfig,
        detail: str,
    ) -> DeployOutcome:
        """One step; one that fails in a cluster is taken back there too."""
        before = self.settings(environment)
        self._log(detail)
        message = message_for(Intent.ROLLOUT, stable, detail)
        try:
            return self._deployments.converge(environment, stable, config, message, rollout=rollout)
        except DeploymentFailed:
            if in_cluster(self._file(environment)) and rollout.other and rollout.other != before.other:
                back = message_for(Intent.ROLLOUT, stable, f"{rollout.other} did not get healthy")
                self._deployments.converge(environment, stable, config, back, rollout=before)
            raise

    def _numbers(
        self,
        environment: DeploymentEnvironment,
        config: DeploymentConfig,
        rollout: RolloutConfig,
        stable: str,
        since: datetime,
    ) -> tuple[RolloutMetrics, tuple[str, ...]]:
        file = self._file(environment)
        if not in_cluster(file):
            splitter = TrafficSplitterMetrics(self._deployments.checkout, config.deployment_name, self._api_key_file)
            found = splitter.read(stable, rollout)
            return replace(found, weight=splitter.weight()), ()
        cloud = parse_object(read_config(file).get(CLOUD), CLOUD, CloudConfig, file.name)
        watch = CloudMetrics(cloud, config.environment, config.deployment_name)
        return watch.read(stable, rollout, since), watch.alarms()

    def _verdict(
        self, numbers: RolloutMetrics, alarms: tuple[str, ...], config: DeploymentConfig, rollout: RolloutConfig
    ) -> Verdict:
        thresholds = config.monitoring_config.alert_thresholds
        alone = rollout.weight == _ALL
        limits = Limits(
            rollout.checks,
            drift=thresholds.drift,
            error_rate=thresholds.error_rate,
            latency_p95_ms=float(thresholds.response_time_p95),
            drift_watched=self._watches_drift(rollout.candidate),
            # With all the traffic at the candidate, stable has none to be known by.
            stable_drift_watched=not alone and self._watches_drift(numbers.stable.model_id),
        )
        return judge(numbers.stable, numbers.candidate, limits, alarms, alone=alone)

    def _watches_drift(self, model_id: str) -> bool:
        schema = self._deployments.registry.get_metadata(model_id).feature_schema
        return any(feature.get("bins") for feature in schema)

    def _interrupted(self, environment: DeploymentEnvironment) -> str:
        """What the config asks for and the last update did not do; empty when they are the same."""
        made = self._deployments.last_config(environment)
        config = read_config(self._file(environment))
        asked = {key: config[key] for key in (MODEL_VERSION, ROLLOUT) if config.get(key)}
        done = {key: made[key] for key in (MODEL_VERSION, ROLLOUT) if made.get(key)}
        if asked == done or not asked:
            return ""
        parts = [
            f"{key.removeprefix(f'{PROJECT}:')} is {done.get(key)}, asked for {asked.get(key)}"
            for key in (MODEL_VERSION, ROLLOUT)
            if asked.get(key) != done.get(key)
        ]
        return f"{'; '.join(parts)}: python scripts/deploy_model.py resume {environment}"

    def _since(self, environment: DeploymentEnvironment) -> datetime:
        history = self._deployments.list_deployments(environment)
        return datetime.fromisoformat(history[0].finished_at) if history else datetime.now(UTC)

    def _stable(self, environment: DeploymentEnvironment) -> str:
        return str(read_config(self._file(environment)).get(MODEL_VERSION, ""))

    def _stop_what_no_stack_has(self, environment: DeploymentEnvironment, config: DeploymentConfig, slot: str) -> None:
        """A process that a killed run had started, and that its state never came to hold."""
        from components import process_supervision

        if read_config(self._file(environment)).get(PLATFORM, "local") == "local":
            run_name = f"{config.deployment_name}-{slot}"
            process_supervision.stop({"checkout": self._deployments.checkout, "run_name": run_name})

    def _file(self, environment: DeploymentEnvironment) -> Path:
        return stack_config_file(self._deployments.checkout, environment)


def with_options(rollout: RolloutConfig, **options: Any) -> RolloutConfig:
    """A stack's rollout with what a command line says otherwise; what the other slot holds is left out.

    Args:
        rollout: of the stack.
        **options: `strategy`, `steps`, `interval_seconds`; what is None stays as it is.

    Raises:
        ConfigError: it is impossible; says what is allowed.
    """
    changes = {name: value for name, value in options.items() if value is not None}
    alone = _without_candidate(replace(rollout, kept="", kept_until=""))
    return parse_rollout_config({**alone.to_dict(), **changes}, "rollout", "", "local")


def _switched(rollout: RolloutConfig, stable: str) -> RolloutConfig:
    """The other slot's version is the stable one, and the stable one is kept for a while."""
    until = datetime.now(UTC) + timedelta(minutes=rollout.keep_minutes)
    keeps = rollout.keep_minutes > 0
    return replace(
        rollout,
        slot=rollout.other_slot,
        candidate="",
        weight=0,
        shadow=False,
        kept=stable if keeps else "",
        kept_until=until.isoformat(timespec="seconds").replace("+00:00", "Z") if keeps else "",
    )


def _without_candidate(rollout: RolloutConfig) -> RolloutConfig:
    return replace(rollout, candidate="", weight=0, shadow=False)
