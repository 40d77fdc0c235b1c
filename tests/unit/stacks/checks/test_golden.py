"""Golden rows asked over the wire: an endpoint that answers otherwise, or not at all, is found."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.golden import GoldenRows
from model_store.registry.measuring.proofs import read_golden_rows
from stacks.checks.golden import Asked, ask_golden_rows, choose_rows
from tests.service import Service, Setting


@pytest.fixture(scope="module")
def rows(setting: Setting) -> list[Asked]:
    found = read_golden_rows(setting.registry, setting.model_id)
    assert found is not None
    return choose_rows(*found)


@pytest.fixture
def key(setting: Setting, tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(setting.api_key)
    return file


def test_the_registered_model_answers_its_rows(service: Service, rows: list[Asked], key: Path) -> None:
    assert sum(row.score is not None for row in rows) == 24
    check = ask_golden_rows(service.url, key, rows)
    assert check.healthy, check.detail
    assert check.detail.startswith(f"{len(rows)} are answered")


def test_another_answer_to_one_row_is_found_and_shown(service: Service, rows: list[Asked], key: Path) -> None:
    last = max(number for number, row in enumerate(rows) if row.score is not None)
    for score in (float(rows[last].score or 0) + 2e-6, 1 - float(rows[last].score or 0)):
        check = ask_golden_rows(service.url, key, [*rows[:last], replace(rows[last], score=score), *rows[last + 1 :]])
        assert not check.healthy
        assert f"the model {score}" in check.detail


def test_an_answer_to_a_row_that_the_model_refuses_is_found(service: Service, rows: list[Asked], key: Path) -> None:
    check = ask_golden_rows(service.url, key, [replace(rows[0], score=None)])
    assert not check.healthy
    assert "answers 200, it is to be refused" in check.detail


def test_a_refused_key_a_missing_key_and_a_silent_endpoint_are_reported(
    service: Service, rows: list[Asked], key: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_text("unknown")
    assert "401" in ask_golden_rows(service.url, tmp_path / "other", rows).detail
    assert "cannot be read" in ask_golden_rows(service.url, tmp_path / "nowhere", rows).detail
    silent = ask_golden_rows("http://127.0.0.1:9", key, rows)
    assert not silent.healthy
    assert "no answer" in silent.detail


def test_wide_rows_are_asked_as_far_as_a_request_may_be_long() -> None:
    features = tuple(Feature(name=f"feature {number}") for number in range(2000))
    contract = Contract("binary", "predict_proba", (0, 1), 1, 0.5, "default", False, features)
    chosen = choose_rows(contract, GoldenRows(((0.123456789,) * 2000,) * 50, (0.5,) * 50))
    assert 1 <= len(chosen) < 10
