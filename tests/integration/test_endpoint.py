"""What a client relies on, asked of an endpoint that is up somewhere.

ENDPOINT_URL names it, MODEL_ID the model version that has to answer, API_KEY_FILE a key with the scope `predict`. The
golden rows come from the registry that MODEL_REGISTRY_URL names, with the keys of the environment or the checkout.
"""

import os
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.registry.measuring.proofs import read_golden_rows
from stacks.checks.endpoint import endpoint_verification
from stacks.checks.golden import Asked, ask_golden_rows, choose_rows
from stacks.registry_access import open_registry
from tests.checkout import SOURCE


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise pytest.UsageError(f"{name} is not set; see: make help")
    return value


def _verification() -> ssl.SSLContext | bool:
    return endpoint_verification(_variable("ENDPOINT_URL"), SOURCE)


@pytest.fixture(scope="module")
def endpoint() -> httpx.Client:
    return httpx.Client(base_url=_variable("ENDPOINT_URL"), timeout=30, verify=_verification())


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    return {"X-API-Key": Path(_variable("API_KEY_FILE")).read_text().strip()}


@pytest.fixture(scope="module")
def golden() -> list[Asked]:
    """Some golden rows of the version that has to answer."""
    found = read_golden_rows(open_registry(SOURCE), _variable("MODEL_ID"))
    if found is None:
        pytest.fail(f"the version has no golden rows; python scripts/manage_models.py prove {_variable('MODEL_ID')}")
    return choose_rows(*found)


@pytest.fixture(scope="module")
def transaction(golden: list[Asked]) -> dict[str, Any]:
    """One that the model answers."""
    return next(row.transaction for row in golden if row.score is not None)


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


def test_golden_rows_are_answered_as_the_model_answers_them(golden: list[Asked]) -> None:
    check = ask_golden_rows(_variable("ENDPOINT_URL"), Path(_variable("API_KEY_FILE")), golden, _verification())
    assert check.healthy, check.detail


def test_requests_without_a_key_are_answered_401(endpoint: httpx.Client, transaction: dict[str, Any]) -> None:
    for headers in ({}, {"X-API-Key": "unknown"}):
        answer = endpoint.post("/predict", json={"transaction": transaction}, headers=headers)
        assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_an_unknown_feature_is_named(endpoint: httpx.Client, key: dict[str, str], transaction: dict[str, Any]) -> None:
    answer = endpoint.post("/predict", json={"transaction": {**transaction, "no such feature": 1}}, headers=key)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert "no such feature" in answer.json()["error"]["message"]
