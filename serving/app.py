"""The HTTP interface: health, predictions, the model's description."""

import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from serving.auth import ApiKey, ApiKeys
from serving.logs import request_log, service_log
from serving.metrics import ServiceMetrics
from serving.model import ServedModel
from serving.resources import resources_in_use
from serving.settings import ServingSettings
from serving.transactions import FEEDBACK_FIELDS, InvalidRequest, parse_feedback, parse_rows

_OPEN_PATHS = ("/health", "/health/live", "/health/ready")
_SCOPES = {"/predict": "predict", "/feedback": "feedback", "/metrics": "admin"}
_DOCUMENTATION_PATHS = ("/docs", "/openapi.json")
_MAX_REQUEST_ID = 128


@dataclass
class ServiceState:
    """What the running service knows of itself."""

    settings: ServingSettings
    model: ServedModel
    api_keys: ApiKeys
    metrics: ServiceMetrics
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    """Set while the service finishes before it ends."""


def create_app(state: ServiceState) -> FastAPI:
    """The application for one loaded model."""
    development = state.settings.environment == "development"
    app = FastAPI(
        title="Fraud detection",
        version=state.model.metadata.model_id,
        # The page tells outsiders what the model takes; only development shows it without a key.
        docs_url="/docs" if development else None,
        redoc_url=None,
        openapi_url="/openapi.json" if development else None,
    )
    app.state.service = state
    app.middleware("http")(_request_frame(state))
    _add_health(app, state)
    _add_model(app, state)
    _add_predict(app, state)
    _add_feedback(app, state)
    return app


def _request_frame(
    state: ServiceState,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Around every request: its id, the key, the size of its body, one line in the log."""

    async def frame(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        request.state.request_id = _request_id(request)
        request.state.api_key = None
        response = _refusal(request, state)
        if response is None:
            try:
                response = await proceed(request)
            except Exception:
                service_log.exception("a request failed", extra={"fields": {"request_id": request.state.request_id}})
                response = _error(request, 500, "internal", "the service failed; its log has the request id")
        response.headers["X-Request-ID"] = request.state.request_id
        _log(request, response.status_code, started, state)
        return response

    return frame


def _refusal(request: Request, state: ServiceState) -> Response | None:
    """The answer to a request that goes no further; None for one that does."""
    path = request.url.path
    if path in _OPEN_PATHS:
        return None
    if path in _DOCUMENTATION_PATHS and state.settings.environment == "development":
        return None
    key = state.api_keys.find(request.headers)
    if key is None:
        response = _error(request, 401, "unauthorized", "a known API key is needed in X-API-Key or as a bearer token")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    request.state.api_key = key
    scope = _SCOPES.get(path)
    if scope is not None and scope not in key.scopes:
        return _error(request, 403, "forbidden", f"key {key.name!r} does not have the scope {scope}")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > state.settings.max_body_bytes:
        return _too_large(request, state)
    return None


def _add_health(app: FastAPI, state: ServiceState) -> None:
    @app.get("/health/live", summary="Whether the process runs")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/health/ready", summary="Whether the model answers")
    async def ready() -> Response:
        body = {
            "status": "draining" if state.draining else "ready",
            "model_id": state.model.metadata.model_id,
            "digest": state.model.metadata.digest,
            "process": os.getpid(),
        }
        return JSONResponse(body, 503 if state.draining else 200)

    @app.get("/health", summary="Model, resources and versions")
    async def health() -> dict[str, Any]:
        return {
            "status": "draining" if state.draining else "healthy",
            "environment": state.settings.environment,
            "deployment": state.settings.deployment_name,
            "model_id": state.model.metadata.model_id,
            "digest": state.model.metadata.digest,
            "loaded_at": state.model.loaded_at,
            "load_seconds": round(state.model.load_seconds, 3),
            "uptime_seconds": round(time.monotonic() - state.started, 3),
            "resources": resources_in_use(),
            "versions": dict(state.model.metadata.library_versions),
        }

    @app.get("/metrics", summary="Metrics in Prometheus's text format")
    async def metrics() -> Response:
        return Response(state.metrics.prometheus(), media_type="text/plain; version=0.0.4")


def _add_model(app: FastAPI, state: ServiceState) -> None:
    @app.get("/model", summary="The manifest of the model that answers")
    async def model() -> dict[str, Any]:
        metadata = state.model.metadata
        return {
            "model_id": metadata.model_id,
            "digest": metadata.digest,
            "threshold": state.model.threshold,
            "manifest": metadata.manifest(),
        }


def _add_predict(app: FastAPI, state: ServiceState) -> None:
    names, max_batch = state.model.feature_names, state.settings.max_batch

    @app.post("/predict", summary="The probability of fraud", openapi_extra=_predict_documentation(names, max_batch))
    async def predict(request: Request) -> Response:
        body = await _read_body(request, state.settings.max_body_bytes)
        if body is None:
            return _too_large(request, state)
        try:
            rows = parse_rows(body, names, max_batch)
        except InvalidRequest as error:
            return _error(request, 422, error.code, str(error), error.field)
        probabilities = state.model.probabilities(rows)
        request.state.decisions = sum(value >= state.model.threshold for value in probabilities)
        state.metrics.decisions(rows, request.state.decisions)
        return JSONResponse(
            {
                "model_id": state.model.metadata.model_id,
                "request_id": request.state.request_id,
                "threshold": state.model.threshold,
                "predictions": [
                    {"fraud_probability": value, "is_fraud": value >= state.model.threshold} for value in probabilities
                ],
            }
        )


def _add_feedback(app: FastAPI, state: ServiceState) -> None:
    item = {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in FEEDBACK_FIELDS},
        "required": list(FEEDBACK_FIELDS),
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item, "minItems": 1}},
        "required": ["items"],
    }
    documentation = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    @app.post("/feedback", summary="What became of decisions", openapi_extra=documentation)
    async def feedback(request: Request) -> Response:
        body = await _read_body(request, state.settings.max_body_bytes)
        if body is None:
            return _too_large(request, state)
        try:
            outcomes = parse_feedback(body, state.settings.max_batch)
        except InvalidRequest as error:
            return _error(request, 422, error.code, str(error), error.field)
        right = sum(predicted == actual for predicted, actual in outcomes)
        state.metrics.feedback(right, len(outcomes) - right)
        return JSONResponse({"request_id": request.state.request_id, "taken": len(outcomes)})


async def _read_body(request: Request, limit: int) -> bytes | None:
    """The body; None when it is larger than allowed, whatever its header claimed."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


def _predict_documentation(names: tuple[str, ...], max_batch: int) -> dict[str, Any]:
    transaction = {
        "type": "object",
        "properties": {name: {"type": "number"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
    one = {"type": "object", "properties": {"transaction": transaction}, "required": ["transaction"]}
    many = {
        "type": "object",
        "properties": {"transactions": {"type": "array", "items": transaction, "minItems": 1, "maxItems": max_batch}},
        "required": ["transactions"],
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [one, many]}}}}}


def _too_large(request: Request, state: ServiceState) -> JSONResponse:
    limit = state.settings.max_body_bytes
    response = _error(request, 413, "body_too_large", f"the body has more than {limit} bytes")
    # What is left of the body is not read; the connection cannot be used again.
    response.headers["Connection"] = "close"
    return response


def _error(request: Request, status: int, code: str, message: str, where: str | None = None) -> JSONResponse:
    error = {"code": code, "message": message, "request_id": request.state.request_id}
    if where is not None:
        error["field"] = where
    return JSONResponse({"error": error}, status)


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if 0 < len(given) <= _MAX_REQUEST_ID and given.isprintable() else uuid.uuid4().hex


def _log(request: Request, status: int, started: float, state: ServiceState) -> None:
    if request.url.path in _OPEN_PATHS:
        return
    state.metrics.request(status, (time.perf_counter() - started) * 1000)
    key: ApiKey | None = request.state.api_key
    fields = {
        "request_id": request.state.request_id,
        "key": key.name if key else None,
        "model_id": state.model.metadata.model_id,
        "method": request.method,
        "path": request.url.path,
        "status": status,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        "frauds": getattr(request.state, "decisions", None),
    }
    request_log.info("request", extra={"fields": fields})
