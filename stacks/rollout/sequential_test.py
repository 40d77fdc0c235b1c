"""Deciding as requests come in, with as few of them as it takes: Wald's sequential probability ratio test.

A candidate is compared with the stable version on the same traffic. Each check counts bad outcomes among the
candidate's requests: server errors, slow answers, decisions one way, wrong decisions. One hypothesis is that the share
of bad outcomes is stable's, p0; the other that it is worse by what the config allows, p1. With k bad outcomes among n
requests the log likelihood ratio is

    k ln(p1 / p0) + (n - k) ln((1 - p1) / (1 - p0))

At or above ln((1 - b) / a) the candidate is worse, at or below ln(b / (1 - a)) it is as good, and in between there are
too few requests to tell. Looking often costs nothing: a bounds how often a candidate as good as stable is called worse,
b how often one worse by the whole margin is called as good, however often one looks (A. Wald, Sequential Tests of
Statistical Hypotheses, Annals of Mathematical Statistics 16, 1945). That p0 is measured, not known, costs a little of
that; docs/rollouts.md has the rates of simulated rollouts.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

_MOST = 0.9999


class Finding(StrEnum):
    """The result of a test."""

    AS_GOOD = "as good"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Walk:
    """Where a test stands between its two bounds."""

    ratio: float
    """The log likelihood ratio: at `-bound` the candidate is as good, at `bound` it is worse."""
    bound: float
    bad: int
    among: int
    left: int | None
    """How many requests more it takes, about, where the candidate is as good as stable; 0 when it is decided, None
    where no number decides."""


@dataclass(frozen=True)
class SequentialTest:
    """One check's two hypotheses.

    Args:
        expected: share of bad outcomes in stable's requests, p0.
        margin: by how much more it is worse: p1 = p0 + margin.
        wrong: how often either wrong decision may happen, a and b.
    """

    expected: float
    margin: float
    wrong: float

    def finding(self, bad: int, among: int) -> Finding:
        """Returns the result for a number of bad outcomes among a number of requests."""
        ratio, bound = self._ratio(bad, among), self._bound
        if ratio >= bound:
            return Finding.WORSE
        return Finding.AS_GOOD if ratio <= -bound else Finding.UNDECIDED

    def walk(self, bad: int, among: int) -> Walk:
        """Returns how far the test has come after a number of bad outcomes among a number of requests."""
        ratio, bound = self._ratio(bad, among), self._bound
        per_request = self.expected * self._per_bad + (1 - self.expected) * self._per_good
        left = 0 if abs(ratio) >= bound else None if per_request >= 0 else math.ceil((ratio + bound) / -per_request)
        return Walk(ratio, bound, bad, among, left)

    def _ratio(self, bad: int, among: int) -> float:
        return bad * self._per_bad + (among - bad) * self._per_good

    @property
    def _bound(self) -> float:
        return math.log((1 - self.wrong) / self.wrong)

    @property
    def _worse(self) -> float:
        return min(self.expected + self.margin, _MOST)

    @property
    def _per_bad(self) -> float:
        return math.log(self._worse / self.expected)

    @property
    def _per_good(self) -> float:
        return math.log((1 - self._worse) / (1 - self.expected))
