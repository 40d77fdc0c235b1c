"""A browser without a window, and a service that has answered requests."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from selenium import webdriver

from tests.service import GOOD, Service, Setting, listening, started


def open_browser(*more: str) -> Any:
    """Opens a browser without a window; skips the test where there is none."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no Chromium with its driver here; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", *more):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    opened = open_browser()
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


def entries(browser: Any) -> list[dict[str, Any]]:
    """What the browser has logged since the last call."""
    found: list[dict[str, Any]] = browser.get_log("browser")
    return found
