"""What is told of an endpoint of this machine that does not serve."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from conventions.config_keys import MODEL_VERSION, PLATFORM, ROLLOUT
from stacks.engine.docker_state import runs_in_containers
from stacks.engine.serving_state import find_silence
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment

_MODEL = "fraud_detector_XGBoost_20241009_123456"
_CANDIDATE = "fraud_detector_XGBoost_20241010_123456"


class _Endpoint(HTTPServer):
    answer: tuple[int, bytes] = (200, b"{}")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[_Endpoint]:
    server = _Endpoint(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _file(port: int, environment: str = "development", platform: str = "local", candidate: str = "") -> StackFile:
    rollout = {"strategy": "canary", "candidate": candidate, "weight": 5} if candidate else {}
    state = {MODEL_VERSION: _MODEL, **({ROLLOUT: rollout} if rollout else {})}
    return StackFile(
        Path("Pulumi.yaml"),
        DeploymentEnvironment.named(environment),
        MappingProxyType({**state, PLATFORM: platform}),
        deployed=MappingProxyType(state),
        endpoint=("any", f"http://127.0.0.1:{port}"),
    )


@pytest.mark.parametrize("served", [_MODEL, _CANDIDATE])
def test_an_endpoint_that_answers_for_a_deployed_version_serves(
    endpoint: _Endpoint, tmp_path: Path, served: str
) -> None:
    endpoint.answer = (200, json.dumps({"model_id": served}).encode())
    assert find_silence(_file(endpoint.server_port, candidate=_CANDIDATE), tmp_path) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((503, b"{}"), "answers 503"),
        ((200, b'{"model_id": "another"}'), "answers for another"),
        ((200, b"no JSON"), "does not answer"),
        ((200, b"[]"), "does not answer"),
    ],
)
def test_any_other_answer_is_told(endpoint: _Endpoint, tmp_path: Path, answer: tuple[int, bytes], reason: str) -> None:
    endpoint.answer = answer
    silence = find_silence(_file(endpoint.server_port), tmp_path)
    assert silence is not None
    assert reason in silence.reason
    assert silence.mend == "python scripts/deploy_model.py up development"


@pytest.mark.parametrize(
    ("environment", "candidate", "command"),
    [
        ("development", "", "up development"),
        ("development", _CANDIDATE, "resume development"),
        ("staging", "", f"deploy {_MODEL} staging"),
    ],
)
def test_the_command_is_the_environments(
    endpoint: _Endpoint, tmp_path: Path, environment: str, candidate: str, command: str
) -> None:
    endpoint.answer = (503, b"")
    silence = find_silence(_file(endpoint.server_port, environment, candidate=candidate), tmp_path)
    assert silence is not None
    assert silence.mend == f"python scripts/deploy_model.py {command}"


def test_a_cluster_and_a_stack_without_a_deployment_are_not_asked(tmp_path: Path) -> None:
    assert find_silence(_file(1, platform="kubernetes"), tmp_path) is None
    nothing = StackFile(Path("Pulumi.yaml"), DeploymentEnvironment.DEVELOPMENT, MappingProxyType({}))
    assert find_silence(nothing, tmp_path) is None


@pytest.mark.parametrize(
    ("platform", "deployed", "image", "expected"),
    [
        ("docker", True, "sha256:1", True),
        ("local", True, "sha256:1", True),
        ("docker", True, "", False),
        ("kubernetes", True, "repository@sha256:1", False),
        ("docker", False, "", True),
        ("local", False, "", False),
    ],
)
def test_what_runs_is_told_by_the_state(platform: str, deployed: bool, image: str, expected: bool) -> None:
    file = replace(_file(1, platform=platform), image=image)
    assert runs_in_containers(file if deployed else replace(file, deployed=MappingProxyType({}))) is expected
