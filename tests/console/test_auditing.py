"""Decisions by receipt and day, and a report of a real stack: one signed page that a browser shows by itself."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from selenium.webdriver.common.by import By

from tests.browser.conftest import entries, open_browser
from tests.checkout import Deployed
from tests.console.conftest import Running, until

pytestmark = pytest.mark.timeout(600)


def test_a_report_tells_who_put_what_there_and_is_proven(deployed: Deployed, tmp_path: Any) -> None:
    checkout = deployed.checkout
    template = ("--config", str(checkout.template))
    checkout.deploy_model("deploy", deployed.second, "development", *template, "--reason", "october's <data>")
    key, page = checkout.root / ".secrets" / "report.key", tmp_path / "october.html"
    checkout.manage_models("keygen", str(key), "--signing")
    since = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    command = ("report", "development", "--since", since, "--sign-key", str(key), "--out", str(page))
    pdf = ("--pdf", str(tmp_path / "october.pdf")) if shutil.which("chromium") else ()
    assert "signed by" in checkout.deploy_model(*command, *pdf).stdout
    public = key.with_name("report.key.pub").read_text().strip()
    checkout.deploy_model("report", "--verify", str(page), "--public-key", public)
    browser = open_browser()
    try:
        browser.get(page.as_uri())
        text = browser.find_element(By.TAG_NAME, "body").text
        assert browser.find_elements(By.CSS_SELECTOR, "svg.chart rect")
        assert not [entry for entry in entries(browser) if entry["level"] == "SEVERE"]
    finally:
        browser.quit()
    assert "october's <data>" in text
    assert deployed.first in text
    assert "intact" in text
    if pdf:
        assert (tmp_path / "october.pdf").read_bytes().startswith(b"%PDF")
    page.write_bytes(page.read_bytes().replace(b"october", b"decembr", 1))
    output = checkout.deploy_model("report", "--verify", str(page), "--public-key", public, code=4).stderr
    assert "was changed after it was signed" in output
    assert checkout.deploy_model("report", "development", code=2).stderr.count("a report needs --since") == 1


def test_a_decision_is_found_by_its_receipt_and_by_day_and_features_need_a_reason(
    browser: Any, running: Running, deployed: Deployed
) -> None:
    checkout = deployed.checkout
    template = yaml.safe_load(checkout.template.read_text())
    template["service"] = {"decision_log": "logs/decisions", "decision_log_features": True}
    changed = checkout.root / "logged.yaml"
    changed.write_text(yaml.safe_dump(template))
    checkout.deploy_model("deploy", deployed.first, "development", "--config", str(changed))
    receipt = checkout.predict().json()["predictions"][0]["receipt"]
    address = f"{running.url}/environments/development/decisions"
    until(browser, lambda it: it.get(f"{address}?receipt={receipt}") or it.find_elements(By.NAME, "reason"), 60)
    main = browser.find_element(By.TAG_NAME, "main").text
    assert "genuine" in main
    assert deployed.first in main
    assert "features" not in main.split("why the features")[0]
    browser.find_element(By.NAME, "reason").send_keys("a complaint")
    browser.find_element(By.CSS_SELECTOR, "form.act button").click()
    until(browser, lambda it: "amount" in it.find_element(By.TAG_NAME, "main").text, 60)
    records = json.loads(checkout.manage_models("audit", "--json").stdout)
    assert [each["reason"] for each in records if each["action"] == "decision-features"] == ["a complaint"]
    browser.get(f"{address}?at={datetime.now(UTC).date().isoformat()}")
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "tbody tr"), 60)
    assert receipt[:16] in browser.find_element(By.TAG_NAME, "main").text
