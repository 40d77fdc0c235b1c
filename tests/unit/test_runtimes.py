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

from model_store.errors import InvalidInput
from model_store.native_models import OnnxModel, onnx_bytes
from model_store.runtime_form import TOLERANCE, runtime_form
from serving.runtimes import InlineRuntime, Runtime, runtime_for
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


async def _everybody_at_once(runtime: Runtime) -> list[float]:
    found = await asyncio.gather(*(runtime.soon([row]) for row in ROWS.tolist()))
    return [value for (value,) in found]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("form", ["native", "onnx"])
def test_the_answers_are_the_models_own(model: Any, form: str) -> None:
    fitted = _fitted(model)
    expected = fitted.predict_proba(ROWS)[:, 1]
    runtime = runtime_for(OnnxModel(onnx_bytes(fitted)) if form == "onnx" else fitted, 4)
    np.testing.assert_allclose(runtime.compute(ROWS.tolist()), expected, atol=TOLERANCE)
    np.testing.assert_allclose(run_in_a_loop_of_its_own(_everybody_at_once(runtime)), expected, atol=TOLERANCE)
    for row, value in zip(ROWS.tolist()[:5], expected, strict=False):
        now = runtime.now([row])
        assert now is None or now == [pytest.approx(float(value), abs=TOLERANCE)]


@pytest.mark.parametrize(("seconds_a_row", "here"), [(0.0, 2), (0.001, 1)])
def test_long_batches_are_left_to_the_thread_by_what_a_row_takes(seconds_a_row: float, here: int) -> None:
    class Paced(InlineRuntime):
        def _answer(self, rows: Any) -> Any:
            time.sleep(seconds_a_row * len(rows))
            return np.full(len(rows), 0.25, dtype=np.float32)

    runtime = Paced(4)
    runtime.measure_pace()
    rows = [[0.0] * 4] * 2
    assert runtime.now(rows[:1]) == [0.25]
    assert runtime.now(rows) == ([0.25, 0.25] if here == len(rows) else None)
    assert run_in_a_loop_of_its_own(runtime.soon(rows)) == [0.25, 0.25]


def test_onnx_runtime_does_not_report_home(tmp_path: Path) -> None:
    code = "from model_store.native_models import OnnxModel; import onnxruntime"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, timeout=60)
    assert not list(tmp_path.iterdir())


def test_a_number_beyond_32_bits_is_infinite_and_no_error() -> None:
    runtime = runtime_for(_fitted(XGBClassifier(n_estimators=3)), 4)
    (value,) = runtime.now([[1e300, 0.0, -1e300, 0.0]]) or runtime.compute([[1e300, 0.0, -1e300, 0.0]])
    assert 0 <= value <= 1


def test_an_error_in_one_batch_reaches_those_in_it_and_the_next_goes_on() -> None:
    class Fails:
        calls = 0

        def predict_proba(self, rows: Any) -> Any:
            Fails.calls += 1
            if Fails.calls == 1:
                raise ValueError("no")
            return np.column_stack([np.zeros(len(rows)), np.ones(len(rows))])

    async def ask() -> tuple[Any, Any]:
        runtime = runtime_for(Fails(), 1)
        (first,) = await asyncio.gather(runtime.soon([[0.0]]), return_exceptions=True)
        return first, await runtime.soon([[0.0]])

    first, second = run_in_a_loop_of_its_own(ask())
    assert isinstance(first, ValueError)
    assert second == [1.0]


def test_requests_that_wait_are_calculated_together() -> None:
    sizes: list[int] = []

    class Counts:
        def predict_proba(self, rows: Any) -> Any:
            sizes.append(len(rows))
            return np.full((len(rows), 2), 0.5)

    async def ask() -> None:
        runtime = runtime_for(Counts(), 1)
        await asyncio.gather(*(runtime.soon([[0.0]]) for _ in range(100)))

    run_in_a_loop_of_its_own(ask())
    assert sum(sizes) == 100
    assert len(sizes) < 20


def test_what_does_not_agree_or_convert_has_no_second_form() -> None:
    schema = [{"name": str(number), "type": "number"} for number in range(4)]
    form = runtime_form(_fitted(XGBClassifier(n_estimators=5)), schema, 1000)
    assert form.largest_difference <= TOLERANCE
    with pytest.raises(InvalidInput, match="at most"):
        runtime_form(_fitted(LogisticRegression()), schema, 1 << 40)

    class Odd(LogisticRegression):
        def predict_proba(self, rows: Any) -> Any:
            return super().predict_proba(rows) / 2

    with pytest.raises(InvalidInput):
        runtime_form(Odd().fit(DATA, TARGET), schema, 1000)
