"""What stands before every page: the host that was asked for, the session, the origin and token of a change, headers.

Each refusal is one line. Nothing of a request is repeated in an answer to it.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Collection
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.sessions import Session, Sessions

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE = ("GET", "HEAD")
_OPEN = ("/sign-in", "/session", "/signed-out")
_LARGEST_BODY = 17 << 20
"""An evidence file has 16 MiB at most."""
_LARGEST_BEFORE_SIGN_IN = 64 << 10
BODY_SECONDS = 60.0
_UNREAD = (408, 413)
"""After these the rest of a body is not read: the connection is closed."""
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"


class Guard:
    """Lets requests of signed-in people through; ASGI.

    Args:
        app: what is guarded.
        sessions: who is signed in.
        hosts: values of the Host header that mean this console; another name for its address is a rebound one.
        cookie: name of the session's cookie.
        scheme: `http`, or `https` behind a proxy that ends TLS.
    """

    def __init__(
        self, app: ASGIApp, sessions: Sessions, hosts: Collection[str], cookie: str, scheme: str = "http"
    ) -> None:
        self._app, self._sessions = app, sessions
        self._hosts, self.cookie, self._scheme = frozenset(hosts), cookie, scheme
        self.ended = threading.Event()
        """Set when the console ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session = self._sessions.find(read_cookie(headers, self.cookie))
        scope.setdefault("state", {})["session"] = session
        refusal = self._refusal(scope, headers, session)
        answer: ASGIApp = self._app if refusal is None else refusal
        await answer(scope, _bounded(receive, _most(session)), _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope, headers: Headers, session: Session | None) -> Response | None:
        if headers.get("host", "") not in self._hosts:
            return PlainTextResponse("this console does not have that name; use the address that it printed\n", 421)
        if _length(headers) > _most(session):
            return PlainTextResponse("the body is too large\n", 413)
        path, changes = scope["path"], scope["method"] not in _SAFE
        if changes and not self._is_own(headers):
            return PlainTextResponse("the request comes from another page; nothing was changed\n", 403)
        if path.startswith(("/static/", "/oidc/")) or path in _OPEN:
            return None
        if session is None:
            return _sign_in(scope, headers, changes=changes)
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a page of this console sent it: browsers add both headers themselves, and no script can set them."""
        own = f"{self._scheme}://{headers.get('host', '')}"
        return headers.get("origin") == own and headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _most(session: Session | None) -> int:
    """How long a body may be."""
    return _LARGEST_BODY if session is not None else _LARGEST_BEFORE_SIGN_IN


def _bounded(receive: Receive, most: int) -> Receive:
    """Receives a body of so many bytes at most, whatever length it announces, and within a minute."""
    deadline, seen, ended = time.monotonic() + BODY_SECONDS, 0, False

    async def receiving() -> Message:
        nonlocal seen, ended
        if ended:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time; nothing was changed") from None
        ended = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, "the body is too large; nothing was changed")
        return message

    return receiving


def _length(headers: Headers) -> int:
    """The length that a request announces; 0 of one that announces none."""
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def read_cookie(headers: Headers, name: str) -> str:
    """The value of a cookie; empty when there is none, or several that contradict each other."""
    parts = [part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";")]
    found = {value for key, _, value in parts if key == name}
    return found.pop() if len(found) == 1 else ""


def require_csrf(session: Session, given: str) -> bool:
    """Whether a change brings the token of its session."""
    return secrets.compare_digest(session.csrf.encode(), given.encode("utf-8", "replace"))


def session_of(request: Request) -> Session:
    """The session of a request that the guard let through."""
    found: Session = request.state.session
    return found


def _sign_in(scope: Scope, headers: Headers, *, changes: bool) -> Response:
    if changes or headers.get("hx-request"):
        return PlainTextResponse("sign in again; nothing was changed\n", 401, headers={"HX-Redirect": "/sign-in"})
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", 303)


def own_path(wanted: str) -> str:
    """A path of this console to go to after signing in; the overview for everything else, such as another site."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if plain and "\\" not in wanted else "/"


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if not path.startswith("/static/"):
                headers["Cache-Control"] = "no-store"
            if message["status"] in _UNREAD:
                headers["Connection"] = "close"
        await send(message)

    return sending
