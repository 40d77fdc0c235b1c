"""The rows that the ordinary models are trained on."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

ROWS = 60


@dataclass(frozen=True)
class Data:
    """The rows that ordinary models are trained on."""

    numbers: Any = field(default_factory=lambda: _numbers())
    codes: Any = field(default_factory=lambda: _codes())
    frame: Any = field(default_factory=lambda: _frame())
    texts: Any = field(default_factory=lambda: ["card sold online", "cash at the machine", "card stolen"] * (ROWS // 3))

    @property
    def target(self) -> Any:
        """Two classes."""
        return (self.numbers[:, 0] > 0).astype(int)

    @property
    def categories(self) -> Any:
        """The frame with a column of categories."""
        return self.frame.astype({"merchant": "category"})

    @property
    def two_columns(self) -> Any:
        """Two columns of numbers of the frame."""
        return self.frame[["amount", "hour"]]


def _numbers() -> Any:
    return np.random.default_rng(0).normal(size=(ROWS, 3))


def _codes() -> Any:
    found = _numbers()
    found[:, 0] = np.arange(ROWS) % 4
    return found


def _frame() -> Any:
    generator = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "merchant": generator.choice(["grocer", "jeweller", "casino"], ROWS),
            "amount": generator.lognormal(size=ROWS),
            "hour": generator.integers(0, 24, ROWS),
        }
    )


@cache
def data_sets() -> Data:
    """The rows, made once."""
    return Data()
