"""Load for a while, with restarts and reloads of other versions meanwhile: no failed request, no growth of memory.

`SOAK_SECONDS` and `SOAK_RATE` say how long and how many requests a second; `half` is half of what it answers at most.
`make soak` sets ten minutes at half.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from xgboost import XGBClassifier

from benchmarks.serving.load import load_generator
from components import process_supervision
from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from serving.http.auth import hash_api_key, new_api_key
from tests.checkout import free_port

_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
_RATE = os.environ.get("SOAK_RATE", "1000")
_TOP_SECONDS = 5
_ROUND_SECONDS = 5.0 if _SECONDS <= 60 else 10.0
"""A process that ends more than three times a minute is not started again: so it is told to end twice a minute."""
_GROWTH_BYTES = 24 << 20


@pytest.fixture
def endpoint(tmp_path: Path) -> Any:
    """Arguments for two model versions, and the key."""
    keys = Keyring.from_files(ensure_key_file(tmp_path / "model.key"))
    registry = ModelRegistry(tmp_path / "registry", keys=keys)
    data = np.random.default_rng(0).normal(size=(2000, 30)).astype(np.float32)
    edges = np.quantile(data, np.linspace(0.1, 0.9, 9), axis=0)
    schema = [
        {"name": f"f{n}", "type": "number", "bins": {"edges": edges[:, n].tolist(), "shares": [0.1] * 10}}
        for n in range(30)
    ]
    versions = []
    for trees in (20, 40):
        model = XGBClassifier(n_estimators=trees).fit(data, (data[:, 0] > 0).astype(int))
        model_id = registry.register_model(model, "fraud", feature_schema=schema, runtime=True)
        metadata = registry.get_metadata(model_id)
        versions.append((model_id, metadata.digest, metadata.runtime_digest))
    key = new_api_key()
    entry = {"name": "soak", "sha256": hash_api_key(key), "scopes": ["predict"], "requests_per_second": 100_000}
    (tmp_path / "api_keys.json").write_text(json.dumps({"keys": [entry]}))
    (tmp_path / "api_keys.json").chmod(0o600)
    port = free_port()

    def arguments(number: int) -> dict[str, Any]:
        model_id, digest, runtime_digest = versions[number % 2]
        return {
            "deployment_name": "soak",
            "environment": "development",
            "model_id": model_id,
            "model_uri": registry.artifact_path(model_id).parent.as_uri(),
            "model_digest": digest,
            "model_runtime_digest": runtime_digest,
            "host": "127.0.0.1",
            "port": port,
            "model_key_file": str(tmp_path / "model.key"),
            "api_keys_file": str(tmp_path / "api_keys.json"),
            "checkout": str(tmp_path),
            "log_level": "INFO",
            "ready_timeout_seconds": 60.0,
        }

    for package in ("conventions", "model_store", "serving"):
        (tmp_path / package).symlink_to(Path(__file__).resolve().parents[2] / package)
    yield arguments, key, f"http://127.0.0.1:{port}"
    process_supervision.stop(arguments(0))


def test_no_request_fails_and_memory_stays_level(endpoint: Any) -> None:
    arguments, key, url = endpoint
    served = process_supervision.serve(arguments(0))
    body = json.dumps({"transaction": {f"f{number}": 0.5 for number in range(30)}})
    sizes: list[int] = []
    command = [str(load_generator()), "-c", "16", "--timeout=10s", "--method=POST", f"--body={body}"]
    command += ["--print=result", "--format=json", "--latencies"]
    command += ["--header=Content-Type: application/json", f"--header=X-API-Key: {key}", f"{url}/predict"]
    rate = _top_rate(command) // 2 if _RATE == "half" else int(_RATE)
    command += ["-d", f"{_SECONDS:.0f}s", "-r", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        number = 0
        while load.poll() is None:
            time.sleep(_ROUND_SECONDS)
            sizes.append(psutil.Process(int(served["pid"])).memory_info().rss)
            number += 1
            if number % 3 == 1:
                served = process_supervision.serve(arguments(number))
            elif number % 3 == 2:
                # Told to stop, as a machine that is serviced does: the supervisor starts another one.
                os.kill(int(served["pid"]), signal.SIGTERM)
                served = _after_restart(arguments, number - 1, int(served["pid"]))
        assert load.stdout is not None
        found = json.loads(load.stdout.read())["result"]
    answered = found["req2xx"]
    failed = sum(found[name] for name in ("req1xx", "req3xx", "req4xx", "req5xx", "others"))
    print(
        f"soak: {answered} requests at {rate}/s over {_SECONDS:.0f} s, {failed} failed, "
        f"{number} restarts and reloads, "
        f"p99 {found['latency']['percentiles']['99'] / 1000:.1f} ms, "
        f"process {min(sizes) / 1e6:.0f} to {max(sizes) / 1e6:.0f} MB"
    )
    assert failed == 0, found.get("errors")
    assert answered > 0.8 * rate * _SECONDS
    assert max(sizes[len(sizes) // 2 :]) - max(sizes[: len(sizes) // 2 + 1]) < _GROWTH_BYTES


def _top_rate(command: list[str]) -> int:
    """Requests a second that are answered when as many as possible are sent."""
    load = subprocess.run([*command, "-d", f"{_TOP_SECONDS}s"], capture_output=True, text=True, check=True)
    return int(json.loads(load.stdout)["result"]["req2xx"] / _TOP_SECONDS)


def _after_restart(arguments: Any, number: int, before: int) -> dict[str, Any]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = process_supervision.outputs(arguments(number))
        if found.get("pid") not in (None, before) and process_supervision.is_serving(arguments(number)):
            return found
        time.sleep(0.1)
    raise AssertionError("it was not started again")
