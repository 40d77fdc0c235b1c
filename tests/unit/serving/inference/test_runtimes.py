"""Every runtime gives the model's own answers, one row or many, at once or together with others."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from model_store.contract.contract import Contract
from model_store.contract.features import Feature
from model_store.contract.form import FormRunner
from model_store.contract.own import RowRefused
from model_store.contract.proving import Claims, prove
from serving.inference.runtimes import Runtime
from tests.checkout import SOURCE
from tests.event_loop import run_in_a_loop_of_its_own

DATA = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
TARGET = (DATA[:, 0] * DATA[:, 1] > 0).astype(int)
ROWS = np.random.default_rng(1).normal(scale=2, size=(60, 4)).astype(np.float32)
MODELS = [
    XGBClassifier(n_estimators=10),
    XGBClassifier(n_estimators=50, early_stopping_rounds=2),
    LGBMClassifier(n_estimators=10, verbose=-1),
    RandomForestClassifier(10, random_state=0),
    LogisticRegression(),
    make_pipeline(StandardScaler(), LogisticRegression()),
]


def _fitted(model: Any) -> Any:
    more = {"eval_set": [(DATA, TARGET)], "verbose": False} if getattr(model, "early_stopping_rounds", None) else {}
    return model.fit(DATA, TARGET, **more)


TOLERANCE = 1e-6


def _runtime(model: Any, *, form: bool) -> Runtime:
    proven = prove(model, Claims(), form=form)
    runner = FormRunner(proven.form, proven.contract.threshold) if proven.form else None
    assert (runner is not None) == form, proven.reason
    return Runtime(proven.contract.own(model), runner)


def _around(model: Any, features: int) -> Runtime:
    """A runtime of something that is not an estimator."""
    names = tuple(Feature(name=str(number), gaps=False) for number in range(features))
    contract = Contract("binary", "predict_proba", (0, 1), 1, 0.5, "default", False, names)
    return Runtime(contract.own(model))


async def _everybody_at_once(runtime: Runtime) -> list[float]:
    found = await asyncio.gather(*(runtime.predict_async([row]) for row in ROWS.tolist()))
    return [value for (value,) in found]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("form", ["own library", "optimized form"])
def test_the_answers_are_the_models_own(model: Any, form: str) -> None:
    fitted = _fitted(model)
    expected = fitted.predict_proba(ROWS.astype(np.float64))[:, 1]
    runtime = _runtime(fitted, form=form == "optimized form")
    np.testing.assert_allclose(runtime.compute(ROWS.tolist()), expected, atol=TOLERANCE)
    np.testing.assert_allclose(run_in_a_loop_of_its_own(_everybody_at_once(runtime)), expected, atol=TOLERANCE)
    for row, value in zip(ROWS.tolist()[:5], expected, strict=False):
        inline = runtime.predict_inline([row])
        assert inline is None or inline == [pytest.approx(float(value), abs=TOLERANCE)]


def test_long_batches_are_left_to_the_thread_by_what_a_row_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _runtime(_fitted(LogisticRegression()), form=True)
    rows = [[0.5] * 4] * 2
    assert runtime.predict_inline(rows) is None, "one row until it is known how long one takes"
    runtime.measure_pace(rows)
    expected = pytest.approx(runtime.compute(rows))
    assert runtime.predict_inline(rows) == expected
    assert run_in_a_loop_of_its_own(runtime.predict_async(rows)) == expected
    many = FormRunner.many

    def slow(self: FormRunner, rows: Any) -> Any:
        time.sleep(0.001 * len(rows))
        return many(self, rows)

    monkeypatch.setattr(FormRunner, "many", slow)
    runtime.measure_pace(rows)
    assert runtime.predict_inline(rows) is None


def test_onnx_runtime_does_not_report_home(tmp_path: Path) -> None:
    code = "from model_store.serialization.native_models import OnnxModel; import onnxruntime"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    root = SOURCE
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, timeout=60)
    assert not list(tmp_path.iterdir())


def test_a_number_beyond_32_bits_is_answered_by_the_models_own_library() -> None:
    model = _fitted(XGBClassifier(n_estimators=3))
    runtime, row = _runtime(model, form=True), [1e300, 0.0, -1e300, 0.0]
    assert runtime.predict_inline([row]) is None
    assert runtime.compute([row]) == pytest.approx(model.predict_proba([row])[:, 1].tolist(), abs=TOLERANCE)
    assert (runtime.by_form, runtime.by_own) == (0, 1)


def test_a_score_beside_the_threshold_is_the_librarys() -> None:
    model = _fitted(LGBMClassifier(n_estimators=10, verbose=-1))
    rows = ROWS.astype(np.float64)
    scores = model.predict_proba(rows)[:, 1]
    proven = prove(model, Claims(threshold=float(scores[0])))
    assert proven.form is not None
    runtime = Runtime(proven.contract.own(model), FormRunner(proven.form, proven.contract.threshold))
    found = np.asarray(runtime.compute(rows.tolist()))
    assert runtime.by_own >= 1
    assert ((found >= scores[0]) == (scores >= scores[0])).all()


def test_a_row_that_is_refused_is_one_callers_and_the_others_are_answered() -> None:
    class Picky:
        def predict_proba(self, rows: Any) -> Any:
            if (rows < 0).any():
                raise ValueError("negative amounts are not known")
            return np.column_stack([1 - rows[:, 0], rows[:, 0]])

    async def ask() -> list[Any]:
        runtime = _around(Picky(), 1)
        asked = ([[0.25]], [[-1.0]], [[0.5], [0.75]])
        return list(await asyncio.gather(*(runtime.predict_async(rows) for rows in asked), return_exceptions=True))

    first, refused, third = run_in_a_loop_of_its_own(ask())
    assert (first, third) == ([0.25], [0.5, 0.75])
    assert isinstance(refused, RowRefused)
    assert "negative amounts" in str(refused)


def test_requests_that_wait_are_calculated_together() -> None:
    sizes: list[int] = []

    class Counts:
        def predict_proba(self, rows: Any) -> Any:
            sizes.append(len(rows))
            return np.full((len(rows), 2), 0.5)

    async def ask() -> None:
        runtime = _around(Counts(), 1)
        await asyncio.gather(*(runtime.predict_async([[0.0]]) for _ in range(100)))

    run_in_a_loop_of_its_own(ask())
    assert sum(sizes) == 100
    assert len(sizes) < 20


def test_a_model_that_answers_otherwise_than_its_kind_has_no_optimized_form() -> None:
    class Odd(LogisticRegression):
        def predict_proba(self, rows: Any) -> Any:
            return super().predict_proba(rows) / 2

    proven = prove(Odd().fit(DATA, TARGET), Claims())
    assert proven.form is None
    assert proven.reason
