"""Every page in a real browser, against a real stack: what it shows, that it keeps its policy, that all can use it."""

import csv
import io
import json
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import entries, open_browser
from tests.checkout import Deployed
from tests.console.conftest import Running, start_console, stop_console, until, wait_for_history

pytestmark = pytest.mark.timeout(600)
_PAGES = (
    "/",
    "/registry",
    "/registry/{version}",
    "/compare?v={version}&v={other}",
    "/environments/development",
    "/environments/development?at=2001-01-01",
    "/environments/development/rollout",
    "/environments/development/endpoint",
    "/environments/development/try",
    "/environments/development/why",
    "/environments/production",
    "/audit",
    "/audit/1",
    "/decisions",
    "/actions/rollback?environment=development",
    "/actions/approve?model_id={version}",
    "/nothing",
)


@pytest.fixture(scope="module", autouse=True)
def past(deployed: Deployed) -> None:
    """A deploy, a rollback and traffic to look at."""
    checkout = deployed.checkout
    checkout.deploy_model(
        "deploy", deployed.second, "development", "--config", str(checkout.template), "--reason", "compare with before"
    )
    checkout.deploy_model("rollback", "development", "--reason", "callers complain")
    body = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    headers = {"X-API-Key": checkout.api_key()}
    transaction = body.get("transaction") or body["transactions"][0]
    for _ in range(12):
        sent = {"transactions": [transaction] * 50}
        httpx.post(
            f"{checkout.url}/predict", json=sent, headers=headers, timeout=30, trust_env=False
        ).raise_for_status()


def _paths(deployed: Deployed) -> list[str]:
    return [path.format(version=deployed.first, other=deployed.second) for path in _PAGES]


def test_no_page_breaks_its_policy_or_asks_elsewhere_and_axe_finds_nothing_serious(
    browser: Any, running: Running, deployed: Deployed, axe: str
) -> None:
    wait_for_history(browser, running)
    found = []
    for theme in ("light", "dark"):
        browser.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        entries(browser)
        for path in _paths(deployed):
            browser.get(f"{running.url}{path}")
            until(browser, lambda it: it.find_elements(By.TAG_NAME, "h1"))
            # The page's policy lets no script of a test in; the driver's own protocol does.
            browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
            told = browser.execute_async_script(
                "const done = arguments[0]; axe.run().then((r) => done(r.violations.map((v) => "
                "[v.impact, v.id, v.nodes.map((n) => n.target.join(' ')).slice(0, 3).join(', ')])))"
            )
            found += [(theme, path, *each) for each in told if each[0] in ("serious", "critical")]
            loaded = browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
            assert all(name.startswith(running.url) for name in loaded)
        severe = [entry for entry in entries(browser) if entry["level"] == "SEVERE"]
        assert not [entry for entry in severe if "404" not in entry["message"]]
    assert found == []


def test_the_overview_tells_version_since_by_whom_and_health(
    browser: Any, running: Running, deployed: Deployed
) -> None:
    wait_for_history(browser, running)
    browser.get(f"{running.url}/")
    card = browser.find_element(By.CSS_SELECTOR, "section[aria-label=development]")
    # All requests of this test are the same transaction, so that drift may be an alarm by now.
    until(browser, lambda _it: any(health in card.text for health in ("healthy", "alarm")))
    assert deployed.first in card.text
    assert "callers complain" in card.text
    assert "UTC by" in card.text
    until(browser, lambda _it: "requests/s\n-" not in card.text)


def test_three_questions_are_answered_within_three_clicks(browser: Any, running: Running, deployed: Deployed) -> None:
    """As somebody who has the address alone: the clicks are counted and printed."""
    wait_for_history(browser, running)
    transcript = []

    def click(what: str, selector: str) -> None:
        element = until(browser, lambda it: it.find_element(By.CSS_SELECTOR, selector))
        browser.execute_script("arguments[0].scrollIntoView()", element)
        element.click()
        transcript.append(what)

    browser.get(f"{running.url}/")
    click("Why, on the card", "section[aria-label=development] a[href$='/why']")
    lead = until(browser, lambda it: it.find_element(By.CSS_SELECTOR, ".lead")).text
    assert deployed.first in lead
    assert "put it there: callers complain" in lead
    who = len(transcript)

    browser.get(f"{running.url}/")
    click("Development", "header a[href='/environments/development']")
    field = browser.find_element(By.NAME, "at")
    field.send_keys(browser.find_element(By.CSS_SELECTOR, "tbody tr:nth-child(2) time").get_attribute("datetime"))
    click("show", ".filters button")
    assert f"{deployed.second} served from" in until(browser, lambda it: it.find_element(By.TAG_NAME, "main")).text
    when = len(transcript) - who

    browser.get(f"{running.url}/")
    click("Development", "header a[href='/environments/development']")
    click("Rollout", ".tabs a[href$='/rollout']")
    assert "no candidate is being tried" in until(browser, lambda it: it.find_element(By.ID, "rollout")).text
    better = len(transcript) - who - when
    print(f"clicks: who put it there and why {who}, what served then {when}, is the candidate better {better}")
    print(" > ".join(transcript))
    assert max(who, when, better) <= 3


def test_the_registry_is_searched_as_one_types_and_versions_are_compared(
    browser: Any, running: Running, deployed: Deployed
) -> None:
    browser.get(f"{running.url}/registry")
    browser.find_element(By.NAME, "q").send_keys(deployed.second)
    until(browser, lambda it: it.find_element(By.ID, "versions").text.startswith("1 version "))
    assert f"q={deployed.second}" in browser.current_url
    browser.find_element(By.NAME, "q").send_keys(Keys.CONTROL, "a")
    browser.find_element(By.NAME, "q").send_keys(Keys.DELETE)
    until(browser, lambda it: it.find_element(By.ID, "versions").text.startswith("3 versions"))
    for model_id in (deployed.first, deployed.second):
        browser.find_element(By.CSS_SELECTOR, f"input[value='{model_id}']").click()
    browser.find_element(By.CSS_SELECTOR, "button.compare").click()
    until(browser, lambda it: "Compare" in it.title)
    assert browser.find_elements(By.CSS_SELECTOR, "svg.chart circle")
    assert "digest" in browser.find_element(By.TAG_NAME, "main").text


def test_the_timeline_draws_a_rollback_as_one_and_two_deployments_differ(browser: Any, running: Running) -> None:
    wait_for_history(browser, running)
    assert browser.find_elements(By.CSS_SELECTOR, "svg line.back")
    assert browser.find_elements(By.CSS_SELECTOR, "svg rect.rollback")
    browser.find_element(By.CSS_SELECTOR, "form[action='/difference'] button:not(.copy)").click()
    until(browser, lambda it: "Difference" in it.title)
    assert "model version" in browser.find_element(By.TAG_NAME, "main").text


def test_the_endpoint_shows_rates_percentiles_and_both_histograms(browser: Any, running: Running) -> None:
    browser.get(f"{running.url}/environments/development/endpoint")
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "#endpoint .draw canvas"), 60)
    until(browser, lambda it: "drift of each feature" in it.find_element(By.ID, "endpoint").text, 60)
    browser.refresh()
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "svg rect.now"), 60)
    assert browser.find_elements(By.CSS_SELECTOR, "svg rect.then")


def test_another_threshold_is_simulated_on_a_file(browser: Any, running: Running, tmp_path: Any) -> None:
    file = tmp_path / "labelled.csv"
    file.write_text("fraud_probability,was_fraud\n" + "0.9,1\n0.2,0\n0.6,0\n0.4,1\n" * 25)
    browser.get(f"{running.url}/environments/development/endpoint")
    browser.find_element(By.NAME, "file").send_keys(str(file))
    browser.find_element(By.CSS_SELECTOR, "form[enctype] button").click()
    until(browser, lambda it: "alerts a day" in it.find_element(By.ID, "simulation").text)
    assert "100 transactions, 50 frauds" in browser.find_element(By.ID, "simulation").text
    slider = browser.find_element(By.ID, "threshold")
    slider.send_keys(Keys.END)
    until(browser, lambda it: it.find_element(By.ID, "at-threshold").text.startswith("0.99: precision -"))


def test_the_form_of_the_contract_asks_the_endpoint_and_shows_the_command(
    browser: Any, running: Running, deployed: Deployed
) -> None:
    browser.get(f"{running.url}/environments/development/try")
    field = browser.find_element(By.CSS_SELECTOR, "[data-feature=amount]")
    field.clear()
    field.send_keys("777")
    assert '"amount":777' in browser.find_element(By.ID, "curl").text
    browser.find_element(By.CSS_SELECTOR, "form.contract button").click()
    until(browser, lambda it: "fraud_probability" in it.find_element(By.ID, "answer").text)
    assert deployed.first in browser.find_element(By.ID, "answer").text
    assert deployed.checkout.api_key() not in browser.page_source


def test_a_table_comes_as_csv_and_json_and_an_id_can_be_copied(browser: Any, running: Running) -> None:
    wait_for_history(browser, running)
    cookie = {each["name"]: each["value"] for each in browser.get_cookies()}
    address = f"{running.url}/environments/development"
    text = httpx.get(f"{address}?format=csv", cookies=cookie, trust_env=False).text
    rows = json.loads(httpx.get(f"{address}?format=json", cookies=cookie, trust_env=False).text)
    assert len(list(csv.DictReader(io.StringIO(text)))) == len(rows) >= 3
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    button = browser.find_element(By.CSS_SELECTOR, "tbody button.copy")
    button.click()
    until(browser, lambda _it: "copied" in button.get_attribute("class"))


def test_times_are_shown_in_the_zone_of_the_person(browser: Any, running: Running) -> None:
    wait_for_history(browser, running)
    browser.find_element(By.ID, "zone").click()
    moment = browser.find_element(By.CSS_SELECTOR, "tbody time")
    assert "UTC" not in moment.text
    assert "UTC" in moment.get_attribute("title")
    browser.find_element(By.ID, "zone").click()
    assert "UTC" in moment.text


def test_everything_is_reached_by_keyboard(browser: Any, running: Running) -> None:
    browser.get(f"{running.url}/")
    seen = []
    for _ in range(25):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.execute_script("return document.activeElement.textContent.trim()"))
    assert seen[0] == "to the content"
    assert {"Registry", "Audit", "UTC", "dark / light", "why"} <= set(seen)


def test_a_phone_has_no_page_wider_than_itself(running: Running, deployed: Deployed) -> None:
    phone = open_browser("--window-size=500,800")
    try:
        running.sign_in(phone)
        phone.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
        )
        for path in _paths(deployed):
            phone.get(f"{running.url}{path}")
            until(phone, lambda it: it.find_elements(By.TAG_NAME, "h1"))
            assert phone.execute_script("return document.documentElement.scrollWidth") <= 391, path
    finally:
        phone.quit()


def test_a_session_without_the_right_can_look_and_not_act(deployed: Deployed, tmp_path: Any) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": {"role": "reader"}}')
    limited = start_console(deployed.checkout, MODEL_ACCESS_POLICY=str(policy))
    person = open_browser()
    try:
        limited.sign_in(person)
        person.get(f"{limited.url}/actions/alias?model_id={deployed.first}&alias=champion")
        assert "is a reader; alias needs the role promoter" in person.find_element(By.TAG_NAME, "main").text
        assert not person.find_element(By.CSS_SELECTOR, "button.do").is_enabled()
        person.execute_script("document.querySelector('button.do').disabled = false")
        person.find_element(By.NAME, "reason").send_keys("I try")
        person.find_element(By.CSS_SELECTOR, "button.do").click()
        until(person, lambda it: "is a reader" in it.find_element(By.TAG_NAME, "main").text)
        assert "champion" not in deployed.checkout.manage_models("alias", "list").stdout
    finally:
        person.quit()
        stop_console(limited)
