"""Swagger UI in a real browser: it shows the paths and features, asks with a key, and breaks no policy."""

from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import entries
from tests.service import FEATURES, Service, Setting


def test_the_document_is_shown_and_a_request_is_answered(browser: Any, service: Service, setting: Setting) -> None:
    entries(browser)
    browser.get(f"{service.url}/docs")
    wait = WebDriverWait(browser, 20)
    wait.until(lambda it: it.find_elements(By.CSS_SELECTOR, ".opblock"))
    paths = {
        each.text.replace("\u200b", "") for each in browser.find_elements(By.CSS_SELECTOR, ".opblock-summary-path")
    }
    assert {"/predict", "/feedback", "/health", "/metrics"} <= paths
    _authorize(browser, setting.api_key)
    operation = browser.find_element(By.CSS_SELECTOR, ".opblock-post")
    operation.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
    wait.until(lambda _: operation.find_elements(By.CSS_SELECTOR, ".try-out__btn"))
    assert all(name in operation.text for name in FEATURES)
    operation.find_element(By.CSS_SELECTOR, ".try-out__btn").click()
    wait.until(lambda _: operation.find_elements(By.CSS_SELECTOR, ".execute"))
    browser.execute_script("arguments[0].click()", operation.find_element(By.CSS_SELECTOR, ".execute"))
    wait.until(lambda _: "fraud_probability" in operation.find_element(By.CSS_SELECTOR, ".live-responses-table").text)
    assert setting.model_id in operation.find_element(By.CSS_SELECTOR, ".live-responses-table").text
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert all(name.startswith((service.url, "data:")) for name in loaded)
    assert not [entry for entry in entries(browser) if entry["level"] == "SEVERE"]


def _authorize(browser: Any, key: str) -> None:
    wait = WebDriverWait(browser, 20)
    browser.find_element(By.CSS_SELECTOR, ".btn.authorize").click()
    field = wait.until(lambda it: it.find_element(By.CSS_SELECTOR, ".auth-container input"))
    field.send_keys(key)
    browser.find_element(By.CSS_SELECTOR, ".modal-btn.authorize").click()
    browser.find_element(By.CSS_SELECTOR, ".btn-done").click()
