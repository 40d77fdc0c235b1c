"""Looks at a rollout: what is asked for, what is in force, what both versions did, what the checks say of it."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from conventions.alert_rules import DRIFT, ERROR_RATE, LATENCY_P95
from conventions.config_keys import short
from infra.deployment_config import DeploymentConfig
from infra.rollout_config import RolloutConfig
from stacks.engine.docker_state import runs_in_containers
from stacks.engine.locks import lock_holder
from stacks.engine.pending import STATE
from stacks.engine.serving_state import find_silence
from stacks.engine.stack_file import StackFile
from stacks.overrides import Overrides
from stacks.requirements import missing_without_glass
from stacks.rollout.checks import NO_ALARMS, Alarms, Limits, VariantMetrics, Verdict, judge
from stacks.rollout.deployer import Deployer
from stacks.rollout.metrics import CloudMetrics, RolloutMetrics, TrafficSplitterMetrics
from stacks.rollout.state import RolloutStatus

_ALL = 100


class RolloutObserver:
    """Reads numbers and judges them; changes nothing.

    Args:
        deployments: what knows the stacks.
        api_key_file: file with an API key that has the scope `admin`, for drift and accuracy of processes of this
            machine.
    """

    def __init__(self, deployments: Deployer, api_key_file: Path) -> None:
        self._deployments, self._api_key_file = deployments, api_key_file

    def status(self, file: StackFile, since: datetime | None = None) -> RolloutStatus:
        """The status since the last change, with what a killed command left undone.

        Args:
            file: the stack's config, read now.
            since: when the last change was made, where the caller knows; the engine is asked when not given.
        """
        from model_store.errors import ModelStoreError

        try:
            glass, missing = missing_without_glass(self._deployments.registry, file)
        except ModelStoreError as error:
            # Numbers and weights are of use without the registry.
            self._deployments.log(f"what {file.environment} requires was not asked: {error}")
            glass, missing = file.break_glass(), []
        # Where a caller knows the one, and no alarm is asked for the other, the engine is not asked.
        last, came = self.moments(file) if since is None or file.in_cluster else (since, since)
        found = self.look(file, since or last, self.interrupted(file), began=came)
        return replace(
            found,
            break_glass=glass.to_dict() if glass else {},
            lacking=tuple(map(str, missing)),
            override=self._override(file),
            silence=find_silence(file, self._deployments.checkout),
        )

    def _override(self, file: StackFile) -> dict[str, str]:
        """What gives the decisions in place of the model; empty where the model does, or where nobody can tell."""
        from model_store.errors import ModelStoreError

        try:
            found = Overrides(self._deployments.checkout, lambda: self._deployments.registry).of_stack(file)
        except ModelStoreError as error:
            self._deployments.log(f"whether {file.environment} is paused is not known: {error}")
            return {}
        return found.to_dict() if found else {}

    def look(
        self, file: StackFile, since: datetime, interrupted: str = "", *, began: datetime | None = None
    ) -> RolloutStatus:
        """The status since a moment, without asking the engine.

        Args:
            file: the stack's config, read now.
            since: when the last change was made.
            interrupted: as the status tells it.
            began: when the candidate came: an alarm that was on then does not judge it; `since` when not given.
        """
        rollout, stable, config = file.rollout(), file.model_version, file.deployment()
        numbers, alarms = self._numbers(file, config, rollout, since, began or since)
        verdict = self._verdict(numbers, alarms, config, rollout) if rollout.candidate else None
        both = {"stable": numbers.stable.to_dict(), "candidate": numbers.candidate.to_dict()}
        return RolloutStatus(
            environment=str(file.environment),
            stable=stable,
            rollout=rollout,
            in_force=numbers.weight,
            interrupted=interrupted,
            since=since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            numbers=both if rollout.candidate else {},
            candidate_share=numbers.candidate_share,
            verdict=str(verdict.decision) if verdict else "",
            reason=verdict.reason if verdict else "",
            checks=verdict.findings if verdict else (),
            held_by=lock_holder(self._deployments.checkout, file.environment),
        )

    def interrupted(self, file: StackFile) -> str:
        """Returns what the config requests and the last update did not do; empty when they agree."""
        asked = {key: file.config[key] for key in STATE if file.config.get(key)}
        done = {key: file.deployed[key] for key in STATE if file.deployed.get(key)}
        if asked == done or not asked:
            return ""
        parts = [
            f"{short(key)} is {done.get(key)}, asked for {asked.get(key)}"
            for key in STATE
            if asked.get(key) != done.get(key)
        ]
        return f"{'; '.join(parts)}: python scripts/deploy_model.py resume {file.environment}"

    def moments(self, file: StackFile) -> tuple[datetime, datetime]:
        """When the last deployment was finished, and when the tried candidate came; now, where there is none."""
        history, now = self._deployments.list_deployments(file.environment), datetime.now(UTC)
        candidate = file.rollout().candidate
        tried = list(takewhile(lambda each: each.candidate == candidate, history)) if candidate else []
        last = datetime.fromisoformat(history[0].finished_at) if history else now
        return last, datetime.fromisoformat(tried[-1].started_at) if tried else now

    def _numbers(
        self, file: StackFile, config: DeploymentConfig, rollout: RolloutConfig, since: datetime, began: datetime
    ) -> tuple[RolloutMetrics, Alarms]:
        """Both versions' numbers, and the alarms that are on."""
        stable = file.model_version
        if not (stable or rollout.candidate):
            return RolloutMetrics(VariantMetrics(""), VariantMetrics("")), NO_ALARMS
        if not file.in_cluster:
            splitter = TrafficSplitterMetrics(
                self._deployments.checkout,
                file.endpoint_name,
                self._api_key_file,
                in_containers=runs_in_containers(file),
            )
            found = splitter.read(stable, rollout)
            return replace(found, weight=splitter.weight()), NO_ALARMS
        watch = CloudMetrics(file.cloud(), config.environment, config.deployment_name)
        return watch.read(stable, rollout, since, began), watch.alarms(began)

    def _verdict(
        self, numbers: RolloutMetrics, alarms: Alarms, config: DeploymentConfig, rollout: RolloutConfig
    ) -> Verdict:
        thresholds = config.monitoring_config.alert_thresholds
        alone = rollout.weight == _ALL
        limits = Limits(
            rollout.checks,
            drift=DRIFT.threshold(thresholds),
            error_rate=ERROR_RATE.threshold(thresholds),
            latency_p95_ms=float(LATENCY_P95.threshold(thresholds)),
            drift_watched=self._watches_drift(rollout.candidate),
            stable_drift_watched=self._watches_drift(numbers.stable.model_id),
        )
        return judge(numbers.stable, numbers.candidate, limits, alarms, alone=alone)

    def _watches_drift(self, model_id: str) -> bool:
        schema = self._deployments.registry.get_metadata(model_id).feature_schema
        return any(feature.get("bins") for feature in schema)
