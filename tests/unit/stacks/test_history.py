"""A stack's history reads as deployments, and rollbacks go backwards through them."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stacks.environments import DeploymentEnvironment
from stacks.history import Intent, deployments, in_order, message_for, prior_versions

DEVELOPMENT = DeploymentEnvironment.DEVELOPMENT
START = datetime(2026, 1, 1, tzinfo=UTC)


def _update(minute: int, model_id: str = "", message: str = "", **changes: Any) -> SimpleNamespace:
    config = {
        "fraud-detection:deployment": SimpleNamespace(
            value='{"deployment_name": "fraud-dev", "api_endpoint": "http://a"}'
        )
    }
    if model_id:
        config["fraud-detection:modelVersion"] = SimpleNamespace(value=model_id)
    return SimpleNamespace(
        **{
            "kind": "update",
            "result": "succeeded",
            "start_time": START + timedelta(minutes=minute),
            "end_time": START + timedelta(minutes=minute, seconds=5),
            "message": message,
            "config": config,
            "version": 0,
            "resource_changes": {"update": 1, "same": 3},
            **changes,
        }
    )


def _history(*steps: tuple[str, Intent]) -> list[Any]:
    updates = [
        _update(minute, model_id, "" if intent is Intent.UP else message_for(intent, model_id))
        for minute, (model_id, intent) in enumerate(steps)
    ]
    return deployments(DEVELOPMENT, updates[::-1])


def test_a_deployment_has_an_id_made_of_name_environment_and_time() -> None:
    (deployment,) = _history(("A", Intent.DEPLOY))
    assert deployment.deployment_id == "deploy_fraud-dev_development_20260101_000000"
    assert (deployment.model_id, deployment.intent, deployment.current) == ("A", Intent.DEPLOY, True)


def test_the_update_that_made_the_state_is_the_newest_whatever_its_clock_said() -> None:
    """The engine lists updates by their times; the last one, of B, was made by a clock that is behind."""
    of_b = _update(5, "B")
    unchanged = _update(8, "B", resource_changes={"same": 4})
    listed = [_update(9, "A"), unchanged, _update(7, "B", result="failed"), _update(6, "B"), of_b, _update(0, "A")]
    ordered = in_order(listed, "B", lambda: START + timedelta(minutes=5, seconds=4))
    assert ordered == [of_b, *(each for each in listed if each is not of_b)]
    history = deployments(DEVELOPMENT, ordered)
    assert [(each.model_id, each.current) for each in history] == [
        ("B", True),
        ("A", False),
        ("B", False),
        ("A", False),
    ]
    assert prior_versions(history)[0] == "A"
    assert in_order(listed, "B", lambda: None)[0].start_time == START + timedelta(minutes=6)


def test_updates_that_agree_with_the_state_stay_in_their_order() -> None:
    listed = [_update(9, "A"), _update(5, "B"), _update(0, "A")]
    without_version = [_update(11), *listed]
    destroyed = [_update(11, "A", kind="destroy"), *listed]
    for updates, serves in ((listed, "A"), (listed, ""), (listed, "C"), (without_version, "B"), (destroyed, "")):
        assert in_order(updates, serves, lambda: START) == updates


def test_failed_updates_updates_without_change_and_refreshes_are_no_deployments() -> None:
    updates = [
        _update(5, "A", kind="refresh"),
        _update(4, "A", resource_changes={"same": 4}),
        _update(3, "B", result="failed"),
        _update(1, "A"),
        _update(0, "", message="before any model"),
    ]
    assert [item.model_id for item in deployments(DEVELOPMENT, updates)] == ["A"]


def test_an_update_whose_config_names_no_version_went_on_with_the_one_before() -> None:
    plain = _update(2, "")
    found = deployments(DEVELOPMENT, [plain, _update(1, "A")])
    assert [(item.model_id, item.intent, item.current) for item in found] == [
        ("A", Intent.UP, True),
        ("A", Intent.UP, False),
    ]


def test_nothing_is_current_after_a_destroy() -> None:
    updates = [_update(2, "A", kind="destroy", resource_changes={"delete": 4}), _update(1, "A")]
    assert [item.current for item in deployments(DEVELOPMENT, updates)] == [False]


def test_the_message_of_another_model_version_does_not_decide_the_intent() -> None:
    (deployment,) = deployments(DEVELOPMENT, [_update(1, "A", "rollback B")])
    assert deployment.intent is Intent.UP


def test_a_rollback_goes_to_the_version_before() -> None:
    assert prior_versions(_history(("A", Intent.DEPLOY), ("B", Intent.DEPLOY), ("C", Intent.DEPLOY))) == ["B", "A"]


def test_a_second_rollback_goes_on_backwards() -> None:
    steps = [("A", Intent.DEPLOY), ("B", Intent.DEPLOY), ("C", Intent.DEPLOY), ("B", Intent.ROLLBACK)]
    assert prior_versions(_history(*steps)) == ["A"]


def test_after_the_last_rollback_there_is_nothing_behind() -> None:
    assert prior_versions(_history(("A", Intent.DEPLOY), ("B", Intent.DEPLOY), ("A", Intent.ROLLBACK))) == []


def test_a_plain_up_onto_the_version_before_is_a_rollback() -> None:
    steps = [("A", Intent.UP), ("B", Intent.UP), ("C", Intent.UP), ("B", Intent.UP)]
    assert prior_versions(_history(*steps)) == ["A"]


def test_deploying_an_older_version_on_purpose_is_no_rollback() -> None:
    steps = [("A", Intent.DEPLOY), ("B", Intent.DEPLOY), ("A", Intent.DEPLOY)]
    assert prior_versions(_history(*steps)) == ["B", "A"]


def test_deploying_the_same_version_again_adds_nothing_to_go_back_to() -> None:
    assert prior_versions(_history(("A", Intent.DEPLOY), ("A", Intent.DEPLOY))) == []


@given(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=12))
def test_rolling_back_again_and_again_ends_and_never_visits_a_version_twice(deployed: list[str]) -> None:
    steps = [(model_id, Intent.DEPLOY) for model_id in deployed]
    without_repeats = [
        model for position, model in enumerate(deployed) if position == 0 or deployed[position - 1] != model
    ]
    visited = [deployed[-1]]
    while behind := prior_versions(_history(*steps)):
        visited.append(behind[0])
        steps.append((behind[0], Intent.ROLLBACK))
        assert len(visited) <= len(deployed), "to and fro"
    assert visited[-1] == deployed[0] or len(set(deployed)) < len(without_repeats)
