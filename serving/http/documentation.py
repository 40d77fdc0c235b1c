"""The OpenAPI document for people: Swagger UI, with its own distribution from `swagger_ui_bundle`.

The page loads its script and style from this service alone, and has no script or style of its own inside.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

_PAGE = "/docs"
_DISTRIBUTION = ("swagger-ui.css", "swagger-ui-bundle.js")
_START = "start.js"
DOCUMENTATION_PATHS = (_PAGE, *(f"{_PAGE}/{name}" for name in (*_DISTRIBUTION, _START)))
_HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI's style has its icons inside, as `data:` images."""

_Handler = Callable[[Request], Awaitable[Response]]


def documentation_routes() -> dict[str, _Handler]:
    """The page and its files, by path."""
    from swagger_ui_bundle import swagger_ui_path

    page = resources.files("serving.http").joinpath("docs.html").read_text(encoding="utf-8")
    start = resources.files("serving.http").joinpath("docs.js").read_text(encoding="utf-8")
    distribution = StaticFiles(directory=swagger_ui_path)
    return {
        _PAGE: _fixed(lambda: HTMLResponse(page, headers={**_HEADERS, "Content-Security-Policy": _POLICY})),
        f"{_PAGE}/{_START}": _fixed(lambda: Response(start, headers=_HEADERS, media_type="text/javascript")),
        **{f"{_PAGE}/{name}": _file(distribution, name) for name in _DISTRIBUTION},
    }


def _fixed(response: Callable[[], Response]) -> _Handler:
    async def answer(_request: Request) -> Response:
        return response()

    return answer


def _file(distribution: StaticFiles, name: str) -> _Handler:
    async def answer(request: Request) -> Response:
        scope: Any = request.scope
        response = await distribution.get_response(name, scope)
        response.headers.update(_HEADERS)
        return response

    return answer
