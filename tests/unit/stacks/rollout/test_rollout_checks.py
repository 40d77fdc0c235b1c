"""What decides about a candidate: the sequential test, the checks, and how often they are wrong."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rollouts.simulate import KINDS, run
from infra.errors import ConfigError
from infra.rollout_config import RolloutChecks, RolloutConfig, parse_rollout_config
from stacks.rollout.checks import Alarms, Decision, Limits, VariantMetrics, judge
from stacks.rollout.sequential_test import Finding, SequentialTest

_LIMITS = Limits(RolloutChecks(), drift=0.25, error_rate=0.05, latency_p95_ms=100.0)
_WATCHED = replace(_LIMITS, drift_watched=True, stable_drift_watched=True)


def _variant(
    requests: int, errors: int = 0, frauds: int = 0, milliseconds: float = 5.0, **more: float
) -> VariantMetrics:
    latencies = {round(math.log(milliseconds) * 48): requests}
    decisions = requests - errors
    return VariantMetrics(
        "m", requests=requests, errors=errors, decisions=decisions, frauds=frauds, latencies=latencies, **more
    )  # type: ignore[arg-type]


@given(st.floats(0.001, 0.5), st.floats(0.01, 0.3), st.integers(0, 500), st.integers(0, 5000))
def test_more_bad_outcomes_never_make_a_candidate_look_better(
    expected: float, margin: float, bad: int, good: int
) -> None:
    test = SequentialTest(expected, margin, 0.01)
    order = [Finding.AS_GOOD, Finding.UNDECIDED, Finding.WORSE]
    few, more = test.finding(bad, bad + good), test.finding(bad + 1, bad + good + 1)
    assert order.index(few) <= order.index(more)
    assert test.finding(0, 0) is Finding.UNDECIDED


def test_the_number_of_requests_that_a_decision_takes_is_what_it_says() -> None:
    test = SequentialTest(0.001, 0.02, 0.01)
    # Wald's boundary for a wrong decision in a hundred, by what one good outcome says.
    needed = math.ceil(math.log(99) / -math.log((1 - 0.021) / (1 - 0.001)))
    assert test.finding(0, needed) is Finding.AS_GOOD
    assert test.finding(0, needed - 1) is Finding.UNDECIDED
    assert 200 < needed < 260


def test_an_equal_candidate_goes_on_and_each_kind_of_worse_is_withdrawn_for_its_reason() -> None:
    stable = _variant(5000, errors=5, frauds=100)
    assert judge(stable, _variant(1000, errors=1, frauds=20), _LIMITS).decision is Decision.GO_ON
    for candidate, reason in (
        (_variant(1000, errors=50, frauds=20), "errors"),
        (_variant(1000, errors=1, frauds=20, milliseconds=15.0), "latency"),
        (_variant(1000, errors=1, frauds=90), "decisions"),
    ):
        verdict = judge(stable, candidate, _LIMITS)
        assert verdict.decision is Decision.WITHDRAW
        assert verdict.reason.startswith(f"{reason}:")


def test_too_few_requests_wait_and_say_for_what() -> None:
    verdict = judge(_variant(40), _variant(2), _LIMITS)
    assert verdict.decision is Decision.WAIT
    assert "500 are needed" in verdict.reason


def test_fewer_decisions_as_fraud_are_seen_too() -> None:
    verdict = judge(_variant(5000, frauds=1000), _variant(2000, frauds=260), _LIMITS)
    assert verdict.decision is Decision.WITHDRAW
    assert "decisions" in verdict.reason


def test_drift_withdraws_only_where_stable_has_not_moved_as_far() -> None:
    watched = Limits(RolloutChecks(), drift=0.25, error_rate=0.05, latency_p95_ms=100.0, drift_watched=True)
    stable = _variant(5000, frauds=100, drift=0.1)
    assert judge(stable, _variant(1000, frauds=20), watched).decision is Decision.WAIT
    assert judge(stable, _variant(1000, frauds=20, drift=0.5), watched).decision is Decision.WITHDRAW
    moved = _variant(5000, frauds=100, drift=0.6)
    assert judge(moved, _variant(1000, frauds=20, drift=0.5), watched).decision is Decision.GO_ON


def test_a_candidate_whose_drift_is_known_first_waits_for_stables() -> None:
    candidate = _variant(1000, frauds=20, drift=0.5)
    verdict = judge(_variant(5000, frauds=100), candidate, _WATCHED)
    assert (verdict.decision, verdict.reason) == (
        Decision.WAIT,
        "drift: not known yet of m: it takes 500 transactions",
    )
    assert judge(_variant(5000, frauds=100, drift=0.0), candidate, _WATCHED).decision is Decision.WITHDRAW


def test_accuracy_counts_where_there_is_feedback_and_nothing_waits_for_it() -> None:
    stable = _variant(5000, frauds=100, right=970, wrong=30)
    assert judge(stable, _variant(1000, frauds=20), _LIMITS).decision is Decision.GO_ON
    assert judge(stable, _variant(1000, frauds=20, right=170, wrong=30), _LIMITS).decision is Decision.WITHDRAW


def test_alone_it_is_held_to_the_alarms_thresholds_and_an_alarm_that_is_on_withdraws() -> None:
    nothing = VariantMetrics("m")
    assert judge(nothing, _variant(1000, errors=1), _LIMITS, alone=True).decision is Decision.GO_ON
    assert judge(nothing, _variant(1000, errors=80), _LIMITS, alone=True).decision is Decision.WITHDRAW
    assert judge(nothing, _variant(1000, milliseconds=150.0), _LIMITS, alone=True).decision is Decision.WITHDRAW
    on = judge(_variant(5000), _variant(1000), _LIMITS, Alarms(new=("prod-error-rate",)))
    assert (on.decision, on.reason) == (Decision.WITHDRAW, "alarm: prod-error-rate")


def test_an_alarm_that_was_on_before_the_rollout_does_not_withdraw_what_may_end_it() -> None:
    stable = _variant(5000, errors=5, frauds=100)
    verdict = judge(stable, _variant(1000, errors=1, frauds=20), _LIMITS, Alarms(stood=("prod-drift",)))
    assert verdict.decision is Decision.GO_ON
    assert ("alarm", "prod-drift was on before the rollout") in [(each.name, each.detail) for each in verdict.findings]


def test_a_candidate_that_never_says_fraud_is_withdrawn_where_frauds_are_rare_and_one_that_says_it_too_often() -> None:
    stable = _variant(5000, frauds=150)
    for frauds in (0, 120):
        verdict = judge(stable, _variant(1000, frauds=frauds), _LIMITS)
        assert (verdict.decision, verdict.reason.split(":")[0]) == (Decision.WITHDRAW, "decisions")
    rare = _variant(20_000, frauds=100)
    assert judge(rare, _variant(5000, frauds=0), _LIMITS).decision is Decision.WITHDRAW
    assert judge(rare, _variant(5000, frauds=25), _LIMITS).decision is Decision.GO_ON
    assert judge(rare, _variant(5000, frauds=150), _LIMITS).decision is Decision.WITHDRAW


def test_with_all_the_traffic_a_drift_that_stable_may_have_had_does_not_withdraw() -> None:
    candidate = _variant(1000, drift=0.6)
    for stables, decision in ((None, Decision.GO_ON), (0.5, Decision.GO_ON), (0.1, Decision.WITHDRAW)):
        assert judge(VariantMetrics("m", drift=stables), candidate, _WATCHED, alone=True).decision is decision


def test_a_shadow_is_judged_by_the_rows_that_it_decides_differently() -> None:
    stable = _variant(5000, frauds=150)
    same = _variant(2000, frauds=60, compared=2000, differing=20)
    assert judge(stable, same, _LIMITS).decision is Decision.GO_ON
    # As many frauds, and other ones.
    verdict = judge(stable, _variant(2000, frauds=60, compared=2000, differing=120), _LIMITS)
    assert (verdict.decision, verdict.reason.split(":")[0]) == (Decision.WITHDRAW, "rows")


def test_over_two_hundred_simulated_rollouts_wrong_decisions_are_rare() -> None:
    kinds = tuple(kind for kind in KINDS if "half" not in kind)
    rows = {row["kind"]: row for row in run(200, seed=7, kinds=kinds)}
    assert rows["as good"]["withdrawn"] <= 6, rows["as good"]
    assert rows["as good"]["undecided"] == 0
    for kind in (
        "5 % errors",
        "3 times slower",
        "decides 5 points more",
        "never decides fraud",
        "4 times as many frauds",
    ):
        assert rows[kind]["in_first_step"] == 200, rows[kind]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"strategy": "canary", "steps": [50, 20, 100]}, "steps that grow"),
        ({"strategy": "canary", "steps": [5, 50]}, "end with 100"),
        ({"candidate": "m_B_20260101_000000"}, "strategy blue_green or canary"),
        ({"strategy": "canary", "weight": 5}, "weight 0 where there is no candidate"),
        ({"strategy": "canary", "candidate": "m_A_20260101_000000"}, "stable version already"),
        ({"strategy": "canary", "candidate": "b", "weight": 5, "shadow": True}, "shadow with a candidate of weight 0"),
        ({"strategy": "canary", "candidate": "b", "kept": "c", "kept_until": "2026-01-01T00:00:00Z"}, "not both"),
        ({"strategy": "canary", "kept": "c", "kept_until": "tomorrow"}, "kept_until"),
        ({"strategy": "cannary"}, "rollout.strategy: 'cannary' is not allowed"),
        ({"stratgy": "canary"}, "unknown key; allowed: strategy"),
        ({"checks": {"errors": 1}}, "unknown key; allowed: error_rate"),
        ([], "allowed: an object"),
    ],
)
def test_an_impossible_rollout_config_is_refused_with_the_allowed_values(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match="rollout") as refused:
        parse_rollout_config(value, "Pulumi.dev.yaml: rollout", "m_A_20260101_000000", "local")
    assert message in str(refused.value)


def test_a_cluster_refuses_a_shadow() -> None:
    with pytest.raises(ConfigError, match="HTTPRoute"):
        parse_rollout_config({"strategy": "canary", "candidate": "b", "shadow": True}, "rollout", "", "kubernetes")


def test_a_rollout_is_written_as_it_is_read() -> None:
    config = RolloutConfig(strategy="canary", candidate="m_B_20260101_000000", weight=25, slot="green")
    assert parse_rollout_config(config.to_dict(), "rollout", "", "local") == config
    assert "weight" not in RolloutConfig().to_dict()
    at_once = RolloutConfig(strategy="blue_green", interval_seconds=0, keep_minutes=0)
    assert parse_rollout_config(at_once.to_dict(), "rollout", "", "local") == at_once
