"""Reasons for answers: `POST /predict?reasons=3`, asked of a real service."""

from typing import Any

import httpx
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier

from serving.http.reasons import MOST_REASONS, MOST_ROWS, largest
from tests.service import FEATURES, GOOD, Service, Setting, listening, started

ROWS = [{"amount": 1.0, "hour": 2, "distance": 3.0}, {"amount": -1.5, "hour": 0, "distance": 0.25}]


def _answer(client: httpx.Client, reasons: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    answered = client.post(f"/predict?reasons={reasons}", json={"transactions": rows})
    assert answered.status_code == 200, answered.text
    found: dict[str, Any] = answered.json()
    return found


def test_reasons_are_xgboosts_own_contributions(client: httpx.Client, setting: Setting) -> None:
    answer = _answer(client, 3, ROWS)
    table = np.array([[row[name] for name in FEATURES] for row in ROWS])
    own = setting.model.get_booster().predict(xgboost.DMatrix(table), pred_contribs=True).astype(float)
    for prediction, contributions in zip(answer["predictions"], own[:, :-1], strict=True):
        reasons = prediction["reasons"]
        order = [number for number in np.argsort(-np.abs(contributions), kind="stable") if contributions[number]]
        assert [each["feature"] for each in reasons] == [FEATURES[number] for number in order]
        assert [each["contribution"] for each in reasons] == [contributions[number] for number in order]
        assert [each["direction"] for each in reasons] == [
            "raises" if contributions[number] > 0 else "lowers" for number in order
        ]
        assert sum(each["share"] for each in reasons) == pytest.approx(1)


def test_the_answer_is_the_one_without_reasons(client: httpx.Client, setting: Setting) -> None:
    plain = client.post("/predict", json={"transactions": ROWS}).json()
    answer = _answer(client, 1, ROWS)
    assert all(len(each.pop("reasons")) == 1 for each in answer["predictions"])
    receipts = [each.pop("receipt") for found in (plain, answer) for each in found["predictions"]]
    assert len(set(receipts)) == 2 * len(ROWS)
    assert {**answer, "request_id": ""} == {**plain, "request_id": ""}


def test_one_transaction_has_reasons_too(client: httpx.Client) -> None:
    answered = client.post("/predict?reasons=2", json={"transaction": GOOD})
    assert 1 <= len(answered.json()["predictions"][0]["reasons"]) <= 2


@pytest.mark.parametrize(
    "number", ["", "0", "-1", "x", "1.5", f"{MOST_REASONS + 1}", "9" * 5000, "%C2%B2", "1&reasons=2"]
)
def test_another_number_of_reasons_is_refused(client: httpx.Client, number: str) -> None:
    answered = client.post(f"/predict?reasons={number}", json={"transaction": GOOD})
    assert answered.status_code == 422
    error = answered.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_reasons", "reasons")
    assert f"from 1 to {MOST_REASONS}" in error["message"]


def test_another_parameter_changes_nothing(client: httpx.Client) -> None:
    answered = client.post("/predict?no_reasons=3", json={"transaction": GOOD})
    assert set(answered.json()["predictions"][0]) == {"fraud_probability", "is_fraud", "receipt"}


def test_a_transaction_that_is_refused_is_refused_with_reasons_too(client: httpx.Client) -> None:
    answered = client.post("/predict?reasons=3", json={"transaction": {"amount": 1.0}})
    assert answered.status_code == 422
    assert answered.json()["error"]["code"] == "missing_feature"


def test_too_many_transactions_with_reasons_are_refused(setting: Setting) -> None:
    changes = {"MAX_BATCH": "1000", "MAX_BODY_BYTES": "1000000"}
    headers = {"X-API-Key": setting.api_key}
    with listening() as listener, started(setting, listener, **changes) as running:
        for count, status in ((MOST_ROWS, 200), (MOST_ROWS + 1, 422)):
            body = {"transactions": [GOOD] * count}
            answered = httpx.post(f"{running.url}/predict?reasons=3", json=body, headers=headers, trust_env=False)
            assert answered.status_code == status, answered.text
        assert answered.json()["error"]["code"] == "too_many_transactions"
        assert httpx.post(f"{running.url}/predict", json=body, headers=headers, trust_env=False).status_code == 200


def test_a_model_without_contributions_says_so_and_goes_on_to_answer(setting: Setting) -> None:
    data = np.random.default_rng(0).normal(size=(100, 3))
    forest = RandomForestClassifier(3, random_state=0).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    model_id = setting.registry.register_model(model=forest, model_name="forest", feature_schema=schema)
    headers = {"X-API-Key": setting.api_key}
    with listening() as listener, started(setting, listener, MODEL_ID=model_id) as running:
        post = {"json": {"transaction": GOOD}, "headers": headers, "trust_env": False}
        refused = httpx.post(f"{running.url}/predict?reasons=3", **post)  # type: ignore[arg-type]
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert error["code"] == "no_reasons"
        assert "the library of RandomForestClassifier gives no exact contributions" in error["message"]
        assert httpx.post(f"{running.url}/predict", **post).status_code == 200  # type: ignore[arg-type]


def test_a_feature_without_contribution_is_no_reason(service: Service) -> None:
    assert largest(("a", "b"), (0.0, 0.0), 2) == []
    assert [each.feature for each in largest(("a", "b", "c"), (0.5, 0.0, -1.5), 3)] == ["c", "a"]
    assert [each.share for each in largest(("a", "b", "c"), (0.5, 0.0, -1.5), 3)] == [0.75, 0.25]
