"""Numbers that 32 bits do not hold: card BINs, ids, times, decimals at a split, values past 32 bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from tests.kinds.data import ASKED_ROWS, TRAINED_ROWS, Data
from tests.kinds.kind import Group, Trained, trained

precise = Group("numbers past 32 bits")
_SIZE = TRAINED_ROWS + ASKED_ROWS


def _beside_amounts(numbers: np.ndarray, fraud: np.ndarray, rng: np.random.Generator) -> Data:
    table = np.column_stack([numbers, np.round(rng.lognormal(4, 1, _SIZE), 2)]).astype(np.float64)
    target = (fraud ^ (rng.random(_SIZE) < 0.03)).astype(int)
    return Data(table[:TRAINED_ROWS], target[:TRAINED_ROWS], table[TRAINED_ROWS:])


def _stripes(numbers: np.ndarray, width: int) -> np.ndarray:
    """Every third stripe of ten, and all of the upper ones: seen by trees and by lines."""
    return np.asarray(((numbers // width) % 3 == 0) | (numbers >= 7 * width))


def _bins() -> Data:
    rng = np.random.default_rng(5)
    numbers = rng.choice(np.arange(45717300, 45717320), _SIZE)
    return _beside_amounts(numbers, np.isin(numbers % 10, [3, 7]), rng)


def _ids() -> Data:
    rng = np.random.default_rng(6)
    numbers = 4_000_000_000 + rng.integers(0, 600, _SIZE)
    return _beside_amounts(numbers, _stripes(numbers - 4_000_000_000, 60), rng)


def _milliseconds() -> Data:
    rng = np.random.default_rng(7)
    numbers = 1_760_000_000_000 + rng.integers(0, 600_000, _SIZE)
    return _beside_amounts(numbers, _stripes(numbers - 1_760_000_000_000, 60_000), rng)


def _decimals() -> Data:
    rng = np.random.default_rng(8)
    numbers = np.round(rng.integers(0, 40, _SIZE) * 0.1, 1)
    data = _beside_amounts(numbers, np.round(numbers * 10) % 6 < 3, rng)
    known = np.unique(data.train[:, 0])
    # Each value, each middle of two, where splits are, and what is closest to them.
    exact = np.concatenate([known, (known[1:] + known[:-1]) / 2])
    near = np.concatenate([exact, *(np.nextafter(exact, end) for end in (-9, 9)), exact + 1e-9, exact - 1e-9])
    return Data(data.train, data.target, np.vstack([data.rows, np.column_stack([near, np.full(len(near), 20.0)])]))


def _huge() -> Data:
    rng = np.random.default_rng(9)
    numbers = rng.choice([1e39, -1e39, 1e100, 5.0, -5.0], _SIZE)
    return _beside_amounts(numbers, numbers >= 1e39, rng)


def _hist() -> Any:
    return HistGradientBoostingClassifier(max_iter=20)


def _lightgbm() -> Any:
    return LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1)


def _scaled() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _one_hot() -> Any:
    return _columns(OneHotEncoder(handle_unknown="ignore"))


def _ordinal() -> Any:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(encoder, DecisionTreeClassifier(max_depth=6))


def _columns(encoder: Any) -> Any:
    columns = ColumnTransformer([("numbers", encoder, [0]), ("amount", StandardScaler(), [1])])
    return make_pipeline(columns, LogisticRegression())


_MADE: dict[str, tuple[Callable[[], Any], Callable[[], Data]]] = {
    "8-digit BINs in LightGBM": (_lightgbm, _bins),
    "8-digit BINs in HistGradientBoosting": (_hist, _bins),
    "8-digit BINs in OneHotEncoder": (_one_hot, _bins),
    "8-digit BINs in OrdinalEncoder": (
        _ordinal,
        _bins,
    ),
    "8-digit BINs in XGBoost": (lambda: XGBClassifier(n_estimators=20, n_jobs=1), _bins),
    "ids near 4e9 in LightGBM": (_lightgbm, _ids),
    "ids near 4e9 in KBinsDiscretizer": (
        lambda: _columns(KBinsDiscretizer(20, quantile_method="averaged_inverted_cdf")),
        _ids,
    ),
    "ids near 4e9 in StandardScaler": (_scaled, _ids),
    "ids near 4e9 in a forest": (lambda: RandomForestClassifier(8, random_state=0), _ids),
    "epoch milliseconds in LightGBM": (_lightgbm, _milliseconds),
    "epoch milliseconds in HistGradientBoosting": (_hist, _milliseconds),
    "epoch milliseconds in StandardScaler": (_scaled, _milliseconds),
    "decimals at a split in LightGBM": (_lightgbm, _decimals),
    "decimals at a split in HistGradientBoosting": (_hist, _decimals),
    "decimals at a split in XGBoost": (lambda: XGBClassifier(n_estimators=20, n_jobs=1), _decimals),
    "decimals at a split in a tree": (lambda: DecisionTreeClassifier(max_depth=4), _decimals),
    "values past 32 bits in LightGBM": (_lightgbm, _huge),
    "values past 32 bits in HistGradientBoosting": (_hist, _huge),
    "values past 32 bits in OneHotEncoder": (_one_hot, _huge),
    "values past 32 bits in StandardScaler": (_scaled, _huge),
}
_CHEAP = {"8-digit BINs in LightGBM", "ids near 4e9 in StandardScaler", "values past 32 bits in HistGradientBoosting"}


def _add(name: str, make: Callable[[], Any], data: Callable[[], Data]) -> None:
    def train(directory: Path) -> Trained:
        given = data()
        return trained(make().fit(given.train, given.target), given.rows)

    precise.add(name, cheap=name in _CHEAP)(train)


for _name, (_make, _data) in _MADE.items():
    _add(_name, _make, _data)
