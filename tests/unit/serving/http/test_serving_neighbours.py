"""The service beside a real Redis, which counts for all replicas, and a real collector, which is sent its traces."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.redis_server import redis_server
from tests.service import GOOD, Setting, listening, started


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as url:
        yield url


def test_two_replicas_share_the_limit_of_a_key(setting: Setting, redis_url: str) -> None:
    changes = {"RATE_LIMIT_URL": redis_url, "RATE_LIMIT_PER_SECOND": "0.5", "RATE_LIMIT_BURST": "4"}
    headers, body = {"X-API-Key": setting.api_key}, {"transaction": GOOD}
    with (
        listening() as one,
        listening() as other,
        started(setting, one, **changes) as first,
        started(setting, other, **changes) as second,
    ):
        answers = [
            httpx.post(f"{service.url}/predict", json=body, headers=headers, trust_env=False)
            for service in (first, second, first, second, first, second)
        ]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        assert int(answers[-1].headers["Retry-After"]) >= 1
        stored = redis.Redis.from_url(redis_url)
        names = [name.decode() for name in stored.scan_iter()]
        assert len(names) == 1
        assert setting.api_key not in names[0], "a key is never stored in clear"
        assert "Redis does not answer" not in first.log.read_text()


@contextmanager
def _collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Takes spans as OTLP over HTTP."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
        server.shutdown()


def test_a_collector_is_sent_a_span_for_each_request_in_the_callers_trace(setting: Setting) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-API-Key": setting.api_key, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with _collector() as (url, taken):
        with (
            listening() as listener,
            started(setting, listener, OTEL_EXPORTER_OTLP_ENDPOINT=url) as service,
        ):
            good = httpx.post(f"{service.url}/predict", json={"transaction": GOOD}, headers=headers, trust_env=False)
            httpx.post(f"{service.url}/predict", content=b"{", headers=headers, trust_env=False)
            assert good.status_code == 200
            service.process.terminate()
            assert service.process.wait(timeout=20) == 0
        spans = [
            (group.resource, span)
            for request in taken
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
    assert len(spans) == 2, "those that were left are exported when the service ends"
    resource, span = spans[0]
    about = {item.key: item.value.string_value for item in resource.attributes}
    found = {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
    assert span.trace_id.hex() == trace
    assert span.name == "POST /predict"
    assert found["http.response.status_code"] == 200
    assert found["request_id"] == good.headers["X-Request-Id"]
    assert about["fraud_detection.model_id"] == good.json()["model_id"]
    text = str(taken)
    assert setting.api_key not in text
    assert all(f'"{name}"' not in text for name in GOOD), "never the features"
