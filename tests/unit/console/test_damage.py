"""Damage in the registry: a page opens all the same, and says what is damaged."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from console.acting import open_registry_as
from console.app import make_app
from console.sessions import Person
from console.settings import ConsoleSettings
from console.state import Console
from tests.unit.console.conftest import OWN, PORT
from tests.unit.model_store.making import register


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "registry").mkdir()
    for name in ("MODEL_REGISTRY_URL", "MODEL_KEY", "MODEL_KEY_FILE", "MODEL_KMS_KEY", "MODEL_ACCESS_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/.state")
    return tmp_path


def _browser(checkout: Path) -> TestClient:
    console = Console.of(ConsoleSettings(checkout, PORT))
    console.histories.refresh()
    browser = TestClient(make_app(console), base_url=OWN, follow_redirects=False, raise_server_exceptions=False)
    cookie = console.settings.cookie
    browser.cookies.set(cookie, console.sessions.start(Person("", "tester")))
    return browser


def _register(checkout: Path) -> tuple[str, str]:
    registry = open_registry_as(checkout, "")
    return register(registry, name="fraud_detector"), register(registry, name="fraud_detector")


def test_a_damaged_record_hides_no_other_one(checkout: Path) -> None:
    _register(checkout)
    registry = open_registry_as(checkout, "")
    count = registry.audit.head().sequence
    (first, *_) = sorted((checkout / "registry" / "audit").rglob("*.json"))
    first.write_text("{}")
    browser = _browser(checkout)
    page = browser.get("/audit")
    assert page.status_code == 200
    assert "damaged" in page.text
    assert f'href="/audit/{count}"' in page.text
    lines = browser.get("/audit", params={"format": "json"}).text.splitlines()
    assert len(lines) == count
    assert "damaged" in json.loads(lines[0])


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model_id": 1}', "\0"])
@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_a_damaged_version_hides_no_other_one(checkout: Path, name: str, content: str) -> None:
    damaged, whole = _register(checkout)
    (file,) = (checkout / "registry" / "models").rglob(f"{damaged}/{name}")
    file.chmod(0o644)
    file.write_text(content)
    browser = _browser(checkout)
    assert browser.get("/").status_code == 200
    page = browser.get("/registry")
    assert page.status_code == 200
    assert whole in page.text
    assert browser.get(f"/registry/{whole}").status_code == 200
    answer = browser.get(f"/registry/{damaged}")
    assert damaged in answer.text
    assert "something unexpected" not in answer.text
    both = browser.get("/compare", params={"v": [damaged, whole]})
    assert both.status_code == 200
    assert "something unexpected" not in both.text


def test_a_registry_that_cannot_be_read_does_not_hide_what_serves(checkout: Path) -> None:
    _register(checkout)
    (checkout / "registry" / "access.json").write_text("{")
    browser = _browser(checkout)
    page = browser.get("/")
    assert "development" in page.text.lower()
    for path in ("/", "/registry", "/audit", "/environments/development", "/environments/development/rollout"):
        assert "something unexpected" not in browser.get(path).text, path


@pytest.mark.parametrize(
    "path",
    [
        f"/registry?page={'9' * 5000}",
        "/registry?page=%E0%A5%A7",
        f"/audit?before={'9' * 5000}",
        f"/audit/{'9' * 5000}",
        f"/environments/development?page={'9' * 5000}",
        "/audit?since=yesterday",
        "/audit?until=0001-01-01T00:00%2B14:00",
        "/audit?since=9999-12-31",
        "/audit?since=0001-01-01",
        "/environments/development?at=9999-12-31T23:59Z",
        "/environments/development?at=0001-01-01",
        "/environments/development/why?at=0001-01-01T00:00%2B14:00",
        "/environments/development?format=xml",
        "/registry?format=csv&table=nothing",
        "/registry?metric=a%3E1e999",
        "/registry?sort=-",
        "/compare?v=a&v=b&v=c&v=d&v=e&v=f",
        "/actions/rollback",
        "/actions/rollback?environment=x",
        "/actions/status",
        "/actions/alias?model_id=x",
        "/difference",
        "/registry/@",
        "/registry/a:b",
    ],
)
def test_no_address_is_unexpected(checkout: Path, path: str) -> None:
    answer = _browser(checkout).get(path)
    assert answer.status_code in (200, 400, 404)
    assert "something unexpected" not in answer.text


def test_the_times_of_a_search_are_those_of_their_zone(checkout: Path) -> None:
    _register(checkout)
    registry = open_registry_as(checkout, "")
    at = registry.audit.record(1).at
    browser = _browser(checkout)

    def count(**query: str) -> int:
        return len(browser.get("/audit", params={**query, "format": "json"}).text.splitlines())

    day = at[:10]
    assert count() == count(since=day, until=day) > 0
    # An hour before the first record, in the zone of Kiribati, is a day later on its calendar.
    from datetime import datetime, timedelta, timezone

    there = (datetime.fromisoformat(at) - timedelta(hours=1)).astimezone(timezone(timedelta(hours=14)))
    assert count(since=there.isoformat(timespec="seconds")) == count()
    assert count(until=there.isoformat(timespec="seconds")) == 0
    page = browser.get("/audit", params={"since": "yesterday"})
    assert "that is not a time" in page.text
