"""Actions in a real browser: preview, reason, progress, and the audit log; a canary that is watched to its end."""

import json
import subprocess
import sys
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.browser.conftest import open_browser
from tests.checkout import Deployed
from tests.console.conftest import Running, until, wait_for_history
from tests.engine.load import constant_load

pytestmark = pytest.mark.timeout(900)
_RATE = 120


def _act(browser: Any, reason: str) -> None:
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "button.do"))
    browser.find_element(By.NAME, "reason").send_keys(reason)
    browser.find_element(By.CSS_SELECTOR, "button.do").click()


def _job(browser: Any) -> str:
    until(browser, lambda it: "running" not in it.find_element(By.ID, "job").text, 240)
    return str(browser.find_element(By.ID, "job").text)


def test_an_alias_and_a_status_are_moved_and_recorded(browser: Any, running: Running, deployed: Deployed) -> None:
    browser.get(f"{running.url}/registry/{deployed.second}")
    browser.find_element(By.NAME, "alias").send_keys("champion")
    browser.find_element(By.XPATH, "//button[text()='point it here']").click()
    _act(browser, "best of October")
    until(browser, lambda it: f"/registry/{deployed.second}" in it.current_url)
    assert "champion" in browser.find_element(By.TAG_NAME, "main").text
    browser.find_element(By.LINK_TEXT, "set staged").click()
    _act(browser, "goes to staging")
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "p .tag.staged"))
    records = json.loads(deployed.checkout.manage_models("audit", "--json").stdout)
    alias = next(record for record in records if record["action"] == "alias")
    assert (alias["reason"], alias["model_id"]) == ("best of October", deployed.second)
    assert alias["details"]["through"].startswith("console of ")


def test_an_approval_takes_an_evidence_file_of_somebody_else(
    browser: Any, running: Running, deployed: Deployed, tmp_path: Any
) -> None:
    browser.get(f"{running.url}/actions/approve?model_id={deployed.first}")
    assert "somebody else has to approve it" in browser.find_element(By.TAG_NAME, "main").text
    report = tmp_path / "report.txt"
    report.write_text("recall 0.93 on the holdout")
    browser.get(f"{running.url}/actions/status?model_id={deployed.third}&status=validated")
    browser.find_element(By.NAME, "evidence").send_keys(str(report))
    _act(browser, "read the report")
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "p .tag.validated"))
    assert "report.txt for validated" in browser.find_element(By.TAG_NAME, "main").text


def test_a_rollback_shows_what_changes_and_its_progress(browser: Any, running: Running, deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.second)
    wait_for_history(browser, running)
    until(browser, lambda it: it.refresh() or deployed.second in it.find_element(By.TAG_NAME, "main").text)
    browser.find_element(By.LINK_TEXT, "roll back").click()
    shown = until(browser, lambda it: it.find_element(By.CSS_SELECTOR, "main table")).text
    assert deployed.first in shown
    assert "model digest" in shown
    _act(browser, "callers complain")
    assert "done" in _job(browser)
    assert checkout.served_model() == deployed.first
    newest = checkout.list_deployments()[0]
    assert (newest["intent"], newest["reason"]) == ("rollback", "callers complain")
    assert newest["actor"]


@pytest.fixture(scope="module")
def twin(deployed: Deployed) -> str:
    """A version with the same answers as the one that serves."""
    return str(deployed.checkout.register("xgboost_model.joblib"))


def test_a_canary_is_watched_to_its_end_by_two_browsers(
    browser: Any, running: Running, deployed: Deployed, twin: str
) -> None:
    checkout = deployed.checkout
    checkout.ensure(deployed.first)
    body = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    command = [sys.executable, "scripts/deploy_model.py", "deploy", twin, "development"]
    command += ["--config", str(checkout.template), "--strategy", "canary", "--steps", "50,100", "--interval", "15s"]
    second = open_browser()
    try:
        running.sign_in(second)
        for each in (browser, second):
            each.get(f"{running.url}/environments/development/rollout")
        with constant_load(checkout.url, checkout.api_key(), body, _RATE) as answers:
            rollout = subprocess.Popen(
                [*command, "--reason", "october's data"], cwd=checkout.root, env=checkout.environment
            )
            for each in (browser, second):
                until(each, lambda it: "at 50 %" in it.find_element(By.ID, "rollout").text, 180)
            for each in (browser, second):
                until(each, lambda it: it.find_elements(By.CSS_SELECTOR, "#rollout .draw canvas"), 120)
            seen = browser.find_element(By.ID, "rollout").text
            assert "requests left, about" in seen
            assert rollout.wait(timeout=400) == 0
            for each in (browser, second):
                until(each, lambda it: "no candidate is being tried" in it.find_element(By.ID, "rollout").text, 60)
        assert answers.failed == 0
        assert checkout.served_model() == twin
    finally:
        second.quit()


def test_a_candidate_is_withdrawn_from_the_page(browser: Any, running: Running, deployed: Deployed) -> None:
    checkout = deployed.checkout
    body = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    command = [sys.executable, "scripts/deploy_model.py", "deploy", deployed.second, "development"]
    command += ["--config", str(checkout.template), "--strategy", "canary", "--steps", "30,100", "--interval", "1h"]
    with constant_load(checkout.url, checkout.api_key(), body, 20):
        rollout = subprocess.Popen(command, cwd=checkout.root, env=checkout.environment, start_new_session=True)
        browser.get(f"{running.url}/environments/development/rollout")
        until(browser, lambda it: "at 30 %" in it.find_element(By.ID, "rollout").text, 180)
        rollout.kill()
        rollout.wait()
        until(browser, lambda it: "being changed" not in it.find_element(By.ID, "rollout").text, 60)
        browser.find_element(By.LINK_TEXT, "withdraw the candidate").click()
        assert "30 %" in until(browser, lambda it: it.find_element(By.CSS_SELECTOR, "main table")).text
        _act(browser, "callers complain")
        assert "done" in _job(browser)
    assert (
        json.loads(checkout.deploy_model("status", "development", "--json").stdout)["rollout"].get("candidate", "")
        == ""
    )
