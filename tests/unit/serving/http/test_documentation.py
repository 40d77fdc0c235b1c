"""The pages of Swagger UI: from this service alone, by exact path, with a strict policy, and behind a key outside."""

import re
from collections.abc import Iterator

import httpx
import pytest

from serving.http.documentation import DOCUMENTATION_PATHS
from tests.service import Service, Setting, listening, started

FILES = [path for path in DOCUMENTATION_PATHS if path != "/docs"]


@pytest.fixture(scope="module")
def service(setting: Setting) -> Iterator[Service]:
    with listening() as listener, started(setting, listener) as running:
        yield running


@pytest.fixture(scope="module")
def production(setting: Setting) -> Iterator[Service]:
    with listening() as listener, started(setting, listener, ENVIRONMENT="production") as running:
        yield running


def _get(service: Service, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    return httpx.request(method, f"{service.url}{path}", headers=headers, trust_env=False)


def test_the_page_has_no_script_style_or_address_of_its_own_inside(service: Service) -> None:
    page = _get(service, "/docs")
    assert page.status_code == 200
    assert "//" not in page.text
    assert "<style" not in page.text
    assert not re.search(r"<script(?! src=)|\son\w+=|style=", page.text)
    found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {f"/{path}" for path in found} >= set(FILES)
    for path in found:
        assert path == "data:," or _get(service, f"/{path}").status_code == 200


def test_the_policy_allows_this_service_and_nothing_inside_the_page(service: Service) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in _get(service, "/docs").headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)


@pytest.mark.parametrize("path", DOCUMENTATION_PATHS)
def test_each_page_has_its_type_and_is_asked_for_again(service: Service, path: str) -> None:
    answer = _get(service, path)
    kinds = {"css": "text/css", "js": "text/javascript"}
    assert answer.headers["Content-Type"].split(";")[0] == kinds.get(path.rpartition(".")[2], "text/html")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    head = _get(service, path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert _get(service, path, "POST").status_code == 405


def test_a_file_that_the_browser_has_is_not_sent_again(service: Service) -> None:
    tag = _get(service, "/docs/swagger-ui.css").headers["ETag"]
    again = _get(service, "/docs/swagger-ui.css", **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%2f..%2f..%2fetc%2fpasswd",
        "/docs//etc/passwd",
        "/docs/index.html",
        "/docs/swagger-ui-bundle.js.map",
        "/docs/swagger-ui.css/",
        "/docs/swagger-ui.css%00.html",
        "/docs/../serving/http/auth.py",
        "/docs/\\..\\start.js",
    ],
)
def test_documentation_serves_no_other_file(service: Service, setting: Setting, path: str) -> None:
    answer = _raw(service, path, f"X-API-Key: {setting.api_key}\r\n")
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 307")), answer[:200]
    assert b"root:" not in answer


def _raw(service: Service, path: str, headers: str = "") -> bytes:
    """The answer to a path that no client has put in order."""
    import socket

    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        pieces = iter(lambda: connection.recv(65536), b"")
        return b"".join(pieces)


@pytest.mark.parametrize("path", [*DOCUMENTATION_PATHS, "/openapi.json"])
def test_outside_development_everything_needs_a_key(production: Service, setting: Setting, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert _get(production, path, method).status_code == 401
        assert _get(production, path, method, **{"X-API-Key": "wrong"}).status_code == 401
        assert _get(production, path, method, **{"X-API-Key": setting.limited_key}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/status", "/model"])
def test_live_pages_are_sent_with_no_store(production: Service, setting: Setting, path: str) -> None:
    assert _get(production, path, **{"X-API-Key": setting.api_key}).headers["Cache-Control"] == "no-store"


def test_the_format_of_the_metrics_follows_the_accept_header(service: Service, setting: Setting) -> None:
    key = {"X-API-Key": setting.api_key}
    assert _get(service, "/metrics", **key).headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for accept in ("application/openmetrics-text", "application/openmetrics-text; version=abc"):
        answer = _get(service, "/metrics", Accept=accept, **key)
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert answer.text.endswith("# EOF\n")
