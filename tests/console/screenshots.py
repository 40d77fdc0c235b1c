"""Takes the pictures of docs/console/ from a console that runs.

    python -m tests.console.screenshots 'http://127.0.0.1:8765/sign-in#…' docs/console

The address is the one-time address that the console printed. What the pages show is what its stack has at the time.
"""

import argparse
import sys
import time
from pathlib import Path

from selenium.webdriver.common.by import By

from tests.browser.conftest import open_browser
from tests.console.conftest import until

_WIDTH, _TALLEST = 1200, 1500
_SETTLED_SECONDS = 4.0
_PAGES = {
    "overview": "/",
    "registry": "/registry",
    "version": "/registry/{version}",
    "compare": "/compare?v={version}&v={other}",
    "environment": "/environments/development",
    "difference": "",
    "why": "/environments/development/why",
    "rollout": "/environments/development/rollout",
    "endpoint": "/environments/development/endpoint",
    "try": "/environments/development/try",
    "decisions": "/environments/development/decisions",
    "audit": "/audit",
    "action": "/actions/rollback?environment=development",
}


def main(address: str, directory: Path, names: list[str]) -> int:
    """Signs in and takes the pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    browser, url = open_browser(f"--window-size={_WIDTH},900"), address.partition("/sign-in")[0]
    try:
        browser.get(address)
        until(browser, lambda it: "Overview" in it.title)
        browser.get(f"{url}/registry")
        ids = [each.get_attribute("value") for each in browser.find_elements(By.NAME, "v")]
        for name, path in _PAGES.items():
            if names and name not in names:
                continue
            if path:
                browser.get(url + path.format(version=ids[0], other=ids[-1]))
            else:
                browser.get(f"{url}/environments/development")
                browser.find_element(By.CSS_SELECTOR, "form[action='/difference'] button:not(.copy)").click()
            time.sleep(_SETTLED_SECONDS)
            browser.set_window_size(_WIDTH, 900)
            height = browser.execute_script("return document.documentElement.scrollHeight")
            browser.set_window_size(_WIDTH, min(max(height + 140, 600), _TALLEST))
            time.sleep(0.5)
            browser.save_screenshot(str(directory / f"{name}.png"))
    finally:
        browser.quit()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.console.screenshots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("address", help="the one-time address")
    parser.add_argument("directory", type=Path, help="where the pictures go")
    parser.add_argument("names", nargs="*", help="of pages; all when none is given")
    return parser


if __name__ == "__main__":
    given = _parser().parse_args()
    sys.exit(main(given.address, given.directory, given.names))
