"""Is a candidate as good as the stable version on the same traffic? Counts in, a verdict out."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from conventions.alert_rules import error_rate
from conventions.latency import percentile_step, step_lower_bound
from infra.rollout_config import RolloutChecks
from stacks.rollout.sequential_test import Finding, SequentialTest, Walk

_NEEDED_OF_STABLE = 500
"""Of stable's requests: with fewer, its own shares are too uncertain to compare with."""
_DEVIATIONS = 2.0
"""By so many standard deviations stable's measured share may be too low: the candidate is given that much."""
_SLOW_SHARE = 0.05
_SLOW_MARGIN = 0.10
_LEAST_MS = 1.0
"""A latency that differs by less than this is not called slower."""
_NEVER_ZERO = 0.001
_LEAST_FRAUDS = 0.002
"""Of stable's share of frauds: of so few no number of requests that comes in time can tell that there are fewer."""


@dataclass(frozen=True)
class VariantMetrics:
    """Metrics of one version during a step."""

    model_id: str
    requests: int = 0
    errors: int = 0
    decisions: int = 0
    frauds: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Requests by latency: the step `s` holds those around exp((s + 0.5) / 48) milliseconds."""
    right: int = 0
    """Decisions that feedback has called right."""
    wrong: int = 0
    compared: int = 0
    """Transactions that stable answered and this version was sent a copy of."""
    differing: int = 0
    """Those of them that both decided differently."""
    drift: float | None = None
    """Population stability index of the feature that moved most; None while it is not known."""

    @property
    def error_rate(self) -> float:
        """Share of the requests that were answered with a server error, or not at all."""
        return error_rate(self.errors, self.requests)

    @property
    def fraud_rate(self) -> float:
        """Share of the transactions that were decided as fraud."""
        return self.frauds / self.decisions if self.decisions else 0.0

    @property
    def accuracy(self) -> float | None:
        """Share of the decisions with feedback that were right; None without feedback."""
        known = self.right + self.wrong
        return self.right / known if known else None

    def percentile(self, share: float) -> float | None:
        """Milliseconds that so large a share of the requests took at most; None without requests."""
        step = percentile_step(self.latencies, share)
        return None if step is None else step_lower_bound(step + 1)

    def slower_than(self, milliseconds: float) -> int:
        """Number of requests that took longer."""
        return sum(count for step, count in self.latencies.items() if step_lower_bound(step) >= milliseconds)

    def to_dict(self) -> dict[str, Any]:
        """For people: rates in place of counts."""
        return {
            "model_id": self.model_id,
            "requests": self.requests,
            "errors": self.errors,
            "error_rate": self.error_rate,
            "latency_p50_ms": self.percentile(0.5),
            "latency_p95_ms": self.percentile(0.95),
            "fraud_rate": self.fraud_rate if self.decisions else None,
            "accuracy": self.accuracy,
            "compared": self.compared,
            "differing": self.differing,
            "drift": self.drift,
        }


class Decision(StrEnum):
    """The decision on a candidate."""

    GO_ON = "go on"
    WITHDRAW = "withdraw"
    WAIT = "wait"


@dataclass(frozen=True)
class CheckFinding:
    """The result of one check."""

    name: str
    finding: Finding
    detail: str
    walks: Mapping[str, Walk] = field(default_factory=dict)
    """How far its sequential tests have come, by what each counts; empty for a check that counts nothing."""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """All checks together: one that is worse withdraws, all as good go on."""

    findings: tuple[CheckFinding, ...]

    @property
    def decision(self) -> Decision:
        """The decision that all checks together lead to."""
        found = {each.finding for each in self.findings}
        if Finding.WORSE in found:
            return Decision.WITHDRAW
        return Decision.WAIT if Finding.UNDECIDED in found else Decision.GO_ON

    @property
    def reason(self) -> str:
        """The reason to withdraw the candidate, or what the checks wait for."""
        wanted = Finding.WORSE if self.decision is Decision.WITHDRAW else Finding.UNDECIDED
        return "; ".join(f"{each.name}: {each.detail}" for each in self.findings if each.finding is wanted)


@dataclass(frozen=True)
class Limits:
    """Limits of a candidate's metrics."""

    checks: RolloutChecks
    drift: float
    """Population stability index."""
    error_rate: float
    """The alarm's threshold, for when stable has no traffic to compare with."""
    latency_p95_ms: float
    """The alarm's threshold, for the same case."""
    drift_watched: bool = False
    """Whether the candidate's manifest says what its features looked like in training."""
    stable_drift_watched: bool = False
    """Whether the stable version's manifest says so too."""


@dataclass(frozen=True)
class Alarms:
    """The deployment's alarms that are on."""

    new: tuple[str, ...] = ()
    """Names of those that went on since the rollout began."""
    stood: tuple[str, ...] = ()
    """Names of those that were on before: the candidate has not caused what it may mend."""


NO_ALARMS = Alarms()


def judge(
    stable: VariantMetrics,
    candidate: VariantMetrics,
    limits: Limits,
    alarms: Alarms = NO_ALARMS,
    *,
    alone: bool = False,
) -> Verdict:
    """Compares a candidate with the stable version.

    Args:
        stable: what it did during the step.
        candidate: likewise.
        limits: how much worse the candidate may be.
        alarms: those that are on now: one that went on since the rollout began withdraws it.
        alone: whether the candidate has all the traffic; then the alarms' thresholds stand in for stable.
    """
    findings = [CheckFinding("alarm", Finding.WORSE, name) for name in alarms.new]
    findings += [CheckFinding("alarm", Finding.AS_GOOD, f"{name} was on before the rollout") for name in alarms.stood]
    if alone:
        findings += _by_thresholds(candidate, limits)
    elif stable.requests < _NEEDED_OF_STABLE:
        detail = f"stable has answered {stable.requests} requests, {_NEEDED_OF_STABLE} are needed to compare with"
        findings.append(CheckFinding("requests", Finding.UNDECIDED, detail))
    else:
        findings += [*_errors(stable, candidate, limits), *_latency(stable, candidate, limits)]
        findings += [*_decisions(stable, candidate, limits), *_accuracy(stable, candidate, limits)]
        findings += _pairs(candidate, limits)
    findings += _drift(stable, candidate, limits, alone=alone)
    return Verdict(tuple(findings))


def _by_thresholds(candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    checks = limits.checks
    errors = SequentialTest(_NEVER_ZERO, limits.error_rate, checks.wrong_decision)
    detail = f"{candidate.error_rate:.2%} of {candidate.requests} requests, against the alarm's {limits.error_rate:.2%}"
    yield _counted("errors", detail, {"errors": errors}, (candidate.errors, candidate.requests))
    yield _slow(candidate, limits, limits.latency_p95_ms, f"the alarm's {limits.latency_p95_ms:g} ms")


def _errors(stable: VariantMetrics, candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    checks = limits.checks
    test = SequentialTest(_rate(stable.errors, stable.requests), checks.error_rate, checks.wrong_decision)
    detail = f"{candidate.error_rate:.2%} of {candidate.requests} requests, against stable's {stable.error_rate:.2%}"
    yield _counted("errors", detail, {"errors": test}, (candidate.errors, candidate.requests))


def _latency(stable: VariantMetrics, candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    usual = stable.percentile(0.95)
    if usual is not None:
        ratio = limits.checks.latency_ratio
        against = f"{ratio:g} times stable's p95 of {usual:.1f} ms"
        yield _slow(candidate, limits, max(usual * ratio, usual + _LEAST_MS), against)


def _slow(candidate: VariantMetrics, limits: Limits, milliseconds: float, against: str) -> CheckFinding:
    test = SequentialTest(_SLOW_SHARE, _SLOW_MARGIN, limits.checks.wrong_decision)
    beyond, measured = candidate.slower_than(milliseconds), sum(candidate.latencies.values())
    detail = f"{beyond} of {measured} requests slower than {against}"
    return _counted("latency", detail, {"slow answers": test}, (beyond, measured))


def _decisions(stable: VariantMetrics, candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    if stable.decisions < _NEEDED_OF_STABLE:
        return  # it answers errors: the check of those decides
    margin, factor, wrong = limits.checks.decision_rate, limits.checks.decision_factor, limits.checks.wrong_decision / 2
    most = _rate(stable.frauds, stable.decisions)
    tests = {"more frauds": SequentialTest(most, min(margin, most * (factor - 1)), wrong)}
    # Fewer frauds are more transactions that are let through.
    passed, usual = candidate.decisions - candidate.frauds, _rate(stable.decisions - stable.frauds, stable.decisions)
    if (least := 1 - usual) >= _LEAST_FRAUDS:
        tests["fewer frauds"] = SequentialTest(usual, min(margin, least * (1 - 1 / factor)), wrong)
    counts = (candidate.frauds, candidate.decisions), (passed, candidate.decisions)
    detail = f"{candidate.fraud_rate:.2%} decided as fraud of {candidate.decisions}, stable's {stable.fraud_rate:.2%}"
    yield _counted("decisions", detail, tests, *counts[: len(tests)])


def _pairs(candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    """Row by row, where a shadow is sent copies: as many frauds may be other ones."""
    if not candidate.compared:
        return
    most = limits.checks.decision_rate
    test = SequentialTest(most / 2, most / 2, limits.checks.wrong_decision)
    detail = f"{candidate.differing} of {candidate.compared} rows decided differently; at most {most:.2%} is allowed"
    yield _counted("rows", detail, {"rows decided differently": test}, (candidate.differing, candidate.compared))


def _accuracy(stable: VariantMetrics, candidate: VariantMetrics, limits: Limits) -> Iterator[CheckFinding]:
    """Compares the accuracy where both versions have feedback; it can come weeks later, so no rollout waits for it."""
    known, known_candidate = stable.right + stable.wrong, candidate.right + candidate.wrong
    if known < _NEEDED_OF_STABLE or not known_candidate:
        return
    test = SequentialTest(_rate(stable.wrong, known), limits.checks.accuracy, limits.checks.wrong_decision)
    finding = test.finding(candidate.wrong, known_candidate)
    detail = f"{candidate.accuracy:.2%} right of {known_candidate} with feedback, stable's {stable.accuracy:.2%}"
    yield CheckFinding("accuracy", Finding.WORSE if finding is Finding.WORSE else Finding.AS_GOOD, detail)


def _drift(stable: VariantMetrics, candidate: VariantMetrics, limits: Limits, *, alone: bool) -> Iterator[CheckFinding]:
    """Against its own training sample, and against stable's index: where both have moved, it is the world that has."""
    if not limits.drift_watched:
        return
    if candidate.drift is not None and stable.drift is None and alone and limits.stable_drift_watched:
        detail = f"index {candidate.drift:.2f}; stable's is not known, so nothing tells whether the world has moved"
        yield CheckFinding("drift", Finding.AS_GOOD, detail)
        return
    waiting = [variant.model_id for variant in (candidate, stable) if variant.drift is None]
    if candidate.drift is None or (stable.drift is None and limits.stable_drift_watched):
        detail = f"not known yet of {' and '.join(waiting)}: it takes 500 transactions"
        yield CheckFinding("drift", Finding.UNDECIDED, detail)
        return
    usual = stable.drift or 0.0
    worse = candidate.drift > usual + limits.drift
    detail = f"index {candidate.drift:.2f}, stable's {usual:.2f}; at most {limits.drift:g} more is allowed"
    yield CheckFinding("drift", Finding.WORSE if worse else Finding.AS_GOOD, detail)


def _counted(name: str, detail: str, tests: Mapping[str, SequentialTest], *counts: tuple[int, int]) -> CheckFinding:
    """The result of a check by its sequential tests, each with its number of bad outcomes and of all."""
    pairs = list(zip(tests.items(), counts, strict=True))
    finding = _worst(*(test.finding(*count) for (_, test), count in pairs))
    return CheckFinding(name, finding, detail, {what: test.walk(*count) for (what, test), count in pairs})


def _worst(*findings: Finding) -> Finding:
    return next(each for each in (Finding.WORSE, Finding.UNDECIDED, Finding.AS_GOOD) if each in findings)


def _rate(bad: int, among: int) -> float:
    """The largest share that is likely behind what was measured: E. B. Wilson's upper bound (1927); never 0 or 1."""
    square = _DEVIATIONS**2
    share = bad / among
    middle = share + square / (2 * among)
    spread = _DEVIATIONS * math.sqrt(share * (1 - share) / among + square / (4 * among**2))
    return min(max((middle + spread) / (1 + square / among), _NEVER_ZERO), 1 - _NEVER_ZERO)
