"""The console of a real stack, in a real browser."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import open_browser
from tests.checkout import Checkout, Deployed
from toolchain import cache

_AXE = "axe-core@4.10.3"
_ADDRESS = re.compile(r"http://\S+/sign-in#\S+")


@dataclass
class Running:
    """A console, and the one-time addresses that it prints."""

    url: str
    process: "subprocess.Popen[str]"
    addresses: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def sign_in(self, browser: Any) -> None:
        """Opens the last address that was printed."""
        printed = len(self.addresses)
        browser.get(self.addresses[-1])
        until(browser, lambda it: it.find_elements(By.TAG_NAME, "h1") and "Sign in" not in it.title)
        until(browser, lambda _it: len(self.addresses) > printed)

    def read(self, stream: Any) -> None:
        for line in stream:
            self.lines.append(line)
            self.addresses += _ADDRESS.findall(line)


def until(browser: Any, true: Callable[[Any], Any], seconds: float = 30.0) -> Any:
    """Waits for the page."""
    return WebDriverWait(browser, seconds, ignored_exceptions=[Exception]).until(true)


def start_console(checkout: Checkout, **environment: str) -> Running:
    """Starts the console as a person does."""
    process = subprocess.Popen(
        [sys.executable, "scripts/deploy_model.py", "console", "--port", "0", "--json"],
        cwd=checkout.root,
        env={**checkout.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    running = Running(told["url"], process, [told["sign_in"]])
    threading.Thread(target=running.read, args=(process.stderr,), daemon=True).start()
    return running


def stop_console(running: Running) -> None:
    running.process.terminate()
    assert running.process.wait(timeout=30) in (0, -15)


@pytest.fixture(scope="module")
def running(deployed: Deployed) -> Iterator[Running]:
    started = start_console(deployed.checkout)
    yield started
    stop_console(started)


@pytest.fixture(scope="module")
def browser(running: Running) -> Iterator[Any]:
    opened = open_browser()
    running.sign_in(opened)
    yield opened
    opened.quit()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, from its npm package."""
    target = cache.entry("axe-core", cache.digest(_AXE.encode()))
    with cache.exclusive(target, print):
        if not target.exists():
            cache.publish(target, _install_axe)
    return (target / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _install_axe(directory: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", _AXE]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)


def wait_for_history(browser: Any, running: Running) -> None:
    """The console reads the stack's history beside its pages."""
    browser.get(f"{running.url}/environments/development")
    until(browser, lambda it: it.find_elements(By.CSS_SELECTOR, "tbody tr"), 60)
