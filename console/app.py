"""The application: routes, what comes before and after them, and errors as pages."""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console import oidc
from console.guard import CSRF_FIELD, CSRF_HEADER, Guard, require_csrf, session_of
from console.oidc import OidcSignIn
from console.pages import acting, audit, decisions, endpoint, environments, overview, registry, rollout, sign_in, try_it
from console.sessions import Person
from console.state import Console
from console.templating import page
from conventions import exit_codes
from infra.errors import ConfigError
from model_store.errors import ModelStoreError
from stacks.errors import StacksError

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_STATUS = {
    exit_codes.NOT_FOUND: 404,
    exit_codes.UNKNOWN_ENVIRONMENT: 404,
    exit_codes.NO_PRIOR_VERSION: 404,
    exit_codes.INVALID_INPUT: 400,
    exit_codes.REFUSED: 403,
    exit_codes.CONFLICT: 409,
    exit_codes.STACK_BUSY: 409,
    exit_codes.ROLLOUT_CONFLICT: 409,
    exit_codes.ENDPOINT_SILENT: 502,
}
_Form = Mapping[str, Any]
_Changing = Callable[[Request, _Form], Response]
_LARGEST_PART = 17 << 20


def make_app(
    console: Console, signed_in: Callable[[Person], None] = lambda _person: None, issuer: OidcSignIn | None = None
) -> Guard:
    """The console as an ASGI application.

    Args:
        console: what the pages show.
        signed_in: told when somebody has signed in.
        issuer: whom people sign in with; None: by one-time tokens.
    """
    app = Starlette(routes=_routes(by_tokens=issuer is None), exception_handlers=_handlers())
    app.state.oidc = issuer
    settings = console.settings
    guarded = Guard(app, console.sessions, settings.hosts, settings.cookie, settings.scheme)
    app.state.console, app.state.signed_in, app.state.ended = console, signed_in, guarded.ended
    return guarded


def _routes(*, by_tokens: bool) -> list[Route]:
    of = "/environments/{environment}"
    return [
        Route("/", overview.overview),
        Route("/events", overview.overview_events),
        Route("/registry", registry.registry),
        Route("/registry/{model_id}", registry.version),
        Route("/compare", registry.compare),
        Route(of, environments.environment),
        Route(f"{of}/why", environments.why),
        Route(f"{of}/rollout", rollout.rollout),
        Route(f"{of}/rollout/events", rollout.rollout_events),
        Route(f"{of}/endpoint", endpoint.endpoint),
        Route(f"{of}/endpoint/events", endpoint.endpoint_events),
        Route(f"{of}/simulate", changing(endpoint.simulate), methods=["POST"]),
        Route(f"{of}/try", try_it.try_it),
        Route(f"{of}/try", changing(try_it.ask), methods=["POST"]),
        Route("/difference", environments.difference),
        Route("/audit", audit.audit),
        Route("/audit/prove", changing(lambda request, _form: audit.prove(request)), methods=["POST"]),
        Route("/audit/{number}", audit.record),
        Route("/decisions", decisions.all_decisions),
        Route(f"{of}/decisions", decisions.decisions),
        Route(f"{of}/decisions", changing(decisions.with_features), methods=["POST"]),
        Route(f"{of}/simulate-log", changing(endpoint.simulate_log), methods=["POST"]),
        Route("/actions/{action}", acting.preview),
        Route("/actions/{action}", changing(acting.carry_out), methods=["POST"]),
        Route("/jobs/{job}", acting.job),
        Route("/jobs/{job}/events", acting.job_events),
        Route("/sign-in", sign_in.sign_in_page),
        Route("/session", sign_in.has_session),
        Route("/sign-out", changing(sign_in.sign_out), methods=["POST"]),
        *(_by_tokens() if by_tokens else (Route(oidc.START, oidc.start), Route(oidc.CALLBACK, oidc.callback))),
        *_static_routes(),
    ]


def _by_tokens() -> list[Route]:
    return [
        Route("/sign-in", changing(sign_in.sign_in, signed_in=False), methods=["POST"]),
        Route("/another-browser", changing(sign_in.another_browser), methods=["POST"]),
    ]


def changing(handler: _Changing, *, signed_in: bool = True) -> Callable[[Request], Awaitable[Response]]:
    """A handler of POST: reads the form and requires the session's token before anything else.

    Args:
        handler: takes the request and the form.
        signed_in: whether there is a session; without one the guard has checked the origin.
    """

    async def handle(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=2000, max_part_size=_LARGEST_PART) as form:
            if signed_in:
                given = request.headers.get(CSRF_HEADER) or str(form.get(CSRF_FIELD, ""))
                if not require_csrf(session_of(request), given):
                    return PlainTextResponse("the form is of another session; nothing was changed\n", 403)
            return await run_in_threadpool(handler, request, form)

    return handle


def _static_routes() -> list[Route]:
    """A route for each file, by its exact path: no part of an address is a path on the disk."""
    return [
        Route(f"/static/{path.relative_to(_STATIC).as_posix()}", _static(path))
        for path in sorted(_STATIC.rglob("*"))
        if path.suffix in _KINDS
    ]


def _static(path: Path) -> Callable[[Request], Response]:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}

    def static(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_KINDS[path.suffix], headers=headers)

    return static


def _handlers() -> dict[Any, Any]:
    return {
        ModelStoreError: _known_error,
        StacksError: _known_error,
        ConfigError: _known_error,
        HTTPException: _http_error,
        Exception: _unknown_error,
    }


async def _known_error(request: Request, error: Exception) -> Response:
    code = getattr(error, "exit_code", exit_codes.FAILED)
    return _error_page(request, _STATUS.get(code, 500), str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these
    told = "there is no such page" if error.status_code == 404 else error.detail
    return _error_page(request, error.status_code, told)


async def _unknown_error(request: Request, error: Exception) -> Response:
    _LOG.error("%s failed", request.scope.get("path", ""), exc_info=error)
    return _error_page(request, 500, "something unexpected; the console's own output says what")


def _error_page(request: Request, status: int, message: str) -> Response:
    if session_of(request) is None:
        return PlainTextResponse(f"{message}\n", status)
    return page(request, "error.html", status, title="Not done" if status != 404 else "Not found", message=message)
