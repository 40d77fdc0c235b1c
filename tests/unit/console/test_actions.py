"""Actions: what would change is shown first, a reason is asked for, roles count, and the audit log names the person."""

import json
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from console.sessions import Person
from model_store.registry.aliases import Aliases
from tests.unit.console.conftest import Opened, digest_in


def _alias(opened: Opened, browser: TestClient, change: Callable[..., Any], alias: str, **more: str) -> Any:
    page = browser.get("/actions/alias", params={"model_id": opened.plain, "alias": alias}).text
    fields = {"model_id": opened.plain, "alias": alias, "reason": "best of October", "preview": digest_in(page)}
    return change(browser, "/actions/alias", **{**fields, **more})


def test_an_alias_is_moved_after_its_preview(opened: Opened, browser: TestClient, change: Callable[..., Any]) -> None:
    page = browser.get("/actions/alias", params={"model_id": opened.plain, "alias": "champion"}).text
    assert "fraud_detector@champion" in page
    answer = _alias(opened, browser, change, "champion")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/registry/{opened.plain}")
    assert Aliases(opened.registry).of("fraud_detector")["champion"] == opened.plain
    record = opened.registry.audit.record(opened.registry.audit.head().sequence)
    assert (record.action, record.actor, record.reason) == ("alias", opened.registry.actor, "best of October")
    assert record.details["through"].startswith("console of ")


def test_without_a_reason_nothing_is_done(opened: Opened, browser: TestClient, change: Callable[..., Any]) -> None:
    answer = _alias(opened, browser, change, "unreasoned", reason="  ")
    assert answer.status_code == 409
    assert "a reason is needed" in answer.text
    assert "unreasoned" not in Aliases(opened.registry).of("fraud_detector")


def test_a_preview_that_is_no_longer_true_is_shown_again(
    opened: Opened, browser: TestClient, change: Callable[..., Any]
) -> None:
    page = browser.get("/actions/alias", params={"model_id": opened.plain, "alias": "moving"}).text
    Aliases(opened.registry).set("fraud_detector", "moving", opened.hostile, "somebody else")
    fields = {"model_id": opened.plain, "alias": "moving", "reason": "why", "preview": digest_in(page)}
    answer = change(browser, "/actions/alias", **fields)
    assert answer.status_code == 409
    assert "something has changed" in answer.text
    assert Aliases(opened.registry).of("fraud_detector")["moving"] == opened.hostile


def test_a_person_without_the_right_is_refused_and_the_refusal_is_recorded(
    opened: Opened, reader: TestClient, change: Callable[..., Any]
) -> None:
    page = reader.get("/actions/alias", params={"model_id": opened.plain, "alias": "taken"}).text
    assert "mallory is a reader; alias needs the role promoter" in page
    assert "disabled" in page
    fields = {"model_id": opened.plain, "alias": "taken", "reason": "why", "preview": digest_in(page)}
    answer = change(reader, "/actions/alias", **fields)
    assert answer.status_code == 403
    record = opened.registry.audit.record(opened.registry.audit.head().sequence)
    assert (record.action, record.details["attempted"]) == ("refused", "alias")
    assert record.actor == "oidc:https://issuer.example:mallory"
    assert "taken" not in Aliases(opened.registry).of("fraud_detector")


def test_a_person_whom_the_policy_names_acts_under_the_own_name(opened: Opened, change: Callable[..., Any]) -> None:
    from model_store.registry.granting import grant

    actor = "oidc:https://issuer.example:petra"
    grant(opened.registry, actor, "promoter", reason="on call")
    browser = opened.browser_of(Person(actor, "petra"))
    assert _alias(opened, browser, change, "petras").status_code == 303
    record = opened.registry.audit.record(opened.registry.audit.head().sequence)
    assert (record.actor, record.action) == (actor, "alias")


def test_a_status_is_set_with_evidence_and_an_approval_is_given_by_another_one(
    opened: Opened, browser: TestClient, change: Callable[..., Any]
) -> None:
    query = {"model_id": opened.hostile, "status": "validated"}
    page = browser.get("/actions/status", params=query).text
    fields = {**query, "reason": "read the report", "preview": digest_in(page)}
    files = {"evidence": ("../../report.txt", b"recall 0.93 on the holdout", "text/plain")}
    assert change(browser, "/actions/status", files, **fields).status_code == 303
    state = opened.registry.state(opened.hostile)
    assert state["status"] == "validated"
    assert state["evidence"][0]["name"] == "report.txt"
    page = browser.get("/actions/approve", params={"model_id": opened.hostile}).text
    assert "registered or imported it; somebody else has to approve it" in page


def test_a_transition_that_is_not_allowed_is_refused_in_the_preview(opened: Opened, browser: TestClient) -> None:
    page = browser.get("/actions/status", params={"model_id": opened.plain, "status": "trained"}).text
    assert "trained does not lead to trained" in page


def test_a_rollout_that_is_not_there_cannot_be_promoted(browser: TestClient) -> None:
    page = browser.get("/actions/promote", params={"environment": "development"}).text
    assert "no candidate is being tried in development" in page


def test_the_registry_is_searched_filtered_and_sorted(opened: Opened, browser: TestClient) -> None:
    def ids(**query: str) -> list[str]:
        return [
            row["model_id"] for row in json.loads(browser.get("/registry", params={**query, "format": "json"}).text)
        ]

    assert ids() == [opened.hostile, opened.plain]
    assert ids(q="october trained") == [opened.plain]
    assert ids(tag="monthly") == [opened.plain]
    assert ids(metric="accuracy>0.9, auc>0.8") == [opened.plain]
    assert ids(sort="-accuracy") == [opened.plain, opened.hostile]
    assert ids(name="nobody") == []
    assert "condition" in browser.get("/registry", params={"metric": "accuracy"}).text


def test_two_versions_are_compared(opened: Opened, browser: TestClient) -> None:
    page = browser.get("/compare", params={"v": [opened.plain, opened.hostile]})
    assert "trained on October" in page.text
    rows = json.loads(browser.get("/compare", params={"v": [opened.plain, opened.hostile], "format": "json"}).text)
    assert {"metric": "auc", opened.plain: 0.9, opened.hostile: None} in rows


def test_the_audit_log_is_filtered_exported_and_proven(
    opened: Opened, browser: TestClient, change: Callable[..., Any]
) -> None:
    page = browser.get("/audit", params={"action": "register", "model_id": opened.plain}).text
    assert page.count('<tr><td><a href="/audit/') == 1
    lines = browser.get("/audit", params={"format": "json"}).text.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    proof = change(browser, "/audit/prove").text
    assert "are a chain" in proof


def test_a_link_from_another_site_finds_the_session_again(opened: Opened, browser: TestClient) -> None:
    assert browser.get("/session").json() == {"signed_in": True}
    assert opened.browser().get("/session").json() == {"signed_in": False}
