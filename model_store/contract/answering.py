"""What answers rows: an optimized form where its every branch is the model's own, the model's library for the rest.

The service answers requests with it, and `score` the rows of a file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.contract.form import FormRunner
from model_store.contract.own import OwnModel, RowRefused


def answer_each(
    own: OwnModel, form: FormRunner | None, rows: Sequence[Sequence[Any]]
) -> tuple[list[float | RowRefused], int]:
    """The scores of rows, and for rows that the model's library does not answer, why not.

    Args:
        own: the model with its own library.
        form: its optimized form; None when it has none.
        rows: one value a feature, in the contract's order.

    Returns:
        One score or refusal a row, and how many of them are the own library's.
    """
    if form is None:
        return own.scores_one_by_one(rows), len(rows)
    scores, left_to_own = form.many(rows)
    found: list[float | RowRefused] = scores.tolist()
    left = np.flatnonzero(left_to_own).tolist()
    for number, score in zip(left, own.scores_one_by_one([rows[each] for each in left]), strict=True):
        found[number] = score
    return found, len(left)
