"""Everything except predictions: health, metrics, the model, its documentation, and a page that shows how it goes."""

import html
import json
import os
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.http.openapi import openapi
from serving.http.state import ServiceState
from serving.observability.resources import resources_in_use

_STYLE = (
    "<style>body{font:15px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:1rem;overflow:auto}td,th{text-align:left;padding:.2rem .8rem .2rem 0}</style>"
)

Handler = Callable[[Request], Awaitable[Response]]


def create_pages(state: ServiceState) -> Starlette:
    """The application that answers all of them."""
    document = openapi(state)
    routes: dict[str, Handler] = {
        "/": _status_page(),
        "/health": _health(state),
        "/health/live": _live,
        "/health/ready": _ready(state),
        "/metrics": _metrics(state),
        "/status": _numbers(state),
        "/model": _model(state),
        "/openapi.json": _fixed(JSONResponse(document)),
        "/docs": _fixed(HTMLResponse(_documentation(document))),
    }
    handlers: Any = {HTTPException: _http_error}
    return Starlette(
        routes=[Route(path, handler, methods=["GET"]) for path, handler in routes.items()], exception_handlers=handlers
    )


async def _live(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


def _ready(state: ServiceState) -> Handler:
    async def ready(_request: Request) -> Response:
        body = {
            "status": "draining" if state.draining else "ready",
            "model_id": state.model.metadata.model_id,
            "digest": state.model.metadata.digest,
            "process": os.getpid(),
        }
        return JSONResponse(body, 503 if state.draining else 200)

    return ready


def _health(state: ServiceState) -> Handler:
    async def health(_request: Request) -> Response:
        return JSONResponse(
            {
                "status": "draining" if state.draining else "healthy",
                "environment": state.settings.environment,
                "deployment": state.settings.deployment_name,
                "model_id": state.model.metadata.model_id,
                "digest": state.model.metadata.digest,
                "runtime": state.model.runtime.name,
                "proven": state.model.proven,
                "loaded_at": state.model.loaded_at,
                "load_seconds": round(state.model.load_seconds, 3),
                "uptime_seconds": round(time.monotonic() - state.started, 3),
                "resources": resources_in_use(),
                "versions": dict(state.model.metadata.library_versions),
            }
        )

    return health


def _metrics(state: ServiceState) -> Handler:
    async def metrics(_request: Request) -> Response:
        return Response(state.metrics.prometheus(), media_type="text/plain; version=0.0.4")

    return metrics


def _numbers(state: ServiceState) -> Handler:
    async def numbers(_request: Request) -> Response:
        return JSONResponse(state.metrics.numbers())

    return numbers


def _model(state: ServiceState) -> Handler:
    async def model(_request: Request) -> Response:
        metadata = state.model.metadata
        return JSONResponse(
            {
                "model_id": metadata.model_id,
                "digest": metadata.digest,
                "threshold": state.model.threshold,
                "runtime": state.model.runtime.name,
                "answered": {"faster_form": state.model.runtime.by_form, "own_library": state.model.runtime.by_own},
                "proven": state.model.proven,
                "manifest": metadata.manifest(),
            }
        )

    return model


def _status_page() -> Handler:
    page = resources.files("serving.http").joinpath("status.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return _fixed(HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}))


def _fixed(response: Response) -> Handler:
    async def answer(_request: Request) -> Response:
        return Response(response.body, headers=dict(response.headers))

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": {"code": code, "message": message}}, error.status_code, headers=error.headers)


def _type_of(feature: dict[str, Any]) -> str:
    kind = feature.get("type", "number")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _documentation(document: dict[str, Any]) -> str:
    """The OpenAPI document as one page that needs nothing from elsewhere."""
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{html.escape(document['info']['title'])}</title>",
        _STYLE,
        f"<h1>{html.escape(document['info']['title'])}</h1><p>Model {html.escape(document['info']['version'])}</p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {path}</code></h2><p>{html.escape(operation['summary'])}</p>")
            rows = "".join(
                f"<tr><td>{status}<td>{html.escape(answer['description'])}"
                for status, answer in operation["responses"].items()
            )
            parts.append(f"<table><tr><th>answer<th>when{rows}</table>")
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                parts.append(f"<pre>{html.escape(json.dumps(content.get('example'), indent=1))}</pre>")
    features = document["components"]["schemas"]["Transaction"]["properties"]
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(_type_of(feature))}"
        f"<td>{html.escape(feature.get('description', ''))}"
        for name, feature in features.items()
    )
    parts.append(f"<h2>A transaction</h2><table><tr><th>feature<th>type<th>{rows}</table>")
    parts.append('<p>The same for machines: <a href="openapi.json">openapi.json</a></p>')
    return "".join(parts)
