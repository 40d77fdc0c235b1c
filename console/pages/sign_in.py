"""Signing in by a one-time token, and out."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from console.guard import own_path, session_of
from console.sessions import Person
from console.state import Console, console_of
from console.templating import environment, page


def sign_in_page(request: Request) -> Response:
    """Asks for the token; the script takes it from the address after `#`, which no server and no log gets."""
    return _page(request, "", 200)


def sign_in(request: Request, form: Mapping[str, Any]) -> Response:
    """Exchanges a token for a new session; a session that the browser had before ends."""
    console = console_of(request)
    person = console.sessions.redeem(str(form.get("token", "")))
    if person is None:
        return _page(request, "this token is not known: it was used, or is older than ten minutes", 403)
    answer = RedirectResponse(own_path(str(form.get("next", "/"))), 303)
    start_session(request, console, answer, person)
    return answer


def start_session(request: Request, console: Console, answer: Response, person: Person) -> None:
    """Ends the session that the browser had, and gives it a new one of a person."""
    settings = console.settings
    console.sessions.end(request.cookies.get(settings.cookie, ""))
    request.app.state.signed_in(person)
    value = console.sessions.start(person)
    answer.set_cookie(
        settings.cookie, value, httponly=True, samesite="strict", secure=settings.scheme == "https", path="/"
    )


def _page(request: Request, problem: str, status: int) -> Response:
    from starlette.responses import HTMLResponse

    wanted, oidc = own_path(request.query_params.get("next", "/")), request.app.state.oidc
    html = (
        environment()
        .get_template("sign_in.html")
        .render(next=wanted, problem=problem, issuer=oidc.settings.issuer if oidc else "", title="Sign in")
    )
    return HTMLResponse(html, status)


def has_session(request: Request) -> Response:
    """Tells the sign-in page whether the browser has a session: a link from another site comes without its cookie."""
    return JSONResponse({"signed_in": session_of(request) is not None})


def sign_out(request: Request, _form: Mapping[str, Any]) -> Response:
    """Ends the session."""
    console = console_of(request)
    console.sessions.end(request.cookies.get(console.settings.cookie, ""))
    by_tokens = request.app.state.oidc is None
    how = "the console prints a new address on its terminal" if by_tokens else f"{console.settings.url} signs in again"
    answer = PlainTextResponse(f"signed out; {how}\n")
    answer.headers["Clear-Site-Data"] = '"cache"'
    answer.delete_cookie(console.settings.cookie, path="/")
    return answer


def another_browser(request: Request, _form: Mapping[str, Any]) -> Response:
    """A one-time address for another browser of the same person."""
    console = console_of(request)
    token = console.sessions.new_token(session_of(request).person)
    return page(request, "part_address.html", address=f"{console.settings.url}/sign-in#{token}")
