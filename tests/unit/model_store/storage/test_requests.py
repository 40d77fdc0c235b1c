"""How many requests a registry in S3 makes, as the server counts them."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sklearn.linear_model import LogisticRegression

from model_store import ModelRegistry
from model_store.contract.preparing import prepare
from model_store.registry.request import RegistrationRequest

_MOST_TO_REGISTER = 10
_VERSIONS = 600


class _Server(logging.Handler):
    """Counts the requests that the server logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=True)

    def emit(self, record: logging.LogRecord) -> None:
        if " HTTP/1.1" in (line := record.getMessage()):
            self.lines.append(line.partition('"')[2])

    def __enter__(self) -> "_Server":
        logger = logging.getLogger("werkzeug")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.address = f"http://{host}:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        logging.getLogger("werkzeug").removeHandler(self)

    def taken(self) -> list[str]:
        """The requests since the last call."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    with _Server() as running:
        yield running


@pytest.fixture
def registry(server: _Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="counted")
    yield lambda: ModelRegistry("s3://counted/registry", encrypt=False)
    boto3.resource("s3").Bucket("counted").objects.all().delete()
    boto3.client("s3").delete_bucket(Bucket="counted")


def _prepared() -> tuple[Any, RegistrationRequest]:
    request = RegistrationRequest(model_name="fraud")
    return prepare(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), request), request


def test_a_registration_makes_as_many_requests_however_many_came_before(server: _Server, registry: Any) -> None:
    opened = registry()
    prepared, request = _prepared()
    opened.register_prepared(prepared, request)
    server.taken()
    for _ in range(25):
        opened.register_prepared(prepared, request)
        requests = server.taken()
        assert len(requests) <= _MOST_TO_REGISTER, requests
    assert len(opened.list_models()) == 26


def test_a_cold_list_reads_the_index_and_what_changed_since(server: _Server, registry: Any) -> None:
    opened = registry()
    prepared, request = _prepared()
    first = opened.register_prepared(prepared, request)
    _multiply(opened, first, _VERSIONS)
    registry().list_models()  # writes the index
    server.taken()
    cold = registry()
    assert len(cold.list_models()) == _VERSIONS + 1
    requests = server.taken()
    assert len(requests) <= 2 + -(-3 * _VERSIONS // 1000), requests
    # A status that somebody else changed, a version that is new, and one that is gone are seen at once.
    changed = f"fraud_LogisticRegression_20200101_{0:06}"
    registry().update_model_status(changed, "archived")
    registry().storage.remove(f"models/fraud/fraud_LogisticRegression_20200101_{1:06}")
    newest = registry().register_prepared(prepared, request)
    server.taken()
    again = {model.model_id: str(model.status) for model in registry().list_models()}
    assert len(again) == _VERSIONS + 1
    assert again[changed] == "archived"
    assert newest in again
    assert len(server.taken()) <= 2 + -(-3 * _VERSIONS // 1000) + 4


def _multiply(registry: ModelRegistry, model_id: str, count: int) -> None:
    """Copies of a version's manifest and state: a list reads nothing else."""
    client = boto3.client("s3")
    source = f"registry/models/fraud/{model_id}"
    manifest, state = (
        client.get_object(Bucket="counted", Key=f"{source}/{file}")["Body"].read()
        for file in ("manifest.json", "state.json")
    )
    for number in range(count):
        copied = f"fraud_LogisticRegression_20200101_{number:06}"
        values = {**json.loads(manifest), "model_id": copied, "version": 1000 + number}
        target = f"registry/models/fraud/{copied}"
        client.put_object(Bucket="counted", Key=f"{target}/manifest.json", Body=json.dumps(values).encode())
        client.put_object(Bucket="counted", Key=f"{target}/state.json", Body=state)
