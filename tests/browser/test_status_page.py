"""The status page in a real browser: what it shows without a key, with a wrong one and with the right one."""

from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import entries
from tests.service import Service, Setting


def _until(browser: Any, words: str, element_id: str) -> None:
    WebDriverWait(browser, 15).until(lambda it: words in it.find_element(By.ID, element_id).text)


def test_the_model_is_shown_without_a_key_and_the_numbers_are_not(
    browser: Any, service: Service, setting: Setting
) -> None:
    browser.get(f"{service.url}/")
    _until(browser, setting.model_id, "model")
    _until(browser, "healthy", "state")
    assert not browser.find_element(By.ID, "live").is_displayed()


def test_a_wrong_key_is_reported_and_a_right_one_shows_the_last_minute(
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
    severe = [entry for entry in entries(browser) if entry["level"] == "SEVERE"]
    assert not [entry for entry in severe if "401" not in entry["message"]]
