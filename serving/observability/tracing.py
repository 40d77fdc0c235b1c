"""OpenTelemetry traces where `OTEL_EXPORTER_OTLP_ENDPOINT` is set: a span a request, joined to the caller's trace."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conventions.variables import TRACES_ENDPOINT
from serving.settings import ServingSettings


class Tracing:
    """Makes spans and exports them over OTLP, in batches, in a thread.

    Args:
        settings: of the service; named in every span.
    """

    def __init__(self, settings: ServingSettings) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.propagate import extract
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create(
            {
                "service.name": settings.deployment_name,
                "deployment.environment.name": settings.environment,
                "fraud_detection.model_id": settings.model_id,
            }
        )
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("serving")
        self._extract = extract

    @contextmanager
    def request(self, scope: dict[str, Any], route: str, request_id: str) -> Iterator[dict[str, Any]]:
        """A span around one request; what is put into the mapping becomes its attributes.

        Args:
            scope: of the request.
            route: the path, when it is one of the service's; else empty: callers make up no names of spans.
            request_id: of the request.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        found: dict[str, Any] = {}
        name = f"{scope['method']} {route}".strip()
        with self._tracer.start_as_current_span(name, context=self._extract(carrier), kind=SpanKind.SERVER) as span:
            yield found
            span.set_attributes(
                {"http.request.method": scope["method"], "url.path": route, "request_id": request_id, **found}
            )
            if found.get("http.response.status_code", 0) >= 500:
                span.set_status(Status(StatusCode.ERROR))

    def refused(self, status: int, code: str, method: str, request_id: str) -> None:
        """A span of a request that was answered before its head was whole."""
        from opentelemetry.trace import SpanKind

        attributes: dict[str, Any] = {"http.response.status_code": status, "error.type": code, "request_id": request_id}
        self._tracer.start_span(method or "HTTP", kind=SpanKind.SERVER, attributes=attributes).end()

    def close(self) -> None:
        """Exports what is left."""
        self._provider.shutdown()


def tracing(settings: ServingSettings) -> Tracing | None:
    """Traces, when the environment asks for them."""
    return Tracing(settings) if os.environ.get(TRACES_ENDPOINT) else None
