"""Everything except predictions: health, metrics, the model, its documentation, and a page that shows how it goes."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving.http.documentation import documentation_routes
from serving.http.messages import Health, Live, Model, OverrideShown, Ready
from serving.http.openapi import openapi
from serving.http.state import ServiceState
from serving.observability.exposition import exposition
from serving.observability.logs import records_lost
from serving.observability.resources import resources_in_use

_NO_STORE = {"Cache-Control": "no-store"}
"""Answers are of this moment, and many need a key: no proxy keeps them."""

Handler = Callable[[Request], Awaitable[Response]]


def create_pages(state: ServiceState) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The application that answers all of them; a path is looked up as it is, and was authorized so."""
    routes: dict[str, Handler] = {
        "/": _status_page(),
        "/health": _health(state),
        "/health/live": _live,
        "/health/ready": _ready(state),
        "/metrics": _metrics(state),
        "/status": _status(state),
        "/model": _model(state),
        "/openapi.json": _fixed(_json(openapi(state))),
        **documentation_routes(),
    }

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        response = await routes[scope["path"]](Request(scope, receive))
        await response(scope, receive, send)

    return answer


async def _live(_request: Request) -> Response:
    return _json(Live("alive"))


def _ready(state: ServiceState) -> Handler:
    async def ready(_request: Request) -> Response:
        metadata = state.model.metadata
        status = "draining" if state.draining else "ready"
        return _json(Ready(status, metadata.model_id, metadata.digest, os.getpid()), 503 if state.draining else 200)

    return ready


def _health(state: ServiceState) -> Handler:
    async def health(_request: Request) -> Response:
        model = state.model
        return _json(
            Health(
                status="draining" if state.draining else "healthy",
                environment=state.settings.environment,
                deployment=state.settings.deployment_name,
                model_id=model.metadata.model_id,
                digest=model.metadata.digest,
                runtime=model.runtime.name,
                proven=model.proven,
                loaded_at=model.loaded_at,
                load_seconds=round(model.load_seconds, 3),
                uptime_seconds=round(time.monotonic() - state.started, 3),
                resources=_resources(state),
                versions=dict(model.metadata.library_versions),
                override=_shown(state),
            )
        )

    return health


def _resources(state: ServiceState) -> dict[str, Any]:
    found = resources_in_use()
    if state.member is not None:
        together = state.member.written()
        found |= {"memory_bytes": together.memory, "processes": together.processes}
    return found


def _metrics(state: ServiceState) -> Handler:
    async def metrics(request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        # The first call imports a library: predictions go on meanwhile.
        found = state.metrics if state.member is None else await asyncio.to_thread(state.member.gathered)
        content, content_type = await asyncio.to_thread(exposition, found, accept)
        return Response(content, headers={"Content-Type": content_type, **_NO_STORE})

    return metrics


def _status(state: ServiceState) -> Handler:
    async def status(_request: Request) -> Response:
        if state.member is None:
            found = state.metrics.status()
            found.log_lines_lost = state.request_log.lost + records_lost()
        else:
            together = await asyncio.to_thread(state.member.gathered)
            found = await asyncio.to_thread(together.status)
            found.log_lines_lost, found.decisions_lost = together.lines_lost, together.decisions_lost
            found.processes = together.processes
        found.keys = state.keys_in_use()
        override = state.override_in_force()
        found.override = override.to_dict() if override else None
        return _json(found)

    return status


def _model(state: ServiceState) -> Handler:
    async def model(_request: Request) -> Response:
        served = state.model
        return _json(
            Model(
                model_id=served.metadata.model_id,
                digest=served.metadata.digest,
                threshold=served.threshold,
                runtime=served.runtime.name,
                answered={"faster_form": served.runtime.by_form, "own_library": served.runtime.by_own},
                proven=served.proven,
                manifest=served.metadata.manifest(),
            )
        )

    return model


def _shown(state: ServiceState) -> OverrideShown | None:
    override = state.override_in_force()
    return OverrideShown(override.answer, override.ends) if override else None


def _status_page() -> Handler:
    page = resources.files("serving.http").joinpath("status.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return _fixed(HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}))


def _fixed(response: Response) -> Handler:
    async def answer(_request: Request) -> Response:
        return Response(response.body, headers=dict(response.headers))

    return answer


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, {**(headers or {}), **_NO_STORE}, "application/json")
