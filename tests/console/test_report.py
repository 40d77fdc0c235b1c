"""A report of a real stack: one signed page that a browser shows without asking anybody."""

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.browser.conftest import entries, open_browser
from tests.checkout import Deployed

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
