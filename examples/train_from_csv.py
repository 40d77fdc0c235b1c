#!/usr/bin/env python3
"""Trains an XGBoost classifier on a table of your own, a CSV file with one column that says what was fraud.

    python examples/train_from_csv.py transactions.csv --label is_fraud --output models/card_fraud.joblib

Columns of texts become one column for each value, gaps in numbers get the median. A quarter of the rows is held out.
Written beside the model: `NAME.training.csv` (rows without the label) and `NAME.holdout.csv` (rows with it), which
`manage_models.py register` takes as `--sample` and `--holdout`.
"""

import argparse
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

_FEWEST = 8
"""Rows of each class: some for training, some held out."""


def pipeline(trees: int = 80) -> Pipeline:
    """Steps for columns of texts and numbers, then the classifier."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        (SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
    )
    return make_pipeline(columns, XGBClassifier(n_estimators=trees, max_depth=3, learning_rate=0.1))


def main(arguments: list[str] | None = None) -> int:
    """Trains and writes three files; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        rows = pd.read_csv(options.table)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        sys.stderr.write(f"error: {options.table} cannot be read as CSV ({reason}); write_csv.py makes an example\n")
        return 2
    if problem := _label_problem(rows, options.label):
        sys.stderr.write(f"error: {options.table} {problem}\n")
        return 2
    training, holdout = train_test_split(rows, test_size=0.25, stratify=rows[options.label], random_state=1)
    features = training.drop(columns=options.label)
    model = pipeline(options.trees).fit(features, training[options.label])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, options.output)
    features.to_csv(options.output.with_suffix(".training.csv"), index=False)
    holdout.to_csv(options.output.with_suffix(".holdout.csv"), index=False)
    print(f"{options.output}: trained on {len(training)} rows, {len(holdout)} held out, features {', '.join(features)}")
    return 0


def _label_problem(rows: pd.DataFrame, label: str) -> str:
    """What is wrong with the label's column; empty when the table can be divided and trained on."""
    if label not in rows:
        return f"has no column {label!r}; name one with --label: {', '.join(map(str, rows))}"
    counts = rows[label].value_counts(dropna=False)
    if set(counts.index) != {0, 1} or counts.min() < _FEWEST:
        return f"has other values in {label!r}; allowed: 0 and 1, each in at least {_FEWEST} rows"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, metavar="FILE.csv")
    parser.add_argument("--label", default="is_fraud", help="the column that says what was fraud, 0 or 1 (is_fraud)")
    parser.add_argument("--output", type=Path, default=Path("models/card_fraud.joblib"), help="where the model goes")
    parser.add_argument("--trees", type=int, default=80, help="number of trees (80)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
