"""What a client relies on, asked of an endpoint that is up somewhere.

ENDPOINT_URL names it, MODEL_ID the model version that has to answer, API_KEY_FILE a key with the scope `predict`.
"""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise pytest.UsageError(f"{name} is not set; see: make help")
    return value


@pytest.fixture(scope="module")
def endpoint() -> httpx.Client:
    return httpx.Client(base_url=_variable("ENDPOINT_URL"), timeout=30)


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    return {"X-API-Key": Path(_variable("API_KEY_FILE")).read_text().strip()}


@pytest.fixture(scope="module")
def transaction(endpoint: httpx.Client, key: dict[str, str]) -> dict[str, Any]:
    """One that fits the model's feature schema."""
    schema = endpoint.get("/model", headers=key).json()["manifest"]["feature_schema"]
    return {feature["name"]: float(feature.get("min", 0) or 0) for feature in schema}


def test_the_wanted_model_version_is_ready(endpoint: httpx.Client) -> None:
    answer = endpoint.get("/health/ready")
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["model_id"] == _variable("MODEL_ID")


def test_a_transaction_is_decided(endpoint: httpx.Client, key: dict[str, str], transaction: dict[str, Any]) -> None:
    answer = endpoint.post("/predict", json={"transaction": transaction}, headers=key)
    assert answer.status_code == httpx.codes.OK, answer.text
    body = answer.json()
    assert body["model_id"] == _variable("MODEL_ID")
    (prediction,) = body["predictions"]
    assert 0 <= prediction["fraud_probability"] <= 1


def test_nobody_is_let_in_without_a_key(endpoint: httpx.Client, transaction: dict[str, Any]) -> None:
    for headers in ({}, {"X-API-Key": "unknown"}):
        answer = endpoint.post("/predict", json={"transaction": transaction}, headers=headers)
        assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_missing_feature_is_named(endpoint: httpx.Client, key: dict[str, str], transaction: dict[str, Any]) -> None:
    name = next(iter(transaction))
    rest = {other: value for other, value in transaction.items() if other != name}
    answer = endpoint.post("/predict", json={"transaction": rest}, headers=key)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert name in answer.json()["error"]["message"]
