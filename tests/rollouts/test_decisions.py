"""Candidates are promoted or withdrawn by what they do: real engine, traffic splitter, models and traffic."""

import time

import pytest

from tests.checkout import Checkout, wait_until
from tests.rollouts.conftest import Traffic, deploy, load, process_of, status_of, told

pytestmark = pytest.mark.timeout(300)


def test_a_canary_that_is_as_good_is_promoted_step_by_step_without_a_failed_request(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with load(endpoint, traffic) as answers:
        began = time.monotonic()
        output = deploy(
            endpoint, candidates["equal"], "--strategy", "canary", "--steps", "50,100", "--interval", "1s"
        ).stderr
        wait_until(lambda: endpoint.served_model() == candidates["equal"])
        candidate = process_of(endpoint, "green")
    told("canary", answers, time.monotonic() - began)
    assert "candidate" in output
    assert answers.failed == 0, answers.statuses
    status = status_of(endpoint)
    assert (status["stable"], status["rollout"]["slot"]) == (candidates["equal"], "green")
    assert process_of(endpoint, "green") == candidate
    messages = [item["message"] for item in endpoint.list_deployments()]
    assert messages[0].startswith(f"deploy {candidates['equal']} (promoted, canary")
    assert any("at 50 %" in message for message in messages)
    endpoint.pulumi("preview", "--stack", "dev", "--expect-no-changes")


@pytest.mark.parametrize("which", ["failing", "slow", "drifted"])
def test_a_candidate_that_is_worse_is_withdrawn_within_the_first_step(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic, which: str
) -> None:
    with load(endpoint, traffic) as answers:
        began = time.monotonic()
        options = ("--strategy", "canary", "--steps", "50,100", "--interval", "1s", "--force", "--reason", "test")
        output = deploy(endpoint, candidates[which], *options, code=22).stderr
        seconds = time.monotonic() - began
        wait_until(lambda: answers.total > 0)
    told(f"withdrawn {which}", answers, seconds)
    reason = {"failing": "errors:", "slow": "latency:", "drifted": "drift:"}[which]
    assert f"was withdrawn at 50 %: {reason}" in output
    assert candidates[which] in answers.by_model
    assert endpoint.served_model() == candidates["stable"]
    expected_failures = ("422",) if which == "failing" else ()
    assert set(answers.statuses) <= {"200", *expected_failures}, answers.statuses
    status = status_of(endpoint)
    assert "candidate" not in status["rollout"]
    assert "withdrawn" in endpoint.list_deployments()[0]["message"]


def test_a_shadow_candidate_answers_no_caller_and_is_compared(
    endpoint: Checkout, candidates: dict[str, str], traffic: Traffic
) -> None:
    with load(endpoint, traffic) as answers:
        options = ("--strategy", "blue_green", "--shadow", "--interval", "1s", "--force", "--reason", "test")
        output = deploy(endpoint, candidates["failing"], *options, code=22).stderr
    assert "was withdrawn at 0 %" in output
    assert answers.failed == 0, answers.statuses
    assert set(answers.by_model) == {candidates["stable"]}
