"""Traffic made from a contract: a service takes every transaction, and they are spread as the training rows were."""

from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_store.contract.bins import category_bins, number_bins
from model_store.registry.registry import ModelRegistry
from stacks.checks.traffic import Sent, send_traffic, transactions
from stacks.errors import EndpointSilent
from stacks.rollout import silence
from stacks.rollout.silence import Silence
from tests.service import Service, Setting


@pytest.fixture
def key(setting: Setting, tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(setting.api_key)
    return file


def test_a_service_decides_every_transaction(service: Service, setting: Setting, key: Path) -> None:
    rows = transactions(setting.registry.get_metadata(setting.model_id).feature_schema, seed=1)
    told: list[Sent] = []
    sent = send_traffic(service.url, key, rows, rate=100, seconds=2, told=told.append)
    assert 150 <= sent.requests <= 200
    assert (sent.good, sent.silent, sent.late) == (sent.requests, 0, 0)
    assert sent.by_version == Counter({setting.model_id: sent.requests})


def test_values_are_spread_as_those_of_training_and_fit_their_kinds() -> None:
    random = np.random.default_rng(3)
    amounts = random.lognormal(3, 1, 5000)
    channels = random.choice(["web", "shop", "phone"], 5000, p=[0.7, 0.25, 0.05]).tolist()
    schema: list[dict[str, Any]] = [
        {"name": "amount", "type": "number", "minimum": 0.0, "maximum": float(amounts.max()),
         "bins": number_bins(amounts, 10_000), "gaps": True},
        {"name": "channel", "type": "category", "categories": ["phone", "shop", "web"],
         "bins": category_bins(channels, ["phone", "shop", "web"], 5000)},
        {"name": "count", "type": "integer", "minimum": 1, "maximum": 6},
        {"name": "abroad", "type": "boolean"},
        {"name": "at", "type": "time"},
        {"name": "note", "type": "text"},
        {"name": "unknown", "type": "number"},
    ]  # fmt: skip
    found = list(islice(transactions(schema, seed=5), 4000))
    given = np.array([row["amount"] for row in found if row["amount"] is not None])
    assert len(given) / len(found) == pytest.approx(0.5, abs=0.03), "half of the training rows had a gap"
    edges = np.quantile(amounts, np.linspace(0.1, 0.9, 9))
    shares = np.bincount(np.searchsorted(edges, given), minlength=10) / len(given)
    assert np.abs(shares - 0.1).max() < 0.03
    assert ((given >= 0) & (given <= amounts.max())).all()
    assert Counter(row["channel"] for row in found)["web"] / len(found) == pytest.approx(0.7, abs=0.03)
    assert {row["count"] for row in found} == set(range(1, 7))
    assert {type(row["count"]) for row in found} == {int}
    assert {row["abroad"] for row in found} == {True, False}
    assert all(row["at"].endswith("Z") and isinstance(row["note"], str) for row in found)
    assert next(transactions(schema, seed=5)) == found[0] | {"at": next(transactions(schema, seed=5))["at"]}


def test_what_does_not_answer_is_told_at_the_end(setting: Setting, key: Path, tmp_path: Path) -> None:
    rows = transactions(setting.registry.get_metadata(setting.model_id).feature_schema)
    with pytest.raises(EndpointSilent, match="does not answer"):
        send_traffic("http://127.0.0.1:9", key, rows, rate=20, seconds=0.2)
    with pytest.raises(EndpointSilent, match="--api-key-file"):
        send_traffic("http://127.0.0.1:9", tmp_path / "nowhere", rows, rate=20, seconds=0.2)


def test_a_refused_key_is_counted_by_its_answer(service: Service, setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("unknown")
    rows = transactions(setting.registry.get_metadata(setting.model_id).feature_schema)
    sent = send_traffic(service.url, tmp_path / "other", rows, rate=20, seconds=0.5)
    assert set(sent.answers) == {401}
    assert sent.good == 0


def _silence(monkeypatch: pytest.MonkeyPatch, log: list[str], *, in_cluster: bool, before: int | None = 0) -> Silence:
    def cloud(*_given: Any) -> Any:
        def requests(_model_id: str, _minutes: int) -> int:
            if before is None:
                raise EndpointSilent("CloudWatch refuses")
            return before

        return SimpleNamespace(requests=requests)

    config = SimpleNamespace(environment="staging", deployment_name="fraud")
    file: Any = SimpleNamespace(
        in_cluster=in_cluster, environment="staging", model_version="m", deployment=lambda: config, cloud=lambda: None
    )
    monkeypatch.setattr(silence, "CloudMetrics", cloud)
    return Silence(file, log.append)


def _status(requests: int) -> Any:
    return SimpleNamespace(numbers={"stable": {"requests": requests}, "candidate": {"requests": 0}})


def test_a_step_without_a_request_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    here = _silence(monkeypatch, log, in_cluster=False)
    for waited in (0.0, 4.0, 6.0, 7.0):
        here.look(_status(0), waited)
    assert [line.split(";")[0] for line in log] == [
        "no request has come to staging since the step began 6 s ago, and requests decide about a candidate"
    ]
    assert "make traffic ENVIRONMENT=staging" in log[0]


@pytest.mark.parametrize(("before", "lines"), [(0, 1), (3, 0), (None, 0)])
def test_in_a_cluster_the_minutes_before_tell_at_once(
    monkeypatch: pytest.MonkeyPatch, before: int | None, lines: int
) -> None:
    log: list[str] = []
    _silence(monkeypatch, log, in_cluster=True, before=before).look(_status(0), 0.0)
    assert len(log) == lines


def test_a_registered_models_schema_is_enough(tmp_path: Path, setting: Setting) -> None:
    registry: ModelRegistry = setting.registry
    row = next(transactions(registry.get_metadata(setting.model_id).feature_schema))
    assert list(row) == [each["name"] for each in registry.get_metadata(setting.model_id).feature_schema]
