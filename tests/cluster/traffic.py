"""Constant requests through the gateway, each counted, from a process of its own's threads."""

import json
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

_SECONDS = 15.0


@dataclass
class Gateway:
    """The endpoint as a client outside the cluster reaches it: by HTTPS, by its own name."""

    address: str
    """`127.0.0.1:PORT`."""
    host: str
    authority: Path
    api_key: str

    def client(self) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.authority))
        headers = {"Host": self.host, "X-API-Key": self.api_key}
        return httpx.Client(base_url=f"https://{self.address}", verify=trusted, headers=headers, timeout=_SECONDS)

    def post(self, client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
        return client.post("/predict", json=body, extensions={"sni_hostname": self.host})

    def predict(self, transactions: list[dict[str, Any]]) -> dict[str, Any]:
        with self.client() as client:
            answer = self.post(client, {"transactions": transactions})
            assert answer.status_code == httpx.codes.OK, answer.text
            found: dict[str, Any] = answer.json()
            return found


@dataclass
class Traffic:
    """Threads that ask without a pause longer than an interval, until they are stopped.

    Args:
        gateway: where they ask.
        body: of each request.
        threads: how many ask at once.
        interval_seconds: between two requests of a thread.
    """

    gateway: Gateway
    body: dict[str, Any]
    threads: int = 4
    interval_seconds: float = 0.1
    answered: Counter[str] = field(default_factory=Counter)
    """Requests by the model version that answered."""
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    first_by: dict[str, float] = field(default_factory=dict)
    """When each version answered first, by the monotonic clock."""

    def __enter__(self) -> "Traffic":
        self._ended = threading.Event()
        self._running = [threading.Thread(target=self._ask, daemon=True) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._running:
            thread.join(timeout=2 * _SECONDS)

    def _ask(self) -> None:
        with self.gateway.client() as client:
            while not self._ended.wait(self.interval_seconds):
                began = time.monotonic()
                try:
                    answer = self.gateway.post(client, self.body)
                except httpx.HTTPError as error:
                    self.failures.append(f"{time.strftime('%T')} {type(error).__name__}: {error}")
                    continue
                self.seconds.append(time.monotonic() - began)
                if answer.status_code != httpx.codes.OK:
                    self.failures.append(f"{time.strftime('%T')} {answer.status_code} {answer.text[:200]}")
                    continue
                version = str(json.loads(answer.content)["model_id"])
                self.answered[version] += 1
                self.first_by.setdefault(version, time.monotonic())

    @property
    def told(self) -> str:
        """The numbers in one line."""
        ordered = sorted(self.seconds) or [0.0]
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return f"{len(self.seconds)} requests, {len(self.failures)} failed, p99 {p99 * 1000:.0f} ms"
