"""The service as a real process, for the tests."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from serving.http.auth import hash_api_key, new_api_key
from tests.checkout import SOURCE

FEATURES = ("amount", "hour", "distance")
GOOD = {"amount": 10.0, "hour": 3, "distance": 1.5}


@dataclass
class Setting:
    """What a service needs: a registered model, its key, and two API keys."""

    directory: Path
    registry: ModelRegistry
    model: XGBClassifier
    model_id: str
    api_key: str
    limited_key: str

    def environment(self, **changes: str) -> dict[str, str]:
        metadata = self.registry.get_metadata(changes.get("MODEL_ID", self.model_id))
        return {
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "development",
            "DEPLOYMENT_NAME": "test",
            "MODEL_ID": metadata.model_id,
            "MODEL_URI": self.registry.artifact_path(metadata.model_id).parent.as_uri(),
            "MODEL_SHA256": metadata.digest,
            "MODEL_KEY_FILE": str(self.directory / "model.key"),
            "API_KEYS_FILE": str(self.directory / "api_keys.json"),
            "SHUTDOWN_DRAIN_SECONDS": "1",
            "MAX_BODY_BYTES": "20000",
            "MAX_BATCH": "50",
            **changes,
        }


@dataclass
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    url: str
    ready: dict[str, Any]
    log: Path


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.set_inheritable(True)
        yield listener


@contextmanager
def started(setting: Setting, listener: socket.socket, **changes: str) -> Iterator[Service]:
    """A service on an inherited socket, from the moment it says that it is ready, or that it cannot be."""
    ready_read, ready_write = os.pipe()
    log = setting.directory / f"{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "serving", "--listen-fd", str(listener.fileno()), "--ready-fd", str(ready_write)]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command,
            cwd=SOURCE,
            env=setting.environment(**changes),
            pass_fds=(listener.fileno(), ready_write),
            stdout=file,
            stderr=file,
        ) as process,
    ):
        os.close(ready_write)
        with os.fdopen(ready_read) as pipe:
            ready = json.loads(pipe.readline())
        try:
            yield Service(process, f"http://127.0.0.1:{listener.getsockname()[1]}", ready, log)
        finally:
            process.kill()


def make_setting(directory: Path) -> Setting:
    keys = Keyring.from_files(ensure_key_file(directory / "model.key"))
    registry = ModelRegistry(directory / "registry", keys=keys)
    data = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    model = XGBClassifier(n_estimators=5).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    model_id = registry.register_model(model=model, model_name="fraud", feature_schema=schema, runtime=True)
    api_key, limited_key = new_api_key(), new_api_key()
    entries = [
        {"name": "full", "sha256": hash_api_key(api_key), "scopes": ["predict", "feedback", "admin"]},
        {"name": "limited", "sha256": hash_api_key(limited_key), "scopes": ["feedback"]},
    ]
    path = directory / "api_keys.json"
    path.write_text(json.dumps({"keys": entries}))
    path.chmod(0o600)
    return Setting(directory, registry, model, model_id, api_key, limited_key)
