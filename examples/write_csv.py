#!/usr/bin/env python3
"""Writes a table of card transactions with made-up values: something to train on for a reader without a table.

    python examples/write_csv.py transactions.csv

Columns: `amount`, `hour`, `distance_km` (with gaps), `merchant` (a text) and the label `is_fraud`, 0 or 1.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

_ROWS = 20_000
_MERCHANTS = ("grocery", "fuel", "travel", "electronics")


def table(rows: int = _ROWS, seed: int = 7) -> pd.DataFrame:
    """The table; the same seed gives the same rows."""
    random = np.random.default_rng(seed)
    columns = {
        "amount": random.gamma(2.0, 40.0, rows).round(2),
        "hour": random.integers(0, 24, rows),
        "distance_km": random.exponential(12.0, rows).round(1),
        "merchant": random.choice(_MERCHANTS, rows, p=[0.5, 0.2, 0.1, 0.2]),
    }
    frame = pd.DataFrame(columns)
    risk = (
        0.02 * (frame["amount"] - 120)
        + 0.05 * (frame["distance_km"] - 25)
        + 1.5 * (frame["merchant"] == "electronics")
        + 1.0 * (frame["hour"] < 4)
        - 4.0
    )
    frame["is_fraud"] = (random.random(rows) < 1 / (1 + np.exp(-risk))).astype(int)
    frame.loc[random.random(rows) < 0.03, "distance_km"] = np.nan  # terminals whose place is not known
    return frame


def main(arguments: list[str] | None = None) -> int:
    """Writes the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.csv", help="where the table goes")
    file = parser.parse_args(arguments).file
    try:
        table().to_csv(file, index=False)
    except OSError as error:
        sys.stderr.write(f"error: {file} cannot be written ({error.strerror or error}); name another file\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
