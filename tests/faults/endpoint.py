"""An endpoint of platform `local` in a checkout of its own: a supervisor, its processes, and what they say."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families
from xgboost import XGBClassifier

from components.process_supervision import log_file, run_directory
from components.run_requests import request_of, write_request
from conventions.run_files import PID_FILE, STATUS_FILE
from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from serving.http.auth import hash_api_key, new_api_key
from tests.checkout import SOURCE, free_port

FEATURES = 30
_PACKAGES = ("conventions", "components", "model_store", "serving")
_READY_SECONDS = 90.0
_STOP_SECONDS = 40.0
_NOT_TOLD = ("serving.request", "uvicorn.error")
_NUMBER = re.compile(r"\b\d{3,}\b")
"""Of a process: another one each time."""


@dataclass
class Version:
    """A registered model version."""

    model_id: str
    digest: str
    runtime_digest: str


@dataclass
class Place:
    """A checkout with a registry, keys, and two model versions."""

    root: Path
    registry: ModelRegistry
    versions: list[Version]
    api_key: str

    @property
    def api_keys_file(self) -> Path:
        """The file with the hashes of the API keys."""
        return self.root / "api_keys.json"

    def write_keys(self, *more: Mapping[str, Any]) -> None:
        """Writes the file of API keys: the one that the load uses, and more."""
        scopes = ["predict", "feedback", "admin"]
        sha256 = hash_api_key(self.api_key)
        entry = {"name": "load", "sha256": sha256, "scopes": scopes, "requests_per_second": 100_000}
        staging = self.root / ".api_keys.json"
        staging.touch(mode=0o600)
        staging.write_text(json.dumps({"keys": [entry, *more]}))
        staging.replace(self.api_keys_file)


def make_place(root: Path) -> Place:
    """A checkout with two model versions of 30 features, each with its optimized form."""
    root.mkdir(parents=True, exist_ok=True)
    keys = Keyring.from_files(ensure_key_file(root / "model.key"))
    registry = ModelRegistry(root / "registry", keys=keys)
    data = np.random.default_rng(0).normal(size=(2000, FEATURES)).astype(np.float32)
    edges = np.quantile(data, np.linspace(0.1, 0.9, 9), axis=0)
    schema = [
        {"name": f"f{n}", "type": "number", "bins": {"edges": edges[:, n].tolist(), "shares": [0.1] * 10}}
        for n in range(FEATURES)
    ]
    versions = []
    for trees in (20, 40):
        model = XGBClassifier(n_estimators=trees, n_jobs=1).fit(data, (data[:, 0] > 0).astype(int))
        metadata = registry.get_metadata(registry.register_model(model, "fraud", feature_schema=schema, runtime=True))
        versions.append(Version(metadata.model_id, metadata.digest, metadata.runtime_digest))
    for package in _PACKAGES:
        (root / package).symlink_to(SOURCE / package)
    place = Place(root, registry, versions, new_api_key())
    place.write_keys()
    return place


@dataclass
class Endpoint:
    """A supervisor and what it runs.

    Args:
        place: the checkout.
        name: of the deployment.
        variables: further environment variables of what runs.
        module: what runs.
        before: command that the supervisor is started by, such as one that changes its mounts.
        version: number of the model version.
        checkout: another directory for logs and run directory than the place's.
        read_log: the log that is read, where it is another one than the supervisor's.
        port: of the loopback; 0 for one that the system chooses.
        authority: verifies the certificate of an endpoint that speaks HTTPS.
    """

    place: Place
    name: str = "faults"
    variables: dict[str, str] = field(default_factory=dict)
    module: str = "serving"
    before: Sequence[str] = ()
    version: int = 0
    checkout: Path | None = None
    read_log: Path | None = None
    port: int = field(default_factory=free_port)
    authority: Path | None = None
    _started: "subprocess.Popen[bytes] | None" = None

    def arguments(self) -> dict[str, Any]:
        """The inputs of the resource that stands for this endpoint."""
        place, version = self.place, self.place.versions[self.version]
        return {
            "deployment_name": self.name,
            "environment": "development",
            "model_id": version.model_id,
            "model_uri": place.registry.artifact_path(version.model_id).parent.as_uri(),
            "model_digest": version.digest,
            "model_runtime_digest": version.runtime_digest,
            "host": "127.0.0.1",
            "port": self.port,
            "model_key_file": str(place.root / "model.key"),
            "api_keys_file": str(place.api_keys_file),
            "checkout": str(self.checkout or place.root),
            "log_level": "INFO",
            "ready_timeout_seconds": _READY_SECONDS,
            "variables": dict(self.variables),
            "module": self.module,
        }

    @property
    def url(self) -> str:
        """Address of the endpoint."""
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    @property
    def directory(self) -> Path:
        """The run directory."""
        return run_directory(self.arguments())

    @property
    def log(self) -> Path:
        """The log of the supervisor and its processes."""
        return log_file(self.arguments())

    def start(self) -> None:
        """Starts the supervisor, and waits until its process is ready."""
        for each in (self.directory, self.log.parent):
            each.mkdir(parents=True, exist_ok=True)
        self.request()
        command = [*self.before, sys.executable, "-m", "serving.supervisor", str(self.directory), str(self.log)]
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                command, cwd=self.place.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: self.status().get("state") in ("ready", "failed"), _READY_SECONDS)
        assert self.status()["state"] == "ready", self.status()

    def request(self) -> int:
        """Writes the request for what should run; returns its number."""
        return write_request(self.directory, request_of(self.arguments()))

    def reload(self, version: int) -> None:
        """Asks the supervisor for another version, and waits until it serves."""
        self.version = version
        generation = self.request()
        os.kill(self.supervisor, signal.SIGHUP)
        wait_until(lambda: self._state(generation) in ("ready", "failed"), _READY_SECONDS)
        assert self._state(generation) == "ready", self.status()

    def _state(self, generation: int) -> str:
        status = self.status()
        return str(status["state"]) if status.get("generation") == generation else ""

    def stop(self) -> None:
        """Stops the supervisor, whichever it is by now, and what it runs."""
        with suppress(OSError, ValueError):
            os.kill(self.supervisor, signal.SIGCONT)
            os.kill(self.supervisor, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            if self._started is not None:
                self._started.poll()
            time.sleep(0.05)
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def status(self) -> dict[str, Any]:
        """What the supervisor says; empty while it says nothing."""
        try:
            found: dict[str, Any] = json.loads((self.directory / STATUS_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return found

    @property
    def supervisor(self) -> int:
        """Process id of the supervisor."""
        return int((self.directory / PID_FILE).read_text())

    @property
    def serving(self) -> int:
        """Process id of what the supervisor runs."""
        return int(self.status()["serving"]["pid"])

    def members(self) -> list[int]:
        """Process ids of the group's processes that serve."""
        found = []
        for each in psutil.Process(self.serving).children():
            with suppress(psutil.NoSuchProcess):
                found += [each.pid] if "--slot" in each.cmdline() else []
        return found

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all that it runs: what has this run directory, or its socket."""
        found = []
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                if each.status() != psutil.STATUS_ZOMBIE and self._is_ours(each):
                    found.append(each)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        return str(self.directory) in process.cmdline() or (
            process.environ().get("API_PORT") == str(self.port)
            and process.environ().get("DEPLOYMENT_NAME", self.name) == self.name
        )

    def ask(self, path: str, **more: Any) -> httpx.Response:
        """Asks the endpoint with the key of the load, on a connection of its own."""
        verify = ssl.create_default_context(cafile=str(self.authority)) if self.authority else True
        headers = {**self.headers, **more.pop("headers", {})}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=15, verify=verify) as client:
            return client.request(more.pop("method", "GET"), path, **more)

    @property
    def headers(self) -> dict[str, str]:
        """With the key of the load."""
        return {"X-API-Key": self.place.api_key}

    def counters(self) -> "Counter[str]":
        """The counters of `/metrics` by name and reason, what `/status` alone has, and the supervisor's restarts."""
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.ask("/metrics").text):
            for each in family.samples if family.type == "counter" else ():
                if each.name.endswith("_total"):
                    reason = each.labels.get("reason")
                    found[f"{each.name}{{{reason}}}" if reason else each.name] += int(each.value)
        status = self.ask("/status").json()
        for name in ("log_lines_lost", "decisions_lost"):
            found[name] = status[name]
        found["restarts"] = self.status()["restarts"]
        return found


def logged(log: Path, offset: int) -> "Counter[str]":
    """What a log says from an offset on, beside requests and what the server says of its beginning and end."""
    found: Counter[str] = Counter()
    with log.open("rb") as file:
        file.seek(offset)
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if entry["logger"] not in _NOT_TOLD:
                    found[_NUMBER.sub("N", entry["message"].splitlines()[0])] += 1
    return found


def connections_of(process: int) -> int:
    """Connections of clients that a process has."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(process).net_connections("tcp"))


def fill(directory: Path) -> Path:
    """Fills the disk of a directory; returns the file that does."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 65536):
            pass
        while file.write(b"x"):
            pass
    return filler


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "that did not come true in time"
        time.sleep(0.02)
