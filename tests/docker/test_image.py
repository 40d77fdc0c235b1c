"""The image by the documents' own commands: built, run by hand and by compose, with the keys that the product makes."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.checkout import SOURCE, Deployed, free_port
from tests.docker.conftest import done, have, run

_DOCUMENT = (SOURCE / "docs" / "docker.md").read_text()
_DOCUMENTED = re.findall(r"```bash\n(.*?)```", _DOCUMENT, re.DOTALL)
_MODEL = "fraud_detector_XGBoost_20241009_123456"
_NAME = "fraud-detection-prod"
_USER = 10_001


@pytest.fixture(scope="module")
def latest(image: str) -> str:
    """The image under the name that the documents use."""
    done("docker", "tag", image, "fraud-detection:latest")
    return "fraud-detection:latest"


@pytest.fixture(scope="module")
def by_hand(latest: str, docker_deployed: Deployed) -> Iterator[tuple[Deployed, str]]:
    """The documents' `docker run`, on a free port, in the checkout, for development."""
    port = free_port()
    command = _DOCUMENTED[1].replace("8000:8000", f"127.0.0.1:{port}:8000").replace(_MODEL, docker_deployed.first)
    command = command.replace("ENVIRONMENT=production", "ENVIRONMENT=development")
    done("bash", "-c", command, cwd=docker_deployed.checkout.root)
    yield docker_deployed, f"http://127.0.0.1:{port}"
    run("docker", "rm", "--force", _NAME)


def _predict(deployed: Deployed, url: str, logs: list[str]) -> httpx.Response:
    """The answer to the example's transaction, once the service answers."""
    body = json.loads((deployed.checkout.root / "models" / "example_transaction.json").read_text())
    until = time.monotonic() + 60
    while True:
        try:
            headers = {"X-API-Key": deployed.checkout.api_key()}
            return httpx.post(f"{url}/predict", json=body, headers=headers, timeout=10, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < until, run(*logs).stdout[-2000:]
            time.sleep(0.3)


def test_the_documents_build_is_the_build_of_make(build_options: list[str], image: str) -> None:
    """With the options of a machine that pulls nothing; every layer is there, so the result is the same image."""
    words = _DOCUMENTED[0].split()
    assert words[:2] == ["docker", "build"]
    built = done(*words[:2], "--quiet", *build_options, *words[2:])
    assert built == done("docker", "image", "inspect", "--format", "{{.Id}}", image)


def test_the_base_is_pinned_by_digest() -> None:
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", (SOURCE / "Dockerfile").read_text(), re.MULTILINE)


def test_docker_run_of_the_documents_finds_the_rest_in_the_checkout(by_hand: tuple[Deployed, str]) -> None:
    deployed, url = by_hand
    answer = _predict(deployed, url, ["docker", "logs", _NAME])
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["model_id"] == deployed.first
    scores = [each.json()["predictions"][0]["fraud_probability"] for each in (answer, deployed.checkout.predict())]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    for each in (url, deployed.checkout.url):
        assert httpx.get(f"{each}/health", trust_env=False).json()["runtime"] == "onnxruntime"


def test_docker_run_of_the_guide_says_at_once_all_that_is_missing(latest: str) -> None:
    ended = run("docker", "run", "--rm", "-e", "ENVIRONMENT=production", "-e", f"MODEL_ID={_MODEL}", latest)
    assert ended.returncode == 2
    lines = (ended.stdout + ended.stderr).strip().splitlines()
    assert len(lines) == 1
    for part in (_MODEL, "MODEL_KEY_FILE", "API_KEYS_FILE", "api-key production NAME", "docker run --user", "lacks 3"):
        assert part in lines[0]


def test_another_user_is_told_who_owns_the_keys(latest: str, docker_deployed: Deployed) -> None:
    root = docker_deployed.checkout.root
    command = ["docker", "run", "--rm", "-v", f"{root}:/var/lib/fraud-detection:ro", "-e", f"MODEL_ID={_MODEL}"]
    ended = run(*command, latest)
    assert ended.returncode == 2
    owner = root.stat()
    assert f"docker run --user {owner.st_uid}:{owner.st_gid}" in ended.stdout


def test_there_is_no_pip_no_compiler_and_no_root_in_it(latest: str, by_hand: tuple[Deployed, str]) -> None:
    assert done("docker", "run", "--rm", "--entrypoint", "id", latest, "-u") == str(_USER)
    inside = ["docker", "exec", _NAME]
    for program in ("pip", "pip3", "gcc", "cc", "make", "curl"):
        assert run(*inside, "sh", "-c", f"command -v {program}").returncode != 0, program
    assert run(*inside, "python3", "-c", "import pip").returncode != 0


def test_the_image_says_how_it_is_checked_and_how_large_each_layer_is(latest: str) -> None:
    described = json.loads(done("docker", "image", "inspect", latest))[0]
    check = described["Config"]["Healthcheck"]
    assert check["Test"] == ["CMD", "python3", "-m", "serving.healthcheck"]
    assert (check["Interval"], check["Timeout"], check["Retries"]) == (30 * 10**9, 10 * 10**9, 3)
    assert described["Config"]["User"] == f"{_USER}:{_USER}"
    layers = done("docker", "history", "--format", "{{.Size}} {{.CreatedBy}}", latest).splitlines()
    told = ", ".join(f"{each.split()[0]} ({each[-24:].strip()})" for each in layers if not each.startswith("0B"))
    print(f"image: {described['Size'] / 1e6:.0f} MB; layers: {told}")


def test_it_stops_in_time_and_with_success(by_hand: tuple[Deployed, str]) -> None:
    started = time.monotonic()
    done("docker", "stop", "--time", "20", _NAME)
    assert time.monotonic() - started < 20
    assert done("docker", "inspect", "--format", "{{.State.ExitCode}}", _NAME) == "0"


def test_the_compose_file_is_on_the_loopback_and_checks_every_half_minute() -> None:
    service = yaml.safe_load((SOURCE / "docker-compose.yml").read_text())["services"]["fraud-detection-api"]
    assert service["healthcheck"]["interval"] == "30s"
    assert "curl" not in service["healthcheck"]["test"]
    assert service["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert {"ENVIRONMENT", "MODEL_ID"} <= set(service["environment"])


def test_compose_of_the_documents_brings_it_up_and_takes_it_down(latest: str, docker_deployed: Deployed) -> None:
    if run("docker", "compose", "version").returncode == 0:
        program = "docker compose"
    elif have("docker-compose", "docker-compose"):
        program = "docker-compose"
    else:
        pytest.skip("docker compose cannot run here: there is neither the plugin nor Debian's docker-compose")
    root, port = docker_deployed.checkout.root, str(free_port())
    shutil.copyfile(SOURCE / "docker-compose.yml", root / "docker-compose.yml")
    command = _DOCUMENTED[2].replace(_MODEL, docker_deployed.first).replace("docker compose", program)
    variables = {**os.environ, "PORT": port, "COMPOSE_PROJECT_NAME": "fraud-detection-test"}
    logs = [*program.split(), "logs"]
    try:
        up = subprocess.run(
            ["bash", "-c", command], cwd=root, env=variables, capture_output=True, text=True, check=False
        )
        assert up.returncode == 0, up.stderr[-2000:]
        answer = _predict(docker_deployed, f"http://127.0.0.1:{port}", ["docker", "ps", "--all"])
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json()["model_id"] == docker_deployed.first
    finally:
        down = f"{program} down"
        assert run("bash", "-c", down, cwd=root, env=variables).returncode == 0, run(*logs, cwd=root, env=variables)
