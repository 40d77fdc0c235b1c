"""Every answer counts once: what clients got, what the log says and what the metrics say are the same numbers."""

import concurrent.futures
import json
import random
import time
from collections import Counter
from typing import Any

import httpx

from serving.http.app import OPEN_PATHS
from tests.service import GOOD, Service, Setting, listening, started
from tests.unit.serving.http.test_edge import answer, connected

_ONE = json.dumps({"transaction": GOOD})
_SENT: dict[str, dict[str, Any]] = {
    "good": {},
    "batch": {"content": json.dumps({"transactions": [GOOD] * 5})},
    "no_key": {"headers": {}},
    "scope": {},
    "field": {"content": json.dumps({"transaction": {**GOOD, "more": 1}})},
    "surrogate": {"content": '{"transaction": {"\\ud800": 1}}'},
    "no_json": {"content": "{"},
    "large": {"content": "x" * 30_000},
    "method": {"method": "PUT"},
    "path": {"url": "/predict%0A"},
    "head": {},
    "broken": {},
}


def _send(service: Service, setting: Setting, kind: str) -> tuple[int, str]:
    """Sends one request; returns status and code of its answer."""
    if kind in ("head", "broken"):
        with connected(service) as connection:
            request = b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n" if kind == "head" else b"nonsense\r\n\r\n"
            connection.sendall(request)
            status, body = answer(connection)
            return status, json.loads(body)["error"]["code"]
    sent = {
        "method": "POST",
        "url": "/predict",
        "headers": {"X-API-Key": setting.api_key},
        "content": _ONE,
        **_SENT[kind],
    }
    if kind == "scope":
        sent["headers"] = {"X-API-Key": setting.limited_key}
    found = httpx.request(**{**sent, "url": service.url + sent["url"]}, trust_env=False, timeout=30)
    return found.status_code, "" if found.status_code == 200 else found.json()["error"]["code"]


def test_clients_log_and_metrics_count_the_same(setting: Setting) -> None:
    kinds = [kind for kind in _SENT for _ in range(12)]
    random.Random(1).shuffle(kinds)
    with listening() as listener, started(setting, listener) as service:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = Counter(pool.map(lambda kind: _send(service, setting, kind), kinds))
        time.sleep(0.3)
        headers = {"X-API-Key": setting.api_key}
        told = httpx.get(f"{service.url}/status", headers=headers, trust_env=False).json()
        service.process.terminate()
        assert service.process.wait(timeout=20) == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    logged = [line for line in lines if line["message"] == "request" and line["path"] not in (*OPEN_PATHS, "/status")]
    assert Counter((line["status"], line.get("code", "")) for line in logged) == got
    by_code = Counter({code: count for (_, code), count in got.items() if code})
    assert told["refusals"] == dict(by_code)
    assert told["total"]["requests"] == len(kinds)
    assert len({line["request_id"] for line in logged}) == len(kinds)
