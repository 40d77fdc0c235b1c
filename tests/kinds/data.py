"""Small data to train on, and rows to ask: ordinary ones, and those at the ends of what a model takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.kinds.kind import Rows

TRAINED_ROWS, ASKED_ROWS = 400, 160
PAST_24_BITS = float(2**24 + 1)
PAST_32_BITS = 1e39


@dataclass(frozen=True)
class Data:
    """What to train on and what to ask."""

    train: Rows
    target: np.ndarray
    rows: Rows

    def named(self, fraud: object, legit: object) -> np.ndarray:
        """The target as labels of another kind."""
        return np.array([fraud if value else legit for value in self.target])


def numbers(columns: int = 4, *, seed: int = 0, gaps: float = 0.0, extremes: bool = True) -> Data:
    """Numbers around zero; fraud where two of them are large together, with some noise.

    Args:
        columns: how many.
        seed: of the generator.
        gaps: the share of cells that are NaN.
        extremes: whether rows far from the training data are asked too.
    """
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(TRAINED_ROWS + ASKED_ROWS, columns))
    target = ((table[:, 0] + table[:, 1] + rng.normal(scale=0.3, size=len(table))) > 1).astype(int)
    if gaps:
        table[rng.random(table.shape) < gaps] = np.nan
    train, asked = table[:TRAINED_ROWS], table[TRAINED_ROWS:]
    rows = np.vstack([asked, *(_extremes(train) if extremes else ())])
    return Data(train, target[:TRAINED_ROWS], rows)


def _extremes(train: np.ndarray) -> list[np.ndarray]:
    columns = train.shape[1]
    known = np.nan_to_num(train[:8])
    far = np.diag([PAST_24_BITS, -1e6, 1e9, 3.0] * columns)[:columns, :columns]
    return [
        np.zeros((1, columns)),
        np.full((1, columns), -0.0),
        np.full((1, columns), 1e-300),
        far,
        np.nextafter(known, np.inf),
        known.astype(np.float32).astype(np.float64),
        np.nextafter(known.astype(np.float32), np.float32(-np.inf)).astype(np.float64),
    ]


def counts(columns: int = 4) -> Data:
    """Whole numbers from 0 to 4, as naive Bayes over counts and categories takes them."""
    rng = np.random.default_rng(1)
    table = rng.integers(0, 5, size=(TRAINED_ROWS + ASKED_ROWS, columns)).astype(float)
    target = ((table[:, 0] > 2) ^ (rng.random(len(table)) < 0.1)).astype(int)
    return Data(table[:TRAINED_ROWS], target[:TRAINED_ROWS], table[TRAINED_ROWS:])


def codes(*, unseen: bool = True) -> Data:
    """A column of category codes (0 to 19) beside three of numbers; the category decides."""
    rng = np.random.default_rng(2)
    table = rng.normal(size=(TRAINED_ROWS + ASKED_ROWS, 4))
    table[:, 0] = rng.integers(0, 20, len(table))
    target = (np.isin(table[:, 0], [1, 5, 7, 11, 19]) ^ (table[:, 1] > 1)).astype(int)
    rows = table[TRAINED_ROWS:]
    if unseen:
        rows = np.vstack([rows, [[99.0, 0.0, 0.0, 0.0]]])
    return Data(table[:TRAINED_ROWS], target[:TRAINED_ROWS], rows)


def frame(*, gaps: bool = False, unseen: bool = False) -> Data:
    """Transactions as a data frame has them: text, category, whole number, boolean, time and number.

    Args:
        gaps: whether merchant, country, amount and age have gaps.
        unseen: whether merchants and countries are asked for that were not trained on.
    """
    rng = np.random.default_rng(3)
    size = TRAINED_ROWS + ASKED_ROWS
    table = pd.DataFrame(
        {
            "merchant": rng.choice(["casino", "grocery", "travel", "Bücher & mehr"], size),
            "country": rng.choice(["DE", "FR", "US"], size),
            "amount": np.round(rng.lognormal(4, 1, size), 2),
            "age": rng.normal(40, 12, size),
            "hour": rng.integers(0, 24, size),
            "card_present": rng.random(size) < 0.6,
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10_000_000, size), unit="s"),
            "note": rng.choice(["gift card refund", "monthly rent", "gift for a friend", "", "refund of rent"], size),
        }
    )
    risky = (table["merchant"] == "casino") | (table["amount"] > 150) & ~table["card_present"]
    target = (risky ^ (rng.random(size) < 0.05)).to_numpy().astype(int)
    if gaps:
        for name in ("merchant", "country", "amount", "age"):
            table.loc[rng.random(size) < 0.15, name] = None
    train = table[:TRAINED_ROWS].astype({"country": "category"})
    rows = table[TRAINED_ROWS:].copy()
    if unseen:
        rows.iloc[:4, 0] = "never seen"
        rows.iloc[2:6, 1] = "XX"
    # Categories of their own, as in a frame that was made of these rows alone.
    return Data(train, target[:TRAINED_ROWS], rows.astype({"country": "category"}).reset_index(drop=True))


def part(data: Data, *names: str) -> Data:
    """Some columns of a frame."""
    assert isinstance(data.train, pd.DataFrame)
    assert isinstance(data.rows, pd.DataFrame)
    return Data(data.train[list(names)], data.target, data.rows[list(names)])


def sample_file(data: Data, directory: Path) -> Path:
    """A file of training rows, which tells what an estimator does not know of its columns."""
    assert isinstance(data.train, pd.DataFrame)
    path = directory / "sample.parquet"
    data.train.to_parquet(path)
    return path


def three_classes(*, seed: int = 4) -> Data:
    """Numbers in three classes: legit, review and fraud, as 0, 1 and 2."""
    data = numbers(seed=seed)
    assert isinstance(data.train, np.ndarray)
    target = np.where(data.target == 1, 2, (data.train[:, 2] > 0.5).astype(int))
    return Data(data.train, target, data.rows)
