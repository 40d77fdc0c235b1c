"""Signing in by OpenID Connect: the authorization code flow with PKCE, state and nonce, by Authlib.

A person is `oidc:<issuer>:<subject>`, the issuer without `https://`, as the registry's policy and the audit log name
the subjects of CI jobs. The policy gives the roles; a person whom it does not name has its default.
"""

import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.guard import own_path
from console.sessions import Person
from conventions import exit_codes
from conventions.regular_files import read_json, read_text
from model_store.errors import AccessDenied, InvalidInput
from stacks.errors import StacksError

_FIELDS = {"issuer", "client_id", "client_secret_file", "public_url", "name_claim"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BEGUN_SECONDS, _MOST_BEGUN = 600.0, 1000
_SUBJECT, _LONGEST_NAME = re.compile(r"[!-)+-~]{1,255}"), 100
"""Of a subject no character is a space, or the asterisk that in a policy stands for everything."""
START, CALLBACK = "/oidc/start", "/oidc/callback"


class IssuerSilent(StacksError):
    """The issuer of the sign-in does not answer, or answers as none."""

    exit_code = exit_codes.ENDPOINT_SILENT


@dataclass(frozen=True)
class OidcSettings:
    """Whom people sign in with."""

    issuer: str
    client_id: str
    client_secret: str
    public_url: str
    """The address of the console that people open."""
    name_claim: str = "email"
    """The claim that the screen shows as the person's name."""

    @classmethod
    def from_file(cls, path: Path) -> "OidcSettings":
        """Reads a JSON object: `issuer`, `client_id`, `client_secret_file`, `public_url`, and `name_claim` (`email`).

        Raises:
            InvalidInput: the file cannot be read, a field is missing or unknown, or an address is not https.
        """
        try:
            content = read_json(path)
            if not isinstance(content, dict) or not _FIELDS - {"name_claim"} <= set(content) <= _FIELDS:
                raise InvalidInput(f"{path}: the fields are {', '.join(sorted(_FIELDS))}; name_claim may be left out")
            texts = {name: str(value) for name, value in content.items()}
            secret = read_text(path.parent / texts.pop("client_secret_file")).strip()
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path}: cannot be read ({error})") from None
        for name in ("issuer", "public_url"):
            _require_safe(path, name, texts[name])
        texts["public_url"] = _origin(path, texts["public_url"])
        return cls(client_secret=secret, **texts)


def _require_safe(path: Path, name: str, address: str) -> None:
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or local) or not parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(
            f"{path}: {name} is {address!r}; allowed: an https address, such as https://login.example.com"
        )


def _origin(path: Path, address: str) -> str:
    """The address as browsers send it in `Host` and `Origin`: without a path, a usual port and capitals."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.path.strip("/") or parts.username or port == -1:
        raise InvalidInput(f"{path}: public_url is {address!r}; allowed: an address without a path: the console is all")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")


class OidcSignIn:
    """The sign-ins that have begun, and what becomes of them.

    Args:
        settings: whom people sign in with.
    """

    def __init__(self, settings: OidcSettings) -> None:
        from authlib.integrations.starlette_client import OAuth

        self.settings = settings
        self.cookie = "__Host-console-begun" if settings.public_url.startswith("https:") else "console-begun"
        self._begun: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()
        oauth = OAuth()
        oauth.register(
            "console",
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "trust_env": False},
        )
        self._client = oauth.create_client("console")

    async def start(self, request: Request) -> Response:
        """Sends the browser to the issuer; what it has to bring back is kept here, by a cookie of its own."""
        from authlib.integrations.base_client import OAuthError
        from httpx import HTTPError

        name, kept = secrets.token_urlsafe(32), {"next": own_path(request.query_params.get("next", "/"))}
        request.scope["session"] = kept
        try:
            await self._require_issuer()
            answer: Response = await self._client.authorize_redirect(request, f"{self.settings.public_url}{CALLBACK}")
        except (OAuthError, HTTPError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise IssuerSilent(
                f"{self.settings.issuer} does not tell how to sign in ({type(error).__name__}); try again, or see "
                "whether the console reaches it"
            ) from None
        self._begun[name] = (time.monotonic() + _BEGUN_SECONDS, kept)
        while len(self._begun) > _MOST_BEGUN:
            self._begun.popitem(last=False)
        answer.set_cookie(
            self.cookie,
            name,
            max_age=int(_BEGUN_SECONDS),
            httponly=True,
            samesite="lax",  # the issuer sends the browser back from another site
            secure=self.settings.public_url.startswith("https:"),
            path="/",
        )
        return answer

    async def person(self, request: Request) -> tuple[Person, str]:
        """The person whom the issuer has sent back, and the page that was asked for.

        Raises:
            AccessDenied: the sign-in was not begun in this browser, is too old, or the issuer's token proves nothing.
        """
        from authlib.integrations.base_client import OAuthError
        from httpx import HTTPError
        from joserfc.errors import JoseError

        ends, kept = self._begun.pop(request.cookies.get(self.cookie, ""), (0.0, {}))
        if ends < time.monotonic():
            raise AccessDenied("this sign-in was not begun in this browser, or longer than ten minutes ago; try again")
        request.scope["session"] = kept
        try:
            token = await self._client.authorize_access_token(request)
            claims = token["userinfo"]
            subject = _subject(claims["sub"])
        except (OAuthError, JoseError, HTTPError, KeyError, TypeError, ValueError) as error:
            raise AccessDenied(f"the issuer's answer proves nothing ({type(error).__name__}); try again") from None
        issuer = self.settings.issuer.removeprefix("https://").rstrip("/")
        given = claims.get(self.settings.name_claim)
        name = " ".join(given.split())[:_LONGEST_NAME] if isinstance(given, str) else ""
        return Person(f"oidc:{issuer}:{subject}", name or subject), str(kept.get("next", "/"))

    async def _require_issuer(self) -> None:
        """Raises ValueError unless the issuer's own description is that of the issuer in the settings."""
        told = await self._client.load_server_metadata()
        if str(told.get("issuer", "")).rstrip("/") != self.settings.issuer.rstrip("/"):
            # What it told is not kept: the next sign-in asks again.
            self._client.server_metadata.pop("_loaded_at", None)
            raise ValueError("the description is another issuer's")


def _subject(given: object) -> str:
    """The subject, as the standard has it: at most 255 printable ASCII characters.

    Raises:
        ValueError: it is none; it could be taken for another person's.
    """
    if not isinstance(given, str) or not _SUBJECT.fullmatch(given):
        raise ValueError("not a subject")
    return given


async def start(request: Request) -> Response:
    """Begins a sign-in."""
    found: OidcSignIn = request.app.state.oidc
    return await found.start(request)


async def callback(request: Request) -> Response:
    """Ends a sign-in with a new session; one that the browser had before ends."""
    from console.pages.sign_in import start_session
    from console.state import console_of

    found: OidcSignIn = request.app.state.oidc
    person, wanted = await found.person(request)
    answer = RedirectResponse(wanted, 303)
    answer.delete_cookie(found.cookie, path="/")
    start_session(request, console_of(request), answer, person)
    return answer
