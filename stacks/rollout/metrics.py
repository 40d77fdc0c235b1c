"""Metrics of the stable version and the candidate on the same traffic, from the traffic splitter or CloudWatch."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.container_arguments import container_run_name
from conventions import metric_names
from conventions.latency import latency_step
from conventions.run_files import STATUS_FILE, TRAFFIC_SPLITTER_FILE
from infra.cloud_config import CloudConfig
from infra.preflight import CREDENTIALS_ADVICE
from infra.rollout_config import RolloutConfig
from stacks.checks.alerts import measured
from stacks.errors import EndpointSilent
from stacks.rollout.checks import VariantMetrics

_PERIOD_SECONDS = 60
_ALARM = "ALARM"


@dataclass(frozen=True)
class RolloutMetrics:
    """Both versions' numbers since the weight was last changed."""

    stable: VariantMetrics
    candidate: VariantMetrics
    seconds: float = 0.0
    weight: int | None = None
    """Percent that the route gives the candidate as it runs; None where that is not known."""

    @property
    def candidate_share(self) -> float | None:
        """Share of the requests that the candidate answered; None without requests."""
        total = self.stable.requests + self.candidate.requests
        return self.candidate.requests / total if total else None


class TrafficSplitterMetrics:
    """Read from the run directories of this machine's traffic splitter and slots.

    Args:
        checkout: the project's root.
        deployment_name: of the deployment.
        api_key_file: file with an API key that has the scope `admin`, for drift and accuracy.
        in_containers: whether the slots are containers, whose run directories have names of their own.
    """

    def __init__(
        self, checkout: Path, deployment_name: str, api_key_file: Path, *, in_containers: bool = False
    ) -> None:
        self._run, self._name, self._key = checkout / ".run", deployment_name, api_key_file
        self._in_containers = in_containers

    def read(self, stable_id: str, rollout: RolloutConfig) -> RolloutMetrics:
        """The numbers as they are now; nothing has happened where there is no traffic splitter, or another weight's."""
        nothing = RolloutMetrics(VariantMetrics(stable_id), VariantMetrics(rollout.candidate))
        try:
            content = self._content()
            variants = content["sides"]
        except (OSError, ValueError, KeyError):
            return nothing
        if (
            variants["stable"]["model_id"] != stable_id
            or variants.get("candidate", {}).get("model_id") != rollout.candidate
        ):
            return nothing
        told = {slot: self._measured(slot) for slot in (rollout.slot, rollout.other_slot)}
        return RolloutMetrics(
            _with_told(_variant(variants["stable"]), rollout.slot, told),
            _with_told(_variant(variants["candidate"]), rollout.other_slot, told),
            seconds=float(content["seconds"]),
            weight=int(content["weight"]),
        )

    def weight(self) -> int | None:
        """The weight that the traffic splitter divides by; None where there is none."""
        try:
            return int(self._content()["weight"])
        except (OSError, ValueError, KeyError):
            return None

    def _content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._run / self._name / TRAFFIC_SPLITTER_FILE).read_text(encoding="utf-8"))
        return found

    def _measured(self, slot: str) -> dict[str, Any]:
        """The metrics of a slot's process; empty where it does not tell."""
        directory = container_run_name(self._name, slot) if self._in_containers else f"{self._name}-{slot}"
        try:
            status = json.loads((self._run / directory / STATUS_FILE).read_text(encoding="utf-8"))
            return measured(f"http://127.0.0.1:{int(status['serving']['port'])}", self._key)
        except (OSError, ValueError, KeyError, TypeError, EndpointSilent):
            return {}


@contextmanager
def _cloudwatch() -> Iterator[None]:
    """Raises EndpointSilent where CloudWatch does not answer, or refuses."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, TokenRetrievalError

    try:
        yield
    except (NoCredentialsError, TokenRetrievalError):
        raise EndpointSilent(f"CloudWatch cannot be asked without AWS credentials: {CREDENTIALS_ADVICE}") from None
    except ClientError as error:
        raise EndpointSilent(f"CloudWatch refuses ({error.response.get('Error', {}).get('Code', error)})") from None
    except BotoCoreError as error:
        raise EndpointSilent(f"CloudWatch does not answer ({error})") from None


class CloudMetrics:
    """Read from CloudWatch, where each version publishes under its own name too.

    Args:
        cloud: of the stack's config.
        environment: of the deployment.
        deployment_name: of the deployment.
    """

    def __init__(self, cloud: CloudConfig, environment: str, deployment_name: str) -> None:
        import boto3

        with _cloudwatch():
            self._client = boto3.client("cloudwatch", region_name=cloud.region)
        self._namespace = cloud.metrics_namespace
        self._environment, self._name = environment, deployment_name

    def read(self, stable_id: str, rollout: RolloutConfig, since: datetime) -> RolloutMetrics:
        """The numbers since a time, to the minute, since that is how CloudWatch keeps them.

        The minute in which a step began counts too: it may hold some of the step before, of the same versions. That of
        the first step does not, so that a candidate which was withdrawn a moment ago is judged again.

        Raises:
            EndpointSilent: CloudWatch does not answer, or refuses.
        """
        seconds = max(0.0, time.time() - since.timestamp())
        begin = since.astimezone(UTC).replace(second=0, microsecond=0)
        if rollout.weight <= rollout.steps[0]:
            begin += timedelta(minutes=1)
        if begin > datetime.now(UTC):
            return RolloutMetrics(VariantMetrics(stable_id), VariantMetrics(rollout.candidate), seconds)
        with _cloudwatch():
            return RolloutMetrics(self._variant(stable_id, begin), self._variant(rollout.candidate, begin), seconds)

    def alarms(self) -> tuple[str, ...]:
        """Names of the deployment's alarms that are on.

        Raises:
            EndpointSilent: as `read`.
        """
        with _cloudwatch():
            pages = self._client.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=f"{self._name}-", StateValue=_ALARM
            )
            found = [each for page in pages for each in page["MetricAlarms"]]
        # Not every server of this interface heeds both conditions.
        return tuple(sorted(each["AlarmName"] for each in found if each["StateValue"] == _ALARM))

    def _variant(self, model_id: str, since: datetime) -> VariantMetrics:
        counts = {
            name: int(self._statistic(model_id, name, "Sum", since) or 0)
            for name in (metric_names.REQUESTS, metric_names.ERRORS, metric_names.DECISIONS, metric_names.FRAUDS)
        }
        variant = VariantMetrics(
            model_id,
            requests=counts[metric_names.REQUESTS],
            errors=counts[metric_names.ERRORS],
            decisions=counts[metric_names.DECISIONS],
            frauds=counts[metric_names.FRAUDS],
            latencies=self._latencies(model_id, since),
        )
        drift = self._statistic(model_id, metric_names.DRIFT, "Maximum", since)
        return variant if drift is None else replace(variant, drift=drift)

    def _latencies(self, model_id: str, since: datetime) -> Mapping[int, int]:
        """Returns requests by latency step: each percentile from 1 to 99 stands for a hundredth of the requests."""
        requests = int(self._statistic(model_id, metric_names.LATENCY, "SampleCount", since) or 0)
        shares = [f"p{share}" for share in range(1, 100, 2)]
        found: dict[int, int] = {}
        if not requests:
            return found
        for start in range(0, len(shares), 10):
            values = self._points(model_id, metric_names.LATENCY, since, extended=shares[start : start + 10])
            for point in values:
                for value in (point.get("ExtendedStatistics") or {}).values():
                    step = latency_step(value)
                    found[step] = found.get(step, 0) + max(1, round(requests / len(shares) / len(values)))
        return found

    def _statistic(self, model_id: str, metric: str, statistic: str, since: datetime) -> float | None:
        values = [point[statistic] for point in self._points(model_id, metric, since, [statistic])]
        if not values:
            return None
        return float(max(values) if statistic == "Maximum" else sum(values))

    def _points(
        self,
        model_id: str,
        metric: str,
        since: datetime,
        statistics: list[str] | None = None,
        extended: list[str] | None = None,
    ) -> list[dict[str, Any]]:
        dimensions = metric_names.dimensions(self._environment, self._name, model_id)
        asked: dict[str, Any] = {"Statistics": statistics} if statistics else {"ExtendedStatistics": extended}
        answer = self._client.get_metric_statistics(
            Namespace=self._namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions],
            StartTime=since,
            EndTime=max(datetime.now(UTC), since + timedelta(seconds=1)),
            Period=_PERIOD_SECONDS,
            **asked,
        )
        return list(answer["Datapoints"])


def _variant(content: Mapping[str, Any]) -> VariantMetrics:
    counts = {name: int(content[name]) for name in ("requests", "errors", "decisions", "frauds")}
    latencies = {int(step): int(count) for step, count in content["latencies"].items()}
    return VariantMetrics(str(content["model_id"]), **counts, latencies=latencies)


def _with_told(variant: VariantMetrics, slot: str, told: Mapping[Any, Mapping[str, Any]]) -> VariantMetrics:
    """The metrics with drift and outcomes; feedback on a version's decisions may have come to either process."""
    outcomes = [
        of_version
        for numbers in told.values()
        if (of_version := numbers.get("feedback_by_version", {}).get(variant.model_id)) is not None
    ]
    return replace(
        variant,
        drift=told[slot].get("gauges", {}).get(metric_names.DRIFT),
        right=sum(int(each["right"]) for each in outcomes),
        wrong=sum(int(each["wrong"]) for each in outcomes),
    )
