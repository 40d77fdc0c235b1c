"""The image, built and run by a real Docker: healthy, predicting, with nothing in it that a service does not need."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from xgboost import XGBClassifier

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from serving.http.auth import hash_api_key, new_api_key
from tests.checkout import SOURCE, free_port

_USER = 10_001
_IMAGE = "fraud-detection/serving:test"
_SLIM = "python:3.11-slim-bookworm"


def _run(*command: str, timeout: float = 600, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)  # type: ignore[call-overload,no-any-return]


def _done(*command: str, timeout: float = 600) -> str:
    completed = _run(*command, timeout=timeout, cwd=SOURCE)
    assert completed.returncode == 0, f"{command}: {completed.stdout[-1500:]}{completed.stderr[-1500:]}"
    return completed.stdout.strip()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker that answers: the one that runs, or one that is started here as root."""
    if _run("docker", "info").returncode == 0:
        yield
        return
    if os.geteuid() != 0 or not _have("dockerd", "docker.io"):
        pytest.skip("Docker cannot run here: no daemon answers, and none can be installed")
    root = tmp_path_factory.mktemp("docker")
    socket = f"unix://{root}/docker.sock"
    log = root / "dockerd.log"
    directories = ("--data-root", str(root / "data"), "--exec-root", str(root / "exec"), "--pidfile", str(root / "pid"))
    with log.open("wb") as file:
        daemon = subprocess.Popen(["dockerd", "--host", socket, *directories], stdout=file, stderr=file)
    os.environ["DOCKER_HOST"] = socket
    try:
        until = time.monotonic() + 60
        while _run("docker", "info").returncode != 0:
            if daemon.poll() is not None or time.monotonic() > until:
                pytest.skip(f"Docker cannot run here: {log.read_text().strip().splitlines()[-1][-300:]}")
            time.sleep(0.5)
        yield
    finally:
        del os.environ["DOCKER_HOST"]
        daemon.terminate()
        daemon.wait(timeout=60)


def _have(program: str, package: str) -> bool:
    """Whether a program is there, by installing Debian's package if need be."""
    if shutil.which(program) is None and shutil.which("apt-get") is not None:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package, "iptables")
    return shutil.which(program) is not None


@pytest.fixture(scope="module")
def base_image(docker: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A slim image with Python 3.11: pulled, or made from Debian's packages where nothing can be pulled."""
    if _run("docker", "pull", "--quiet", _SLIM, timeout=300).returncode == 0:
        return _done("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", _SLIM)
    if not _have("debootstrap", "debootstrap"):
        pytest.skip(f"Docker cannot have a base image here: {_SLIM} cannot be pulled, and there is no debootstrap")
    root = tmp_path_factory.mktemp("base") / "root"
    sources = "".join(path.read_text() for path in Path("/etc/apt").glob("sources.list*/*.sources"))
    sources += Path("/etc/apt/sources.list").read_text() if Path("/etc/apt/sources.list").exists() else ""
    mirrors = re.findall(r"^(?:URIs:|deb)\s.*?(https?://\S+/debian)/?(?=\s|$)", sources, re.MULTILINE)
    _done("debootstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", str(root), *mirrors[:1])
    shutil.rmtree(root / "var" / "cache" / "apt", ignore_errors=True)
    packed = root.with_suffix(".tar")
    _done("tar", "-C", str(root), "-cf", str(packed), ".")
    shutil.rmtree(root)
    return _done("docker", "import", str(packed), "fraud-detection/base:test")


@pytest.fixture(scope="module")
def image(base_image: str) -> str:
    _done("make", "image", f"BASE_IMAGE={base_image}", f"IMAGE={_IMAGE}", timeout=1200)
    return _IMAGE


@dataclass
class Deployed:
    """A container that serves."""

    container: str
    url: str
    key: str
    model_id: str
    variables: dict[str, str]
    """What `docker-compose.yml` asks for, to serve the same."""


@pytest.fixture(scope="module")
def deployed(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    directory = tmp_path_factory.mktemp("deployed")
    keys = Keyring.from_files(ensure_key_file(directory / "model.key"))
    registry = ModelRegistry(directory / "registry", keys=keys)
    data = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    model = XGBClassifier(n_estimators=5).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number"} for name in "abc"]
    model_id = registry.register_model(model, "fraud", feature_schema=schema, runtime=True)
    metadata, key = registry.get_metadata(model_id), new_api_key()
    entry = {"name": "tests", "sha256": hash_api_key(key), "scopes": ["predict"]}
    (directory / "api_keys.json").write_text(json.dumps({"keys": [entry]}))
    (directory / "api_keys.json").chmod(0o600)
    for path in (directory, *directory.rglob("*")):
        os.chown(path, _USER, _USER)
    for parent in directory.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    port = free_port()
    variables = {
        "MODEL_ID": model_id,
        "MODEL_URI": "/model",
        "MODEL_SHA256": metadata.digest,
        "MODEL_RUNTIME_SHA256": metadata.runtime_digest,
        "MODEL_KEY_FILE": "/secrets/model.key",
        "API_KEYS_FILE": "/secrets/api_keys.json",
    }
    command = ["docker", "run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    command += ["--security-opt", "no-new-privileges:true", "--health-interval", "2s", "--memory", "512m"]
    command += ["--publish", f"127.0.0.1:{port}:8000"]
    command += ["--volume", f"{registry.artifact_path(model_id).parent}:/model:ro"]
    for name in ("model.key", "api_keys.json"):
        command += ["--volume", f"{directory / name}:/secrets/{name}:ro"]
    for name, value in variables.items():
        command += ["--env", f"{name}={value}"]
    container = _done(*command, image)
    compose = {
        "IMAGE": image,
        "MODEL_ID": model_id,
        "MODEL_SHA256": metadata.digest,
        "MODEL_RUNTIME_SHA256": metadata.runtime_digest,
        "MODEL_DIRECTORY": str(registry.artifact_path(model_id).parent),
        "MODEL_KEY_FILE": str(directory / "model.key"),
        "API_KEYS_FILE": str(directory / "api_keys.json"),
    }
    yield Deployed(container, f"http://127.0.0.1:{port}", key, model_id, compose)
    _run("docker", "rm", "--force", container)


def test_it_becomes_healthy_and_predicts(deployed: Deployed) -> None:
    until, state = time.monotonic() + 90, ""
    while state != "healthy":
        state = _done("docker", "inspect", "--format", "{{.State.Health.Status}}", deployed.container)
        assert time.monotonic() < until, _run("docker", "logs", deployed.container).stdout[-2000:]
        time.sleep(0.5)
    body = {"transaction": {"a": 1.0, "b": 0.0, "c": 0.0}}
    answer = httpx.post(f"{deployed.url}/predict", json=body, headers={"X-API-Key": deployed.key}, trust_env=False)
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["model_id"] == deployed.model_id
    assert httpx.get(f"{deployed.url}/health", trust_env=False).json()["runtime"] == "onnxruntime"


def test_there_is_no_pip_no_compiler_and_no_root_in_it(deployed: Deployed) -> None:
    inside = ["docker", "exec", deployed.container]
    assert _done(*inside, "id", "-u") == str(_USER)
    for program in ("pip", "pip3", "gcc", "cc", "make", "curl"):
        assert _run(*inside, "sh", "-c", f"command -v {program}").returncode != 0, program
    assert _run(*inside, "python3", "-c", "import pip").returncode != 0
    assert _run(*inside, "sh", "-c", "touch /opt/app/x").returncode != 0, "the root is read-only"


def test_the_image_says_how_it_is_checked_and_how_large_it_is(image: str, deployed: Deployed) -> None:
    described = json.loads(_done("docker", "image", "inspect", image))[0]
    check = described["Config"]["Healthcheck"]
    assert check["Test"] == ["CMD", "python3", "-m", "serving.healthcheck"]
    assert (check["Interval"], check["Timeout"], check["Retries"]) == (30 * 10**9, 10 * 10**9, 3)
    assert described["Config"]["User"] == f"{_USER}:{_USER}"
    print(f"image size: {described['Size'] / 1e6:.0f} MB")


def test_it_stops_in_time_and_with_success(deployed: Deployed) -> None:
    started = time.monotonic()
    _done("docker", "stop", "--time", "20", deployed.container)
    assert time.monotonic() - started < 20
    assert _done("docker", "inspect", "--format", "{{.State.ExitCode}}", deployed.container) == "0"


def test_the_compose_file_is_valid_and_checks_every_half_minute() -> None:
    import yaml

    service = yaml.safe_load((SOURCE / "docker-compose.yml").read_text())["services"]["serving"]
    assert service["healthcheck"]["interval"] == "30s"
    assert service["healthcheck"]["timeout"] == "10s"
    assert service["healthcheck"]["retries"] == 3
    assert service["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert {"ENVIRONMENT", "MODEL_ID"} <= set(service["environment"])


def test_compose_brings_it_up_and_takes_it_down(deployed: Deployed) -> None:
    if _run("docker", "compose", "version").returncode == 0:
        compose = ["docker", "compose"]
    elif _have("docker-compose", "docker-compose"):
        compose = ["docker-compose"]
    else:
        pytest.skip("docker compose cannot run here: there is neither the plugin nor Debian's docker-compose")
    port = str(free_port())
    environment = {**os.environ, **deployed.variables, "PORT": port}
    compose += ["--file", str(SOURCE / "docker-compose.yml"), "--project-name", "fraud-detection-test"]
    up = _run(*compose, "up", "--detach", env=environment)
    try:
        assert up.returncode == 0, up.stderr[-2000:]
        until, answer = time.monotonic() + 60, None
        while answer is None:
            try:
                answer = httpx.post(
                    f"http://127.0.0.1:{port}/predict",
                    json={"transaction": {"a": 1.0, "b": 0.0, "c": 0.0}},
                    headers={"X-API-Key": deployed.key},
                    trust_env=False,
                )
            except httpx.TransportError:
                assert time.monotonic() < until, _run(*compose, "logs", env=environment).stdout[-2000:]
                time.sleep(0.5)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json()["model_id"] == deployed.model_id
    finally:
        assert _run(*compose, "down", env=environment).returncode == 0
