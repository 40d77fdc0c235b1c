"""Metrics of the stable version and the candidate on the same traffic, from the traffic splitter or CloudWatch."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
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
from stacks.rollout.checks import Alarms, VariantMetrics

_ALARM = "ALARM"
_ALL = 100
_COUNTED = (metric_names.REQUESTS, metric_names.ERRORS, metric_names.DECISIONS, metric_names.FRAUDS)
_SHARES = (10, 30, 50, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99)
"""Percentiles of the latency, dense where the check looks; CloudWatch bills for each."""
_QUERIES = len(_COUNTED) + 2 + len(_SHARES)
_PERIODS = (60, 300, 900, 3600)
_MOST_POINTS = 1440
"""Of one query: 100,800 are answered in one page, and a look has 40 queries."""


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
            _with_told(_variant(variants["candidate"], content), rollout.other_slot, told),
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
    """Read from CloudWatch, where each version publishes under its own name too: one GetMetricData for a look.

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

    def read(
        self, stable_id: str, rollout: RolloutConfig, since: datetime, began: datetime | None = None
    ) -> RolloutMetrics:
        """The numbers since a time, to the minute, since that is how CloudWatch keeps them.

        The minute in which a step began counts too: it may hold some of the step before, of the same versions. That of
        the first step does not, so that a candidate which was withdrawn a moment ago is judged again.

        Args:
            stable_id: the stable model version.
            rollout: with the candidate and its weight.
            since: when the step began.
            began: when the rollout did, for the drift of a stable version that has no traffic any more; `since` when
                not given.

        Raises:
            EndpointSilent: CloudWatch does not answer, or refuses.
        """
        seconds = max(0.0, time.time() - since.timestamp())
        begin = _minute(since)
        if rollout.weight <= rollout.steps[0]:
            begin += timedelta(minutes=1)
        if begin > datetime.now(UTC):
            return RolloutMetrics(VariantMetrics(stable_id), VariantMetrics(rollout.candidate), seconds)
        sides = [each for each in (stable_id, rollout.candidate) if each]
        with _cloudwatch():
            values = self._ask([query for each in sides for query in self._queries(each)], begin)
            found = {each: _counted(each, values[at * _QUERIES :][:_QUERIES]) for at, each in enumerate(sides)}
            stable, candidate = (found.get(each, VariantMetrics(each)) for each in (stable_id, rollout.candidate))
            if rollout.weight == _ALL and stable.drift is None:
                (points,) = self._ask([(stable_id, metric_names.DRIFT, "Maximum")], _minute(began or since))
                stable = replace(stable, drift=max(points.values(), default=None))
        return RolloutMetrics(stable, candidate, seconds)

    def requests(self, model_id: str, minutes: int) -> int:
        """The number of requests to a version in the last minutes.

        Raises:
            EndpointSilent: as `read`.
        """
        begin = _minute(datetime.now(UTC)) - timedelta(minutes=minutes)
        with _cloudwatch():
            (points,) = self._ask([(model_id, metric_names.REQUESTS, "Sum")], begin)
        return int(sum(points.values()))

    def alarms(self, began: datetime) -> Alarms:
        """The deployment's alarms that are on: those that went on since the rollout began, and those that were.

        Raises:
            EndpointSilent: as `read`.
        """
        with _cloudwatch():
            pages = self._client.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=f"{self._name}-", StateValue=_ALARM
            )
            # Not every server of this interface heeds both conditions.
            on = [each for page in pages for each in page["MetricAlarms"] if each["StateValue"] == _ALARM]
        stood = {each["AlarmName"] for each in on if _changed(each) < began}
        return Alarms(
            new=tuple(sorted(each["AlarmName"] for each in on if each["AlarmName"] not in stood)),
            stood=tuple(sorted(stood)),
        )

    @staticmethod
    def _queries(model_id: str) -> list[tuple[str, str, str]]:
        """What is asked of a version, in the order in which `_counted` takes it."""
        asked = [*((name, "Sum") for name in _COUNTED), (metric_names.DRIFT, "Maximum")]
        asked += [(metric_names.LATENCY, each) for each in ("SampleCount", *(f"p{share}" for share in _SHARES))]
        return [(model_id, metric, statistic) for metric, statistic in asked]

    def _ask(self, queries: list[tuple[str, str, str]], begin: datetime) -> list[dict[datetime, float]]:
        """The values of each query, by the beginning of their periods."""
        end = max(datetime.now(UTC), begin + timedelta(seconds=1))
        period = _period((end - begin).total_seconds())
        asked: list[dict[str, Any]] = [
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": self._namespace,
                        "MetricName": metric,
                        "Dimensions": [
                            {"Name": name, "Value": value}
                            for name, value in metric_names.dimensions(self._environment, self._name, model_id)
                        ],
                    },
                    "Period": period,
                    "Stat": statistic,
                },
            }
            for number, (model_id, metric, statistic) in enumerate(queries)
        ]
        found: dict[str, dict[datetime, float]] = {each["Id"]: {} for each in asked}
        pages = self._client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=asked, StartTime=begin, EndTime=end
        )
        for page in pages:
            for each in page["MetricDataResults"]:
                found[each["Id"]].update(zip(each["Timestamps"], each["Values"], strict=True))
        return list(found.values())


def _minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _changed(alarm: Mapping[str, Any]) -> datetime:
    """When an alarm went on; where a server does not tell, when it was last looked at."""
    at: datetime = alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
    return at


def _period(seconds: float) -> int:
    """A period in which CloudWatch answers all queries of a look at once, however long the step lasts."""
    return next(each for each in _PERIODS if seconds / each <= _MOST_POINTS or each == _PERIODS[-1])


def _counted(model_id: str, values: list[dict[datetime, float]]) -> VariantMetrics:
    sums, drift, samples, shares = values[:4], values[4], values[5], values[6:]
    requests, errors, decisions, frauds = (int(sum(each.values())) for each in sums)
    return VariantMetrics(
        model_id,
        requests=requests,
        errors=errors,
        decisions=decisions,
        frauds=frauds,
        latencies=_latencies(samples, shares),
        drift=max(drift.values(), default=None),
    )


def _latencies(samples: Mapping[datetime, float], shares: list[dict[datetime, float]]) -> Mapping[int, int]:
    """Returns requests by latency step: a percentile stands for the requests that are nearer to it than to another."""
    found: dict[int, float] = {}
    edges = [0.0, *((one + other) / 2 for one, other in pairwise(_SHARES)), 100.0]
    for (below, above), values in zip(pairwise(edges), shares, strict=True):
        for at, value in values.items():
            step = latency_step(value)
            found[step] = found.get(step, 0.0) + samples.get(at, 0.0) * (above - below) / 100
    return {step: round(count) for step, count in found.items()}


def _variant(content: Mapping[str, Any], copies: Mapping[str, Any] | None = None) -> VariantMetrics:
    counts = {name: int(content[name]) for name in ("requests", "errors", "decisions", "frauds")}
    counts |= {name: int((copies or {}).get(name, 0)) for name in ("compared", "differing")}
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
