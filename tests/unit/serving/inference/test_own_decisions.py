"""A model that decides itself: as registered it decides; a threshold in the service's settings decides in its place."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier

from model_store.registry.measuring.proofs import read_golden_rows
from stacks.checks.golden import ask_golden_rows, choose_rows
from tests.service import Setting, listening, started


@pytest.fixture(scope="module")
def deciding(setting: Setting) -> tuple[str, FixedThresholdClassifier]:
    random = np.random.default_rng(2)
    rows = random.normal(size=(300, 3))
    model = FixedThresholdClassifier(LogisticRegression(), threshold=1.0, response_method="decision_function")
    model.fit(rows, (rows[:, 0] > 0).astype(int))
    return setting.registry.register_model(model=model, model_name="deciding"), model


@pytest.mark.parametrize("threshold", ["", "0.99", "0.2", "0.5"])
def test_it_is_served_with_every_threshold(
    setting: Setting, tmp_path: Path, deciding: tuple[str, FixedThresholdClassifier], threshold: str
) -> None:
    model_id, model = deciding
    changes = {"DECISION_THRESHOLD": threshold} if threshold else {}
    rows = np.random.default_rng(3).normal(size=(40, 3))
    with listening() as listener, started(setting, listener, MODEL_ID=model_id, **changes) as service:
        assert service.ready["status"] == "ready", service.ready
        names = [each["name"] for each in setting.registry.get_metadata(model_id).feature_schema]
        body = {"transactions": [dict(zip(names, row, strict=True)) for row in rows.tolist()]}
        headers = {"X-API-Key": setting.api_key}
        answer = httpx.post(f"{service.url}/predict", json=body, headers=headers, trust_env=False).json()
        key = tmp_path / "key"
        key.write_text(setting.api_key)
        found = read_golden_rows(setting.registry, model_id)
        assert found is not None
        contract, golden = found
        asked = choose_rows(contract, golden.decided_by_threshold() if threshold else golden)
        check = ask_golden_rows(service.url, key, asked)
        assert check.healthy, check.detail
    scores = model.predict_proba(rows)[:, 1]
    decided = model.predict(rows) == 1 if not threshold else scores >= float(threshold)
    assert [each["is_fraud"] for each in answer["predictions"]] == decided.tolist()
    np.testing.assert_allclose([each["fraud_probability"] for each in answer["predictions"]], scores, atol=1e-9)
