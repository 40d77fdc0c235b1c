"""What an attacker tries on the console: each refused, and nothing of the try comes back."""

import csv
import io
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from console.guard import POLICY, own_path
from console.sessions import Person, Sessions
from tests.unit.console.conftest import FORMULA, HOSTILE, OWN, Opened, digest_in

_FORM = {"Origin": OWN}


@pytest.mark.parametrize("host", ["evil.example:8765", "127.0.0.1:8766", "localhost", "127.0.0.1.evil.example:8765"])
def test_another_name_for_the_address_is_refused_before_anything_else(browser: TestClient, host: str) -> None:
    answer = browser.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert host not in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://localhost:8765"])
def test_a_change_from_another_page_is_refused(
    opened: Opened, browser: TestClient, origin: str, change: Callable[..., Any]
) -> None:
    before = opened.registry.audit.head()
    form = _alias_form(opened, browser, change)
    answer = browser.post("/actions/alias", data=form, headers={"Origin": origin})
    assert answer.status_code == 403
    assert browser.post("/actions/alias", data=form).status_code == 403
    assert (
        browser.post("/actions/alias", data=form, headers={**_FORM, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    )
    assert opened.registry.audit.head() == before


def test_a_change_needs_the_token_of_its_own_session(
    opened: Opened, browser: TestClient, change: Callable[..., Any]
) -> None:
    before = opened.registry.audit.head()
    form = _alias_form(opened, browser, change)
    assert browser.post("/actions/alias", data={**form, "csrf": ""}, headers=_FORM).status_code == 403
    other = opened.browser_of(Person("", "another"))
    assert other.post("/actions/alias", data=form, headers=_FORM).status_code == 403
    assert opened.registry.audit.head() == before


def _alias_form(opened: Opened, browser: TestClient, _change: Callable[..., Any]) -> dict[str, str]:
    session = opened.console.sessions.find(browser.cookies[opened.console.settings.cookie])
    assert session is not None
    page = browser.get("/actions/alias", params={"model_id": opened.plain, "alias": "attacked"}).text
    fields = {"model_id": opened.plain, "alias": "attacked", "reason": "attack", "preview": digest_in(page)}
    return {**fields, "csrf": session.csrf}


def test_a_get_changes_nothing(opened: Opened, browser: TestClient) -> None:
    before = opened.registry.audit.head()
    query = {"model_id": opened.plain, "alias": "got", "reason": "link", "preview": "x", "csrf": "x"}
    assert browser.get("/actions/alias", params=query).status_code == 200
    assert opened.registry.audit.head() == before
    assert browser.get("/sign-out").status_code == 405


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" and not str(names.get("src", "")).startswith("/static/"):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        if tag in ("img", "iframe", "object", "embed", "base", "style"):
            self.found.append(tag)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/registry",
        "/registry?q={hostile}&tag={hostile}&sort={hostile}&name={hostile}",
        "/registry?metric={hostile}",
        "/registry/{version}",
        "/compare?v={version}&v={plain}",
        "/compare?v={hostile}",
        "/audit",
        "/audit?actor={hostile}&since={hostile}&until={hostile}",
        "/actions/alias?model_id={version}&alias={hostile}",
        "/actions/status?model_id={version}&status={hostile}",
        "/actions/approve?model_id={version}",
        "/actions/{hostile}",
        "/environments/development?at={hostile}",
        "/environments/development/why?at={hostile}",
        "/environments/{hostile}",
        "/difference?a={hostile}&b={hostile}",
        "/jobs/{hostile}",
        "/sign-in?next={hostile}",
    ],
)
def test_no_field_of_a_publisher_or_a_caller_becomes_markup(opened: Opened, browser: TestClient, path: str) -> None:
    from urllib.parse import quote

    filled = path.format(hostile=quote(HOSTILE, safe=""), version=quote(opened.hostile, safe=""), plain=opened.plain)
    answer = browser.get(filled)
    assert answer.status_code in (200, 400, 404)
    scripts = _Scripts()
    scripts.feed(answer.text)
    assert scripts.found == []
    assert answer.headers["Content-Security-Policy"] == POLICY


def test_the_hostile_version_is_shown_as_text(opened: Opened, browser: TestClient) -> None:
    page = browser.get(f"/registry/{opened.hostile}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_no_page_can_be_framed_or_kept_or_sniffed(browser: TestClient) -> None:
    headers = browser.get("/registry").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_a_session_that_an_attacker_has_planted_is_not_taken(opened: Opened) -> None:
    browser = opened.browser()
    cookie = opened.console.settings.cookie
    planted = opened.console.sessions.start(Person("", "attacker"))
    browser.cookies.set(cookie, planted)
    token = opened.console.sessions.new_token(Person("", "victim"))
    answer = browser.post("/sign-in", data={"token": token}, headers=_FORM)
    assert answer.status_code == 303
    set_cookie = answer.headers["Set-Cookie"]
    assert planted not in set_cookie
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    assert opened.console.sessions.find(planted) is None, "the session of before has ended"


def test_a_cookie_that_comes_twice_is_none(opened: Opened, browser: TestClient) -> None:
    name = opened.console.settings.cookie
    twice = {"Cookie": f"{name}=planted; {name}={browser.cookies[name]}"}
    assert opened.browser().get("/registry", headers=twice).status_code == 303


def test_a_token_is_good_once_and_for_ten_minutes() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    token = sessions.new_token(Person("", "ann"))
    assert sessions.redeem(f"{token}x") is None
    assert sessions.redeem(token) == Person("", "ann")
    assert sessions.redeem(token) is None
    late = sessions.new_token(Person("", "ann"))
    now[0] = 601.0
    assert sessions.redeem(late) is None


def test_a_session_ends_when_it_is_idle_and_after_a_day() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    idle, used = sessions.start(Person("", "ann")), sessions.start(Person("", "ann"))
    for hour in range(1, 24):
        now[0] = hour * 3600.0
        assert sessions.find(used) is not None
    assert sessions.find(idle) is None
    now[0] = 24 * 3600.0 + 1
    assert sessions.find(used) is None


def test_without_a_session_there_is_nothing_but_the_sign_in_page(opened: Opened) -> None:
    browser = opened.browser()
    for path in ("/", "/registry", f"/registry/{opened.plain}", "/audit?format=csv", "/events", "/jobs/x"):
        answer = browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/sign-in?next=")
        assert opened.plain not in answer.text
    assert browser.post("/sign-out", headers=_FORM).status_code == 401


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b", ""],
)
def test_after_signing_in_the_way_leads_to_this_console_alone(opened: Opened, wanted: str) -> None:
    assert own_path(wanted) == "/"
    token = opened.console.sessions.new_token(Person("", "ann"))
    answer = opened.browser().post("/sign-in", data={"token": token, "next": wanted}, headers=_FORM)
    assert answer.headers["Location"] == "/"
    assert answer.headers.get_list("Set-Cookie")[0].count("=") >= 1
    assert len(answer.headers.get_list("Set-Cookie")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/vendor/../../app.py",
        "/static//etc/passwd",
        "/registry/..%2f..%2faccess.json",
        "/registry/%2e%2e",
        "/registry/a%00b",
        "/environments/..%2f..%2f",
        "/audit/999999999",
        "/audit/-1",
    ],
)
def test_no_part_of_an_address_is_a_path_on_the_disk(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code in (400, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["/registry/a%0d%0aX-Injected:%201", "/sign-in?next=%2f%0d%0aX-Injected:%201"])
def test_no_header_can_be_injected(browser: TestClient, path: str) -> None:
    assert "X-Injected" not in browser.get(path).headers


def test_no_cell_of_a_csv_file_is_a_formula(opened: Opened, browser: TestClient) -> None:
    for path in ("/registry?format=csv", "/audit?format=csv", f"/registry/{opened.hostile}?format=csv&table=history"):
        rows = list(csv.reader(io.StringIO(browser.get(path).text)))
        assert len(rows) > 1
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert f"'{FORMULA}" in {
        cell for row in csv.reader(io.StringIO(browser.get("/registry?format=csv").text)) for cell in row
    }


def test_a_long_body_is_refused(browser: TestClient) -> None:
    answer = browser.post("/sign-in", content=b"x", headers={**_FORM, "Content-Length": str(1 << 30)})
    assert answer.status_code == 413


def test_no_secret_is_in_a_page(opened: Opened, browser: TestClient) -> None:
    cookie = browser.cookies[opened.console.settings.cookie]
    for path in ("/", "/registry", "/audit", f"/registry/{opened.plain}"):
        page = browser.get(path).text
        assert cookie not in page
        assert "PRIVATE KEY" not in page
