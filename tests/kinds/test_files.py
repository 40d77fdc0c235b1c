"""Every kind of the catalogue is read from what `pickle` and `joblib` write of it, and answers as before."""

import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost

from model_store.serialization.model_files import load_model_file
from tests.kinds.catalogue import KINDS, label_of
from tests.kinds.kind import Kind

LONG = os.environ.get("KINDS_LONG") == "1"
"""Whether there is time for every way with every kind; otherwise the kinds take turns."""
_WAYS: list[tuple[str, Any]] = [
    *[("pickle", protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)],
    *[("joblib", compress) for compress in (0, "zlib", "gzip", "bz2", "xz", "lzma", "lz4")],
]
_MOST_ROWS = 50


@pytest.mark.parametrize(("number", "kind"), list(enumerate(KINDS)), ids=[label_of(kind) for kind in KINDS])
def test_every_protocol_and_compression_is_read_by_default(number: int, kind: Kind, tmp_path: Path) -> None:
    trained = kind.train(tmp_path)
    if isinstance(trained.model, Path):
        return  # A file of its library's own form, which has neither.
    own = _answers(trained.model, trained.rows[:_MOST_ROWS])
    for way, detail in _WAYS if LONG else [_WAYS[number % len(_WAYS)]]:
        path = tmp_path / f"model-{detail}{'.pkl' if way == 'pickle' else '.joblib'}"
        path.write_bytes(_written(trained.model, way, detail))
        loaded = load_model_file(path)
        path.unlink()
        assert type(loaded) is type(trained.model)
        for name, values in _answers(loaded, trained.rows[:_MOST_ROWS]).items():
            np.testing.assert_array_equal(values, own[name], err_msg=f"{way} {detail}: {name}")


def _written(model: Any, way: str, detail: Any) -> bytes:
    if way == "pickle":
        return pickle.dumps(model, protocol=detail)
    file = io.BytesIO()
    joblib.dump(model, file, compress=(detail, 3) if detail else 0)
    return file.getvalue()


def _answers(model: Any, rows: Any) -> dict[str, Any]:
    """By each of its methods, what a model answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(model, xgboost.Booster):
            return {"predict": model.predict(xgboost.DMatrix(rows, enable_categorical=True))}
        found = {
            name: np.asarray(getattr(model, name)(rows))
            for name in ("predict_proba", "decision_function", "score_samples", "predict")
            if hasattr(model, name)
        }
    assert found
    return found
