"""The OpenAPI document tells the truth: schemathesis asks what it allows and what it forbids."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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
    page = httpx.get(f"{service.url}/docs", trust_env=False).text
    assert all(name in page for name in FEATURES)
    assert "http://" not in page.replace(service.url, ""), "nothing from elsewhere"
