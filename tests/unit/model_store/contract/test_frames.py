"""A row is the same whoever's rows are beside it."""

import math
from typing import Any

import pandas as pd
import pytest

from model_store.contract.features import Feature
from model_store.contract.frames import make_series
from model_store.contract.own import OwnModel

_TIME = "2026-01-05T00:00:00Z"
_COLUMNS: list[tuple[Feature, Any, list[Any]]] = [
    (Feature("t", "time"), _TIME, ["2026-01-05T00:00:00.123456789Z", "1969-01-01T00:00:00+14:00", None]),
    (Feature("t", "time", dtype="datetime64[s]"), _TIME, ["2026-01-05T00:00:00.5Z", None]),
    (Feature("t", "time", dtype="datetime64[ns, UTC]"), _TIME, ["2026-01-05T02:00:00+02:00"]),
    (Feature("c", "category", categories=("a", "b"), dtype="category"), "b", ["z", None, "a"]),
    (Feature("c", "category", categories=("a", "b")), "b", ["z", math.nan]),
    (Feature("w", "text"), "words", ["", None]),
    (Feature("b", "boolean"), True, [False, None]),
    (Feature("b", "boolean", dtype="boolean"), True, [False, None]),
    (Feature("n", "integer"), 2**40 + 1, [0.5, None, 1e300]),
    (Feature("n", "number"), 0.1, [None, 1e-300, 5]),
]


@pytest.mark.parametrize(("feature", "value", "others"), _COLUMNS)
def test_a_value_of_a_column_is_what_it_is_alone(feature: Feature, value: Any, others: list[Any]) -> None:
    alone, among = (pd.Series(make_series(feature, values)) for values in ([value], [value, *others]))
    assert among.iloc[0] == alone.iloc[0]
    if feature.kind == "time":
        assert among.dtype == alone.dtype == (feature.dtype or "datetime64[us]")


class _Echo:
    """Answers 1 where a whole number past 64-bit floats arrives as it was sent."""

    def predict_proba(self, table: pd.DataFrame) -> Any:
        right = (table["id"] == 10**16 + 1).to_numpy(dtype=float)
        return pd.DataFrame({0: 1 - right, 1: right}).to_numpy()


def test_whole_numbers_past_64_bit_floats_are_not_cut_by_a_gap_beside_them() -> None:
    features = [Feature("id", "category", categories=(10**16, 10**16 + 1))]
    own = OwnModel(_Echo(), features, framed=True, output="predict_proba", positive_index=1)
    assert own.scores([(10**16 + 1,), (math.nan,), (10**16,), (0.5,)]).tolist() == [1, 0, 0, 0]
