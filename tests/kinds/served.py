"""A model of the catalogue, registered as the command line does it and asked over HTTP as a caller does it.

The requests go through the service's own ASGI application; only the sockets are left out:

    with served(trained, directory) as service:
        status, answer = service.post({"transactions": service.bodies(trained.rows)})
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from model_store.serialization.model_files import load_model_file
from serving.http.app import Service
from serving.http.auth import ApiKeys, hash_api_key, new_api_key
from serving.http.pages import create_pages
from serving.http.receipts import Receipts
from serving.http.state import ServiceState
from serving.inference.model import load_served_model
from serving.observability.drift import DriftWatch
from serving.observability.logs import RequestLog
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from tests.kinds.kind import Rows, Trained

LARGEST_EXACT_INTEGER = 2.0**53
Answer = tuple[int, dict[str, Any]]


class ServedKind:
    """A service in this process, with the manifest that `GET /model` shows."""

    def __init__(self, state: ServiceState, api_key: str) -> None:
        application: Any = Service(state, create_pages(state))
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url="http://service",
            headers={"X-API-Key": api_key},
            timeout=60,
        )
        self.description = self.get("/model")
        self.manifest: dict[str, Any] = self.description["manifest"]
        self.names = [item["name"] for item in self.manifest["feature_schema"]]

    def get(self, path: str) -> dict[str, Any]:
        """A page."""
        found: dict[str, Any] = self._loop.run_until_complete(self._client.get(path)).json()
        return found

    def post(self, body: dict[str, Any]) -> Answer:
        """The answer to one request."""
        (answer,) = self.together([body])
        return answer

    def together(self, bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        """The answers to requests that arrive at the same time."""

        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(self._predict(body) for body in bodies))

        return [(answer.status_code, answer.json()) for answer in self._loop.run_until_complete(ask())]

    async def _predict(self, body: dict[str, Any]) -> httpx.Response:
        content = json.dumps(body, allow_nan=False).encode()
        return await self._client.post("/predict", content=content, headers={"Content-Type": "application/json"})

    def bodies(self, rows: Rows) -> list[dict[str, Any]]:
        """Rows as a caller writes them: gaps as null or left out, numbers in full, times as RFC 3339."""
        if isinstance(rows, pd.DataFrame):
            columns = {str(name): [_plain(value) for value in rows[name]] for name in rows.columns}
        else:
            columns = {name: [_plain(value) for value in rows[:, index]] for index, name in enumerate(self.names)}
        written = (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
        return [_shorter(body) if number % 2 else body for number, body in enumerate(written)]

    def close(self) -> None:
        """Ends what the service has begun."""
        self._loop.run_until_complete(self._client.aclose())
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


def faster_share(service: ServedKind) -> float | None:
    """The share of the scores so far that an optimized form gave; None where there is no optimized form."""
    answered = service.get("/model")["answered"]
    total = answered["faster_form"] + answered["own_library"]
    if not (service.manifest["runtime"] or {}).get("digest"):
        return None
    return float(answered["faster_form"] / total) if total else None


@contextmanager
def served(trained: Trained, directory: Path, **more: Any) -> Iterator[ServedKind]:
    """Registers a model and serves it.

    Args:
        trained: the model.
        directory: a directory for the registry and its key.
        more: further options of `register_model`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key_file = ensure_key_file(directory / "model.key")
    registry = ModelRegistry(directory / "registry", keys=Keyring.from_files(key_file))
    path = model_file(trained, directory)
    options = {"model_name": "fraud", "source": path, "runtime": True, **trained.registration, **more}
    metadata = registry.get_metadata(registry.register_model(model=load_model_file(path), **options))
    api_key = new_api_key()
    keys_file = directory / "api_keys.json"
    entry = {"name": "test", "sha256": hash_api_key(api_key), "scopes": ["predict", "feedback", "admin"]}
    keys_file.write_text(json.dumps({"keys": [entry]}))
    keys_file.chmod(0o600)
    settings = ServingSettings.from_environment(
        {
            "MODEL_ID": metadata.model_id,
            "MODEL_URI": registry.artifact_path(metadata.model_id).parent.as_uri(),
            "MODEL_SHA256": metadata.digest,
            "MODEL_RUNTIME_SHA256": metadata.runtime_digest or "",
            "MODEL_KEY_FILE": str(key_file),
            "API_KEYS_FILE": str(keys_file),
            "RATE_LIMIT_PER_SECOND": "0",
        }
    )
    model = load_served_model(settings)
    metrics = ServiceMetrics(settings, DriftWatch(model.metadata.feature_schema))
    request_log = RequestLog(lambda _lines: None, enabled=False)
    service = ServedKind(
        ServiceState(settings, model, ApiKeys.from_file(keys_file), metrics, request_log, Receipts(settings)), api_key
    )
    try:
        yield service
    finally:
        service.close()


def model_file(trained: Trained, directory: Path) -> Path:
    """The file that a data scientist hands over."""
    if isinstance(trained.model, Path):
        return trained.model
    path = directory / "model.joblib"
    joblib.dump(trained.model, path)
    return path


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return str(value)


def _shorter(body: dict[str, Any]) -> dict[str, Any]:
    """The same with its gaps left out, and whole numbers without a point."""
    return {name: _whole(value) for name, value in body.items() if value is not None}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and 0 < abs(value) <= LARGEST_EXACT_INTEGER:
        return int(value)
    return value
