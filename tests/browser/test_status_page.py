"""The status page in a real browser: what it shows without a key, with a wrong one and with the right one."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.service import GOOD, Service, Setting, listening, started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no Chromium with its driver here; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def service(setting: Setting) -> Iterator[Service]:
    with listening() as listener, started(setting, listener) as running:
        rows = np.random.default_rng(0).normal(size=(600, 3)).round(3).tolist()
        headers = {"X-API-Key": setting.api_key}
        for start in range(0, 600, 50):
            body = {"transactions": [dict(zip(GOOD, row, strict=True)) for row in rows[start : start + 50]]}
            httpx.post(f"{running.url}/predict", json=body, headers=headers, trust_env=False).raise_for_status()
        yield running


def _until(browser: Any, words: str, element_id: str) -> None:
    WebDriverWait(browser, 15).until(lambda it: words in it.find_element(By.ID, element_id).text)


def test_the_model_is_shown_without_a_key_and_the_numbers_are_not(
    browser: Any, service: Service, setting: Setting
) -> None:
    browser.get(f"{service.url}/")
    _until(browser, setting.model_id, "model")
    _until(browser, "healthy", "state")
    assert not browser.find_element(By.ID, "live").is_displayed()


def test_a_wrong_key_is_told_and_the_right_one_shows_the_last_minute(
    browser: Any, service: Service, setting: Setting
) -> None:
    browser.get(f"{service.url}/")
    field = browser.find_element(By.ID, "key")
    field.send_keys("wrong")
    browser.find_element(By.TAG_NAME, "button").click()
    _until(browser, "a known API key is needed", "said")
    field.clear()
    field.send_keys(setting.api_key)
    browser.find_element(By.TAG_NAME, "button").click()
    _until(browser, "p95 ms", "tiles")
    assert browser.find_element(By.ID, "said").text == ""
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [entry for entry in severe if "401" not in entry["message"]]
