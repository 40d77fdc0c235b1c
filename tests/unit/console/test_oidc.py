"""Signing in by OpenID Connect, at a small issuer on this machine that signs real tokens."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from console.app import make_app
from console.oidc import OidcSettings, OidcSignIn
from model_store.errors import InvalidInput
from tests.unit.console.conftest import OWN, Opened


@dataclass
class Issuer:
    """Signs everybody in who asks, as `petra`."""

    url: str = ""
    key: Any = field(default_factory=lambda: jwk.RSAKey.generate_key(2048, {"kid": "one"}))
    claims: dict[str, Any] = field(default_factory=dict)
    """What a token has otherwise than it should."""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/keys", lambda _request: JSONResponse({"keys": [self.key.as_dict(private=False)]})),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def _metadata(self, _request: Request) -> Response:
        found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        found |= {
            f"{name}_endpoint": f"{self.url}/{path}"
            for name, path in (("authorization", "authorize"), ("token", "token"))
        }
        return JSONResponse({**found, "id_token_signing_alg_values_supported": ["RS256"]})

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked["code"] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?code=code&state={asked['state']}")

    async def _token(self, request: Request) -> Response:
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.asked.pop(sent["code"])
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        if challenge != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.url, "aud": "console", "sub": "42", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode(
            {"alg": "RS256", "kid": "one"}, {**claims, "email": "petra@example.com", **self.claims}, self.key
        )
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": token})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    server = uvicorn.Server(uvicorn.Config(made.app(), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield made
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def browser(opened: Opened, issuer: Issuer) -> TestClient:
    issuer.claims = {}
    settings = OidcSettings(issuer.url, "console", "secret", OWN)
    app = make_app(opened.console, issuer=OidcSignIn(settings))
    return TestClient(app, base_url=OWN, follow_redirects=False)


def _at_issuer(browser: TestClient) -> str:
    """Begins a sign-in, and returns the address that the issuer sends the browser back to."""
    begun = browser.get("/oidc/start", params={"next": "/registry"})
    return str(httpx.get(begun.headers["Location"], trust_env=False).headers["Location"])


def test_a_person_signs_in_and_acts_under_the_issuers_name(browser: TestClient, opened: Opened, issuer: Issuer) -> None:
    assert f"sign in with {issuer.url}" in browser.get("/sign-in").text
    back = _at_issuer(browser)
    answer = browser.get(back)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/registry")
    cookies = " ".join(answer.headers.get_list("Set-Cookie"))
    assert "SameSite=strict" in cookies
    assert "HttpOnly" in cookies
    session = opened.console.sessions.find(browser.cookies[opened.console.settings.cookie])
    assert session is not None
    assert session.person.actor == f"oidc:{issuer.url}:42"
    assert "petra@example.com" in browser.get("/registry").text
    page = browser.get("/actions/alias", params={"model_id": opened.plain, "alias": "x"}).text
    assert "is a reader; alias needs the role promoter" in page


def test_no_token_and_no_other_browser_signs_in(browser: TestClient, opened: Opened, issuer: Issuer) -> None:
    assert browser.post("/sign-in", data={"token": "x"}, headers={"Origin": OWN}).status_code == 405
    back = _at_issuer(browser)
    other = TestClient(browser.app, base_url=OWN, follow_redirects=False)
    answer = other.get(back)
    assert answer.status_code == 403
    assert "not begun in this browser" in answer.text
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 403, "what was begun ends once"
    assert urlsplit(back).path == "/oidc/callback"


@pytest.mark.parametrize(
    "claims", [{"aud": "another"}, {"iss": "https://evil.example"}, {"exp": 1}, {"nonce": "old"}], ids=str
)
def test_a_token_for_others_proves_nothing(browser: TestClient, issuer: Issuer, claims: dict[str, Any]) -> None:
    issuer.claims = claims
    answer = browser.get(_at_issuer(browser))
    assert answer.status_code == 403
    assert "proves nothing" in answer.text


def test_a_token_of_another_key_proves_nothing(browser: TestClient, issuer: Issuer) -> None:
    back, own = _at_issuer(browser), issuer.key
    try:
        issuer.key = jwk.RSAKey.generate_key(2048, {"kid": "one"})
        published = own.as_dict(private=False)
        issuer.key.as_dict = lambda private=True: published
        assert browser.get(back).status_code == 403
    finally:
        issuer.key = own


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"issuer": "http://login.example.com"}, "allowed: an https address"),
        ({"public_url": "console.example.com"}, "allowed: an https address"),
        ({"more": "x"}, "the fields are"),
        ({"client_secret_file": "nowhere"}, "cannot be read"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, str], told: str) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    good = {
        "issuer": "https://login.example.com",
        "client_id": "console",
        "client_secret_file": "secret",
        "public_url": "https://console.example.com",
    }
    file = tmp_path / "oidc.json"
    file.write_text(json.dumps(good))
    assert OidcSettings.from_file(file).client_secret == "s3cret"
    file.write_text(json.dumps({**good, **change}))
    with pytest.raises(InvalidInput, match=told):
        OidcSettings.from_file(file)
