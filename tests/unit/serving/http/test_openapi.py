"""The OpenAPI document tells the truth: schemathesis asks what it allows and what it forbids."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.service import FEATURES, Service, Setting, listening, started


@pytest.fixture(scope="module")
def service(setting: Setting) -> Iterator[Service]:
    changes = {"RATE_LIMIT_PER_SECOND": "0"}
    with listening() as listener, started(setting, listener, **changes) as running:
        yield running


def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(
    service: Service, setting: Setting, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    command += ["--header", f"X-API-Key: {setting.api_key}", "--max-examples", "60", "--seed", "1", "--no-color"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
    command[-1] += ",response_schema_conformance,negative_data_rejection,unsupported_method"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_document_has_the_models_own_features_and_an_example_that_works(service: Service, setting: Setting) -> None:
    document = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()
    assert tuple(document["components"]["schemas"]["Transaction"]["properties"]) == FEATURES
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    headers = {"X-API-Key": setting.api_key}
    assert httpx.post(f"{service.url}/predict", json=example, headers=headers, trust_env=False).status_code == 200


def test_the_document_is_valid_openapi(service: Service) -> None:
    document = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_names_an_answer_that_the_service_has_as_a_type(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()["components"]["schemas"]
    assert schemas["Live"]["required"] == ["status"]
    assert schemas["Live"]["properties"]["status"]["enum"] == ["alive"]
    assert schemas["Prediction"]["properties"]["fraud_probability"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert schemas["Feedback"]["properties"]["items"]["maxItems"] == 50, "the setting MAX_BATCH"
    assert set(schemas["Outcome"]["required"]) == {"was_fraud"}
    assert set(schemas["Outcome"]["properties"]) == {"receipt", "predicted_fraud", "was_fraud"}
    closed = ("Transaction", "OneTransaction", "SeveralTransactions", "Feedback", "Outcome")
    assert {name for name, schema in schemas.items() if schema.get("additionalProperties") is False} == set(closed)
    assert schemas["Refusal"]["required"] == ["code", "message"]
