#!/usr/bin/env python3
"""Simulates rollouts with the checks of real ones, and counts the wrong decisions.

    python -m benchmarks.rollouts.simulate                    # 200 of each kind; writes benchmarks/results/rollouts.md
    python -m benchmarks.rollouts.simulate --rollouts 1000

Requests come at a constant rate, divided by the weight. Errors and decisions are binomial, latencies log-normal. The
checks run every second, as in `deploy_model.py`. The table counts equal candidates that were withdrawn, worse ones that
were promoted, and the requests until a decision.
"""

import json
import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.command import make_parser, write_result
from conventions.latency import STEPS
from infra.rollout_config import RolloutChecks, RolloutConfig
from stacks.rollout.checks import Decision, Limits, VariantMetrics, judge

_MOST_SECONDS = 3600
_ALL = 100


@dataclass(frozen=True)
class Behaviour:
    """How a version answers."""

    error_rate: float = 0.001
    fraud_rate: float = 0.02
    median_ms: float = 5.0
    spread: float = 0.4
    """The spread of the latency's logarithm."""


STABLE = Behaviour()
KINDS = {
    "as good": STABLE,
    "5 % errors": replace(STABLE, error_rate=0.05),
    "3 times slower": replace(STABLE, median_ms=15.0),
    "decides 5 points more": replace(STABLE, fraud_rate=0.07),
    "never decides fraud": replace(STABLE, fraud_rate=0.0),
    "a quarter of the frauds": replace(STABLE, fraud_rate=0.005),
    "4 times as many frauds": replace(STABLE, fraud_rate=0.08),
    "2 % errors more, the margin": replace(STABLE, error_rate=0.021),
    "1 % errors more, half the margin": replace(STABLE, error_rate=0.011),
}
_GOOD = ("as good",)


@dataclass(frozen=True)
class Outcome:
    """How one simulated rollout ended."""

    promoted: bool
    weight: int
    """Weight at the decision, in percent."""
    candidate_requests: int
    """Requests that the candidate answered before the decision."""
    undecided: bool = False


def simulate(candidate: Behaviour, random: np.random.Generator, per_second: int, config: RolloutConfig) -> Outcome:
    """Runs one rollout.

    Args:
        candidate: the candidate's behaviour.
        random: the random generator.
        per_second: requests a second.
        config: steps and checks.
    """
    limits = Limits(config.checks, drift=0.25, error_rate=0.01, latency_p95_ms=500.0)
    served = 0
    for weight in config.steps:
        variants = [_Variant("stable", STABLE), _Variant("candidate", candidate)]
        for _second in range(_MOST_SECONDS):
            share = round(per_second * weight / 100)
            variants[0].take(per_second - share, random)
            variants[1].take(share, random)
            verdict = judge(variants[0].numbers(), variants[1].numbers(), limits, alone=weight == _ALL)
            if verdict.decision is not Decision.WAIT:
                break
        served += variants[1].requests
        if verdict.decision is Decision.WITHDRAW:
            return Outcome(promoted=False, weight=weight, candidate_requests=served)
        if verdict.decision is Decision.WAIT:
            return Outcome(promoted=False, weight=weight, candidate_requests=served, undecided=True)
    return Outcome(promoted=True, weight=100, candidate_requests=served)


class _Variant:
    def __init__(self, name: str, behaviour: Behaviour) -> None:
        self._name, self._behaviour = name, behaviour
        self.requests = self._errors = self._frauds = 0
        self._latencies: Counter[int] = Counter()

    def take(self, count: int, random: np.random.Generator) -> None:
        behaviour = self._behaviour
        errors = int(random.binomial(count, behaviour.error_rate))
        self.requests += count
        self._errors += errors
        self._frauds += int(random.binomial(count - errors, behaviour.fraud_rate))
        logarithms = random.normal(math.log(behaviour.median_ms), behaviour.spread, count)
        steps, counts = np.unique(np.floor(logarithms * STEPS).astype(int), return_counts=True)
        self._latencies.update(dict(zip(steps.tolist(), counts.tolist(), strict=True)))

    def numbers(self) -> VariantMetrics:
        return VariantMetrics(
            self._name,
            requests=self.requests,
            errors=self._errors,
            decisions=self.requests - self._errors,
            frauds=self._frauds,
            latencies=self._latencies,
        )


def run(rollouts: int, seed: int, per_second: int = 100, kinds: tuple[str, ...] = tuple(KINDS)) -> list[dict[str, Any]]:
    """Simulates rollouts of each kind; returns a row for each kind."""
    config = RolloutConfig(strategy="canary", checks=RolloutChecks())
    rows = []
    for number, kind in enumerate(kinds):
        random = np.random.default_rng([seed, number])
        found = [simulate(KINDS[kind], random, per_second, config) for _ in range(rollouts)]
        wrong = sum(each.promoted != (kind in _GOOD) for each in found)
        interval = binomtest(wrong, rollouts).proportion_ci()
        rows.append(
            {
                "kind": kind,
                "rollouts": rollouts,
                "promoted": sum(each.promoted for each in found),
                "withdrawn": sum(not each.promoted and not each.undecided for each in found),
                "in_first_step": sum(not each.promoted and each.weight == config.steps[0] for each in found),
                "undecided": sum(each.undecided for each in found),
                "wrong": wrong,
                "wrong_interval": [interval.low, interval.high],
                "candidate_requests_median": float(np.median([each.candidate_requests for each in found])),
            }
        )
    return rows


def _table(rows: list[dict[str, Any]], per_second: int) -> str:
    lines = [
        "# Simulated rollouts",
        "",
        f"`python -m benchmarks.rollouts.simulate`, {rows[0]['rollouts']} rollouts of each kind, {per_second} requests",
        "a second, steps 5, 25, 50 and 100 %, the default checks, decided as soon as they are. Stable: 0.1 % errors,",
        "2 % decided as fraud, latency log-normal with a median of 5 ms. Intervals are exact, 95 %.",
        "",
        "| candidate | promoted | withdrawn | in the first step | undecided | wrong (95 %) | its requests, median |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["wrong_interval"]
        wrong = f"{row['wrong'] / row['rollouts']:.1%} ({low:.1%} to {high:.1%})"
        if "half" in row["kind"]:
            wrong = "neither is"
        counts = [row[key] for key in ("promoted", "withdrawn", "in_first_step", "undecided")]
        cells = [row["kind"], *map(str, counts), wrong, f"{row['candidate_requests_median']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Simulates, prints and writes the table."""
    parser = make_parser("benchmarks.rollouts.simulate", __doc__)
    parser.add_argument("--rollouts", type=int, default=200, help="of each kind (200)")
    parser.add_argument("--seed", type=int, default=20261009)
    parser.add_argument("--per-second", type=int, default=100, help="requests (100)")
    options = parser.parse_args()
    rows = run(options.rollouts, options.seed, options.per_second)
    text = _table(rows, options.per_second)
    sys.stdout.write(text)
    write_result("rollouts.md", text)
    write_result("rollouts.json", json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
