"""Parts of the console: values, tables, the simulator, the walk of a sequential test, the shipped assets."""

import hashlib
import io
import json
import math
from pathlib import Path

import pytest

import console
from console.pages.decisions import period_of
from console.pages.rollout import walk_charts
from console.pages.try_it import curl, parse_value
from console.simulation import LabelledScores, simulated
from console.tables import Column, Table
from console.values import cell, copyable, moment, plain, size
from model_store.errors import InvalidInput
from stacks.rollout.sequential_test import Finding, SequentialTest

_VENDOR = Path(console.__file__).parent / "static" / "vendor"


def test_values_are_shown_and_escaped() -> None:
    assert 'datetime="2026-10-09T14:00:00Z"' in moment("2026-10-09T16:00:00+02:00")
    assert moment("<b>") == "&lt;b&gt;"
    assert "<b>" not in copyable('"><b>')
    assert (size(0), size(1536), size(None)) == ("0 B", "1.5 KiB", "-")
    assert plain({"a": [1, 0.5, None]}) == "a 1, 0.5, -"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "|x", "%x"])
def test_a_text_that_could_be_a_formula_is_marked(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_stay_numbers_in_csv() -> None:
    table = Table("t", (Column("a", "A"), Column("b", "B")), [{"a": -1.5, "b": True}, {"a": None, "b": "x,y"}])
    assert table.csv() == 'a,b\r\n-1.5,true\r\n,"x,y"\r\n'
    assert json.loads(table.json())[0] == {"a": -1.5, "b": True}


def test_another_threshold_has_its_precision_recall_and_alerts() -> None:
    file = io.StringIO("fraud_probability,was_fraud\n0.9,1\n0.8,0\n0.4,true\n0.1,false\n")
    found = simulated(LabelledScores.read_csv(file, days=2.0), 0.5)
    assert found["own"] == {"threshold": 0.5, "precision": 0.5, "recall": 0.5, "alerts_a_day": 1.0, "missed": 1}
    low = next(row for row in found["rows"] if row["threshold"] == 0.4)
    assert (low["precision"], low["recall"], low["missed"]) == (2 / 3, 1.0, 0)
    assert found["frauds"] == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "needs a column"),
        ("score,label\n", "without rows"),
        ("score,label\n2,1\n", "line 2: '2' is not a score"),
        ("score,label\n0.5,maybe\n", "line 2: 'maybe' is not an outcome"),
        ("score,label\n0.5\n", "line 2"),
    ],
)
def test_a_file_that_is_not_of_scores_is_refused(text: str, told: str) -> None:
    if told == "line 2":
        assert LabelledScores.read_csv(io.StringIO(text), 1.0).labels == [False]
        return
    with pytest.raises(InvalidInput, match=told):
        LabelledScores.read_csv(io.StringIO(text), 1.0)


def test_a_walk_ends_at_its_bounds_where_the_finding_changes() -> None:
    test = SequentialTest(0.01, 0.02, 0.01)
    begin = test.walk(0, 0)
    assert (begin.ratio, begin.bound) == (0.0, pytest.approx(math.log(99)))
    assert begin.left is not None
    needed = next(among for among in range(1, 5000) if test.finding(0, among) is Finding.AS_GOOD)
    walk = test.walk(0, needed)
    assert walk.ratio <= -walk.bound
    assert walk.left == 0
    assert needed <= begin.left, "with as many bad ones as stable has, it takes longer"
    worse = next(bad for bad in range(1, 500) if test.finding(bad, 500) is Finding.WORSE)
    assert test.walk(worse, 500).ratio >= begin.bound


def test_a_test_that_no_number_decides_says_so() -> None:
    assert SequentialTest(0.9999, 0.05, 0.01).walk(0, 10).left is None


def test_a_period_is_a_day_or_the_hour_after_a_time() -> None:
    assert period_of("2026-10-09")[:2] == ("2026-10-09T00:00:00+00:00", "2026-10-10T00:00:00+00:00")
    assert period_of("20261009") == period_of("2026-10-09")
    assert period_of("9999-12-31")[2] == "that is the end of the calendar"
    assert "is not a time" in period_of("0001-01-01T00:00+14:00")[2]
    assert period_of("2026-10-09T14:00Z")[:2] == ("2026-10-09T14:00:00+00:00", "2026-10-09T15:00:00+00:00")
    assert "is not a time" in period_of("yesterday")[2]


def test_walks_are_charts_by_the_requests_of_the_candidate() -> None:
    points = [
        {"requests": number, "walks": {"errors: errors": {"ratio": -0.1 * number, "bound": 4.6, "left": 9}}}
        for number in (0, 10, 20)
    ]
    (chart,) = walk_charts(points)
    assert chart["data"] == [[0, 10, 20], [0.0, -1.0, -2.0], [4.6] * 3, [-4.6] * 3]


def test_a_typed_value_is_of_its_kind_or_goes_as_text() -> None:
    assert parse_value("number", "1.5") == 1.5
    assert parse_value("number", "many") == "many"
    assert parse_value("number", "[1]") == "[1]"
    assert parse_value("boolean", "True") is True
    assert parse_value("category", "red") == "red"
    assert parse_value("number", "") is None


def test_the_command_beside_the_form_quotes_what_is_typed() -> None:
    import shlex

    found = shlex.split(curl("http://127.0.0.1:8000", {"transaction": {"a": "'; rm -rf / #"}}))
    assert json.loads(found[-1]) == {"transaction": {"a": "'; rm -rf / #"}}
    assert found[2] == "http://127.0.0.1:8000/predict"


def test_the_shipped_assets_are_those_of_their_packages() -> None:
    known = json.loads((_VENDOR / "VERSIONS.json").read_text())
    present = {path.name for path in _VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert present == set(known)
    for name, told in known.items():
        assert hashlib.sha256((_VENDOR / name).read_bytes()).hexdigest() == told["sha256"]
        assert (_VENDOR / f"LICENSE-{name.split('.')[0]}.txt").exists()
