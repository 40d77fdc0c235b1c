"""Deployments are counted by how they ended: by the engine's history, and by the audit log where it alone tells."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from model_store.registry.log.audit import AuditRecord
from stacks.environments import DeploymentEnvironment
from stacks.history import Intent, message_for
from stacks.outcomes import Attempt, attempts, counts, with_audit

STAGING = DeploymentEnvironment.STAGING
START = datetime(2026, 10, 30, tzinfo=UTC)


def _update(minute: float, model_id: str, message: str = "", candidate: str = "", **changes: Any) -> SimpleNamespace:
    values = {
        "deployment": {"deployment_name": "fraud", "api_endpoint": "http://a"},
        "rollout": {"candidate": candidate, "weight": 5},
    }
    config = {f"fraud-detection:{key}": SimpleNamespace(value=json.dumps(value)) for key, value in values.items()}
    began = START + timedelta(minutes=minute)
    return SimpleNamespace(
        **{
            "kind": "update",
            "result": "succeeded",
            "start_time": began,
            "end_time": began + timedelta(seconds=5),
            "message": message,
            "config": {**config, "fraud-detection:modelVersion": SimpleNamespace(value=model_id)},
            "resource_changes": {"update": 1},
            **changes,
        }
    )


def _deploy(minute: float, model_id: str, **changes: Any) -> SimpleNamespace:
    return _update(minute, model_id, message_for(Intent.DEPLOY, model_id), **changes)


def _rollback(minute: float, model_id: str, **changes: Any) -> SimpleNamespace:
    return _update(minute, model_id, message_for(Intent.ROLLBACK, model_id), **changes)


def _step(minute: float, stable: str, candidate: str, **changes: Any) -> SimpleNamespace:
    return _update(minute, stable, message_for(Intent.ROLLOUT, stable, "a step"), candidate, **changes)


def _attempts(*updates: SimpleNamespace) -> list[Attempt]:
    return attempts(STAGING, updates[::-1])


def _ended(found: list[Attempt]) -> list[tuple[str, str]]:
    return [(each.model_id, str(each.outcome)) for each in found]


def _record(minute: float, action: str, model_id: str, intent: str, **details: Any) -> AuditRecord:
    at = (START + timedelta(minutes=minute)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    details = {"environment": "staging", "intent": intent, **details}
    return AuditRecord(1, at, "somebody", action, model_id, "", details, "0" * 64)


def test_failed_updates_and_rollbacks_are_counted_beside_what_succeeded() -> None:
    found = _attempts(
        _deploy(0, "A"),
        _deploy(1, "B"),
        _rollback(2, "A"),
        _deploy(3, "C", result="failed"),
        _rollback(4, "A", resource_changes={"same": 3}),
        _update(5, "A", "the same again", resource_changes={"same": 3}),
    )
    (row,) = counts(found)
    told = {"started": 3, "succeeded": 2, "failed": 1, "rolled_back": 1, "rollbacks": 1, "failed_rollbacks": 0}
    assert {name: row.to_dict()[name] for name in told} == told
    assert row.success_rate == 2 / 3
    assert [each.model_id for each in found if each.rolled_back] == ["B"]


def test_a_plain_up_to_the_version_before_is_a_rollback() -> None:
    found = _attempts(_update(0, "A", "first"), _update(1, "B", "second"), _update(2, "A", "complaints"))
    assert [each.is_rollback for each in found] == [False, False, True]
    assert [each.rolled_back for each in found] == [False, True, False]


def test_the_steps_of_a_rollout_are_one_deployment() -> None:
    promoted = _update(4, "B", message_for(Intent.DEPLOY, "B", "promoted"))
    found = _attempts(_deploy(0, "A"), _step(1, "A", "B"), _step(2, "A", "B", result="failed"), _step(3, "A", "B"))
    assert _ended(found) == [("A", "succeeded"), ("B", "undecided")]
    assert counts(found)[0].success_rate == 1.0, "what is not decided is in no rate"
    found = _attempts(_deploy(0, "A"), _step(1, "A", "B"), _step(3, "A", "B"), promoted, _step(5, "B", ""))
    assert _ended(found) == [("A", "succeeded"), ("B", "succeeded")]


def test_a_candidate_that_goes_is_withdrawn_and_one_that_never_came_has_failed() -> None:
    found = _attempts(_deploy(0, "A"), _step(1, "A", "B"), _step(2, "A", ""), _step(3, "A", "C", result="failed"))
    assert _ended(found) == [("A", "succeeded"), ("B", "withdrawn"), ("C", "failed")]
    gone = _update(2, "A", "", kind="destroy")
    assert _ended(_attempts(_deploy(0, "A"), _step(1, "A", "B"), gone))[1] == ("B", "withdrawn")


def test_a_rollback_by_the_other_slot_is_no_deployment() -> None:
    found = _attempts(_deploy(0, "A"), _deploy(1, "B"), _step(2, "B", "A"), _rollback(3, "A"))
    assert [(each.model_id, each.is_rollback, each.rolled_back) for each in found] == [
        ("A", False, False),
        ("B", False, True),
        ("A", True, False),
    ]
    (row,) = counts(found)
    assert (row.started, row.rollbacks) == (2, 1)


def test_each_period_and_environment_has_a_row() -> None:
    other = attempts(DeploymentEnvironment.PRODUCTION, [_deploy(0, "A")])
    found = [*_attempts(_deploy(0, "A"), _deploy(60 * 50, "B")), *other]
    assert [(row.period, row.environment) for row in counts(found)] == [
        ("2026-11", "staging"),
        ("2026-10", "staging"),
        ("2026-10", "production"),
    ]
    assert [row.period for row in counts(found, "day")] == ["2026-11-01", "2026-10-30", "2026-10-30"]
    assert counts([]) == []


def test_a_run_that_was_killed_is_counted_once_the_next_change_begins() -> None:
    found = _attempts(_deploy(0, "A"), _deploy(9, "C"))
    killed = _record(5, "deploy", "B", "deploy B")
    assert _ended(with_audit(found[:1], "staging", [killed])) == [("A", "succeeded")], "it may be running"
    elsewhere = _record(5.5, "deploy", "D", "deploy D", environment="production")
    after = _record(9, "deploy", "C", "deploy C")
    done = _record(9.5, "deploy", "C", "deploy C", outcome="succeeded")
    told = with_audit(found, "staging", [killed, elsewhere, after, done])
    assert _ended(told) == [("A", "succeeded"), ("B", "interrupted"), ("C", "succeeded")]
    assert counts(told)[0].success_rate == 2 / 3


def test_a_killed_run_is_counted_though_the_same_version_is_deployed_within_a_second() -> None:
    found = _attempts(_deploy(0, "A"), _deploy(5.02, "A"))
    killed, again = _record(5, "deploy", "A", "deploy A"), _record(5.03, "deploy", "A", "deploy A")
    done = _record(5.2, "deploy", "A", "deploy A", outcome="deployed")
    first = [_record(-0.01, "deploy", "A", "deploy A"), _record(0.1, "deploy", "A", "deploy A", outcome="deployed")]
    told = with_audit(found, "staging", [*first, killed, again, done])
    assert _ended(told) == [("A", "succeeded"), ("A", "interrupted"), ("A", "succeeded")]


def test_a_run_that_a_person_interrupted_is_counted_once() -> None:
    begun = _record(5, "deploy", "B", "deploy B")
    ended = _record(5.1, "deploy", "B", "deploy B", outcome="interrupted")
    assert _ended(with_audit(_attempts(_deploy(0, "A")), "staging", [begun, ended])) == [
        ("A", "succeeded"),
        ("B", "interrupted"),
    ]
    told = with_audit(_attempts(_deploy(0, "A"), _deploy(5, "B", result="failed")), "staging", [begun, ended])
    assert _ended(told) == [("A", "succeeded"), ("B", "failed")]


def test_a_step_that_was_killed_leaves_its_rollout_undecided() -> None:
    found = _attempts(_deploy(0, "A"), _step(1, "A", "B"))
    killed = _record(2, "canary", "A", "rollout A (candidate B at 50 %)")
    assert with_audit(found, "staging", [killed, _record(3, "unlock", "", "remove the lock")]) == found


def test_an_update_that_the_audit_log_calls_failed_has_failed() -> None:
    found = _attempts(_deploy(0, "A"), _deploy(5, "B"), _rollback(6, "A"), _deploy(8, "B"))
    begun = _record(4.99, "deploy", "B", "deploy B")
    failed = _record(5.5, "deploy", "B", "deploy B", outcome="failed")
    told = with_audit(found, "staging", [begun, failed])
    assert _ended(told) == [("A", "succeeded"), ("B", "failed"), ("A", "succeeded"), ("B", "succeeded")]
    (row,) = counts(told)
    assert (row.started, row.succeeded, row.failed, row.rolled_back, row.rollbacks) == (3, 2, 1, 0, 1)
