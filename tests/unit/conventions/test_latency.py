"""Latencies that several processes count can be added, and percentiles of the sum are right to two percent."""

from collections import Counter

import numpy as np
import pytest

from conventions.latency import latency_step, percentile_step, step_lower_bound


@pytest.mark.parametrize("milliseconds", [0.0, 1e-9, 0.01, 0.5, 0.999, 1.0, 1.001, 7.3, 250.0, 60_000.0])
def test_a_latency_lies_in_its_step(milliseconds: float) -> None:
    step = latency_step(milliseconds)
    assert step_lower_bound(step) <= max(milliseconds, 1e-3) * (1 + 1e-12)
    assert max(milliseconds, 1e-3) < step_lower_bound(step + 1) * (1 + 1e-12)


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
def test_percentiles_are_those_of_numpy_to_two_percent(scale: float) -> None:
    latencies = np.random.default_rng(0).lognormal(0, 0.7, 20_000) * scale
    counts = Counter(map(latency_step, latencies.tolist()))
    for share in (0.5, 0.95, 0.99):
        step = percentile_step(counts, share)
        assert step is not None
        assert step_lower_bound(step + 0.5) == pytest.approx(float(np.quantile(latencies, share)), rel=0.02)


def test_without_requests_there_is_no_percentile() -> None:
    assert percentile_step({}, 0.5) is None
