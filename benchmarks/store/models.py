"""The models to save: an XGBoost model of some 5 MB, a random forest of some 300 MB, float arrays of any size."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np


def prepare(name: str, directory: Path, megabytes: int) -> Path:
    """Makes a model once and keeps its pickle, so that every contestant gets the same one."""
    path = directory / f"{name}-{megabytes}.pickle"
    if not path.exists():
        path.write_bytes(pickle.dumps(_make(name, megabytes), protocol=5))
    return path


def _make(name: str, megabytes: int) -> Any:
    random = np.random.default_rng(0)
    if name == "arrays":
        # Floats of a limited precision, as measured values are: neither noise nor zeros.
        rows = megabytes * 1_000_000 // 8 // 64
        return {"weights": np.round(random.normal(size=(rows, 64)), 3)}
    data = random.normal(size=(20_000, 30)).astype(np.float32)
    target = (data[:, 0] + random.normal(size=20_000) > 0).astype(int)
    if name == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=1450, max_depth=7, n_jobs=2).fit(data, target)
    from sklearn.ensemble import RandomForestClassifier

    many = random.normal(size=(120_000, 10)).astype(np.float32)
    return RandomForestClassifier(max(1, megabytes * 10 // 37), n_jobs=2, random_state=0).fit(
        many, random.integers(0, 2, 120_000)
    )
