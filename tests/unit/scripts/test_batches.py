"""`manage_models.py score` and `compare`, as a user runs them: a real process on real files."""

import csv
import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from model_store.errors import InvalidInput, ModelStoreError
from model_store.registry.measuring.scoring import Scorer, load_scorer, score_file
from model_store.registry.measuring.version_comparison import compare
from tests.checkout import SOURCE, wait_until
from tests.service import FEATURES, Setting, listening, started

ANSWERS = ["fraud_probability", "predicted_fraud", "refused"]
ROWS = 1200


class Tool:
    """The tool on the registry of a setting."""

    def __init__(self, setting: Setting) -> None:
        self.directory, self.model_id = setting.directory, setting.model_id
        self.environment = {
            "PATH": setting.environment()["PATH"],
            "HOME": str(setting.directory),
            "MODEL_REGISTRY_URL": str(setting.directory / "registry"),
            "MODEL_KEY_FILE": str(setting.directory / "model.key"),
        }

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), *map(str, arguments)]

    def __call__(self, *arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code in (0, 20, 24) else done.stderr

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture(scope="module")
def tool(setting: Setting) -> Tool:
    return Tool(setting)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with their labels, as CSV; the same as Parquet beside it."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    random = np.random.default_rng(1)
    frame = pandas.DataFrame(random.normal(size=(ROWS, 3)), columns=list(FEATURES))
    frame.insert(0, "id", [f"t{number}" for number in range(ROWS)])
    frame["is_fraud"] = (frame["amount"] + random.normal(size=ROWS) > 0.5).astype(int)
    frame.to_csv(path, index=False)
    frame.to_parquet(path.with_suffix(".parquet"))
    return path


@pytest.fixture(scope="module")
def other(setting: Setting) -> tuple[str, Any]:
    """Another version, which decides some rows differently, and its estimator."""
    random = np.random.default_rng(5)
    data = random.normal(size=(300, 3))
    model = LogisticRegression().fit(data, (data[:, 0] + 0.3 * data[:, 1] > 0.4).astype(int))
    schema = [{"name": name, "type": "number", "gaps": False} for name in FEATURES]
    return setting.registry.register_model(model=model, model_name="fraud", feature_schema=schema), model


Scorers = tuple[Scorer, Scorer]


@pytest.fixture(scope="module")
def scorers(setting: Setting, other: tuple[str, Any]) -> Scorers:
    return load_scorer(setting.registry, setting.model_id), load_scorer(setting.registry, other[0])


def _answers(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_has_the_answers_of_the_service(tool: Tool, setting: Setting, labelled: Path, tmp_path: Path) -> None:
    found = tool.json("score", tool.model_id, labelled, "--out", tmp_path / "out.csv")
    assert (found["rows"], found["refused"], found["model_id"]) == (ROWS, 0, setting.model_id)
    assert found["unused_columns"] == ["id", "is_fraud"]
    scored = _answers(tmp_path / "out.csv")
    assert list(scored[0]) == ["id", *FEATURES, "is_fraud", *ANSWERS]
    body = {"transactions": [{name: float(row[name]) for name in FEATURES} for row in scored]}
    digest = setting.registry.get_metadata(setting.model_id).runtime_digest
    changes = {"MAX_BATCH": str(ROWS), "MAX_BODY_BYTES": "1000000", "MODEL_RUNTIME_SHA256": digest}
    headers = {"X-API-Key": setting.api_key}
    with listening() as listener, started(setting, listener, **changes) as running:
        answer = httpx.post(f"{running.url}/predict", json=body, headers=headers, trust_env=False).json()
    assert [float(row["fraud_probability"]) for row in scored] == [
        each["fraud_probability"] for each in answer["predictions"]
    ]
    assert [row["predicted_fraud"] == "true" for row in scored] == [each["is_fraud"] for each in answer["predictions"]]
    assert found["fraud"] == sum(each["is_fraud"] for each in answer["predictions"])


def test_parquet_has_the_same_answers_and_keeps_its_types(
    tool: Tool, scorers: Scorers, labelled: Path, tmp_path: Path
) -> None:
    tool("score", tool.model_id, labelled, "--out", tmp_path / "of_csv.parquet", "--keep", "id")
    score_file(scorers[0], labelled.with_suffix(".parquet"), tmp_path / "of_parquet.parquet")
    score_file(scorers[0], labelled.with_suffix(".parquet"), tmp_path / "of_parquet.csv")
    first = pandas.read_parquet(tmp_path / "of_csv.parquet")
    assert list(first.columns) == ["id", *ANSWERS]
    second = pandas.read_parquet(tmp_path / "of_parquet.parquet")
    assert second["is_fraud"].dtype == np.int64
    pandas.testing.assert_frame_equal(first[ANSWERS], second[ANSWERS])
    third = _answers(tmp_path / "of_parquet.csv")
    assert [float(row["fraud_probability"]) for row in third] == first["fraud_probability"].tolist()
    assert [float(row["amount"]) for row in third] == second["amount"].tolist()


def test_refused_rows_are_named_in_a_column(tool: Tool, scorers: Scorers, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("amount,hour,distance\n1,2,3\nx,2,3\n1,,3\n1,2\n4,5,6\n")
    found = score_file(scorers[0], tmp_path / "rows.csv", tmp_path / "out.csv").to_dict()
    reasons = [
        {"line": 3, "reason": "amount is not a number"},
        {"line": 4, "reason": "hour is null; the model takes no gaps there"},
        {"line": 5, "reason": "has 2 fields, the first line has 3"},
    ]
    assert (found["rows"], found["refused"], found["first_refused"]) == (5, 3, reasons)
    scored = _answers(tmp_path / "out.csv")
    assert [row["refused"] for row in scored] == ["", *(each["reason"] for each in reasons), ""]
    assert [bool(row["fraud_probability"]) for row in scored] == [True, False, False, False, True]
    shown = tool("score", tool.model_id, tmp_path / "rows.csv", "--out", tmp_path / "out.csv", "--overwrite", code=24)
    assert "refused  line 3: amount is not a number" in shown


def test_a_refused_row_may_refuse_the_file(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("amount,hour,distance\n1,2,3\nx,2,3\n")
    out = tmp_path / "out.csv"
    said = tool("score", tool.model_id, tmp_path / "rows.csv", "--out", out, "--refused", "stop", code=2)
    assert "rows.csv: line 3: amount is not a number; nothing is written" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.csv"]


def test_a_file_is_overwritten_only_when_asked_for(
    tool: Tool, scorers: Scorers, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    assert "is there already" in tool("score", tool.model_id, labelled, "--out", out, code=7)
    assert out.read_text() == "mine"
    score_file(scorers[0], labelled, out, overwrite=True)
    assert len(_answers(out)) == ROWS


def test_wrong_files_and_columns_are_named(scorers: Scorers, labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    def refused(file: Path, words: str, to: Path = out, **more: Any) -> None:
        with pytest.raises(ModelStoreError, match=words):
            score_file(scorers[0], file, to, **more)

    refused(tmp_path / "no.csv", "there is no such file")
    refused(labelled, "has no column 'amonut' to keep", keep=["amonut"])
    refused(labelled, "allowed: a .csv or .parquet file", to=tmp_path / "out.txt")
    refused(labelled, "is the file that is read", to=labelled, overwrite=True)
    (tmp_path / "rows.csv").write_text("amount,hour\n1,2\n")
    refused(tmp_path / "rows.csv", "has no column 'distance'")
    (tmp_path / "twice.csv").write_text("amount,hour,distance,refused\n1,2,3,4\n")
    refused(tmp_path / "twice.csv", "has a column 'refused', which the answers are written to")
    assert not out.exists()


def test_a_killed_command_leaves_what_was_there(tool: Tool, tmp_path: Path) -> None:
    row = "1.5,2,3\n"
    (tmp_path / "rows.csv").write_text("amount,hour,distance\n" + row * 4_000_000)
    out = tmp_path / "out.csv"
    out.write_text("mine")
    command = tool.command("score", tool.model_id, tmp_path / "rows.csv", "--out", out, "--overwrite")
    with subprocess.Popen(command, env=tool.environment, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: list(tmp_path.glob(".out.csv.*.partial")), 60)
        # It says how far it is, since it takes longer than a second.
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert next(line for line in lines if " %, " in line).startswith("score: ")
        running.send_signal(signal.SIGKILL)
    assert out.read_text() == "mine"


def test_memory_does_not_grow_with_the_file(setting: Setting, tmp_path: Path) -> None:
    scorer = load_scorer(setting.registry, setting.model_id)
    peaks = []
    for number, rows in enumerate((10_000, 10_000, 60_000)):
        file = tmp_path / f"rows{number}.csv"
        file.write_text("amount,hour,distance\n" + "1.5,2,3\n" * rows)
        tracemalloc.start()
        score_file(scorer, file, tmp_path / f"out{number}.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] * 1.25, peaks


def _compared(tool: Tool, other: tuple[str, Any], labelled: Path, *more: object, code: int = 0) -> Any:
    return tool.json("compare", tool.model_id, other[0], "--data", labelled, "--label", "is_fraud", *more, code=code)


def _own(model: Any, labelled: Path, threshold: float = 0.5) -> tuple[Any, Any, Any]:
    """Labels, scores and decisions, of the estimator itself."""
    frame = pandas.read_parquet(labelled.with_suffix(".parquet"))
    scores = model.predict_proba(frame[list(FEATURES)].to_numpy())[:, 1].astype(np.float64)
    return frame["is_fraud"].to_numpy(), scores, scores >= threshold


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_metrics_are_those_of_scikit_learn(
    setting: Setting, scorers: Scorers, other: tuple[str, Any], labelled: Path, suffix: str, threshold: float | None
) -> None:
    if threshold is not None:
        before, after = (load_scorer(setting.registry, each.model_id, threshold) for each in scorers)
        scorers = before, after
    found = compare(*scorers, labelled.with_suffix(suffix), "is_fraud", costs=(100, 2.5)).to_dict()
    decisions = []
    for side, model in (("before", setting.model), ("after", other[1])):
        truth, scores, decided = _own(model, labelled, threshold or 0.5)
        decisions.append(decided)
        (_, alarms), (missed, hits) = metrics.confusion_matrix(truth, decided)
        assert found[side]["auc"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
        assert found[side]["precision"] == pytest.approx(metrics.precision_score(truth, decided))
        assert found[side]["recall"] == pytest.approx(metrics.recall_score(truth, decided))
        assert (found[side]["found"], found[side]["missed"], found[side]["alarms"]) == (hits, missed, alarms)
        assert found[side]["cost"] == pytest.approx(missed * 100 + alarms * 2.5)
    assert found["decided_differently"] == int((decisions[0] != decisions[1]).sum()) > 0
    assert found["gains"]["auc"] == found["after"]["auc"] - found["before"]["auc"]
    assert found["gains"]["cost"] == found["before"]["cost"] - found["after"]["cost"]
    assert (found["rows"], found["compared"]) == (ROWS, ROWS)


def test_examples_are_rows_that_are_decided_differently(
    tool: Tool, setting: Setting, scorers: Scorers, other: tuple[str, Any], labelled: Path
) -> None:
    truth, before, first = _own(setting.model, labelled)
    _, after, second = _own(other[1], labelled)
    found = compare(*scorers, labelled, "is_fraud", most_examples=3).to_dict()
    numbers = np.flatnonzero(first != second)[:3]
    # The first line holds the names.
    assert [each["line"] for each in found["examples"]] == [number + 2 for number in numbers]
    for number, each in zip(numbers, found["examples"], strict=True):
        assert each["label_is_fraud"] == bool(truth[number])
        assert each["before"]["fraud_probability"] == pytest.approx(before[number], abs=1e-6)
        assert each["after"] == {
            "fraud_probability": pytest.approx(after[number], abs=1e-6), "is_fraud": bool(second[number])
        }  # fmt: skip
    shown = tool("compare", tool.model_id, other[0], "--data", labelled, "--label", "is_fraud")
    assert f"line {numbers[0] + 2} (" in shown


def test_limits_make_a_gate(tool: Tool, scorers: Scorers, other: tuple[str, Any], labelled: Path) -> None:
    found = compare(*scorers, labelled, "is_fraud")
    gain, share = found.gains["auc"], found.share_decided_differently
    limits = ("--min-auc-gain", gain, "--max-decided-differently", share)
    held = _compared(tool, other, labelled, *limits)
    assert held["held"] is True
    assert [gate["held"] for gate in held["gates"]] == [True, True]
    costs = ("--cost-missed", 1, "--cost-alarm", 1, "--min-cost-saving", 100_000)
    failed = _compared(tool, other, labelled, *limits, *costs, code=20)
    assert failed["held"] is False
    assert {gate["name"]: gate["held"] for gate in failed["gates"]} == {
        "max_decided_differently": True,
        "min_auc_gain": True,
        "min_cost_saving": False,
    }
    assert not found.gate("max_decided_differently", share - 0.001).held
    for name in ("auc", "precision", "recall"):
        value = found.gains[name]
        assert value is not None
        assert (found.gate(f"min_{name}_gain", value).held, found.gate(f"min_{name}_gain", value + 0.001).held) == (
            True,
            False,
        )
    same = compare(scorers[0], scorers[0], labelled, "is_fraud")
    assert same.decided_differently == 0
    assert same.gate("min_auc_gain", 0).held


def test_a_row_that_one_version_alone_answers_is_decided_differently(
    scorers: Scorers, setting: Setting, tmp_path: Path
) -> None:
    data = np.random.default_rng(0).normal(size=(200, 3))
    model = XGBClassifier(n_estimators=3).fit(data, (data[:, 0] > 0).astype(int))
    schema = [{"name": name, "type": "number", "gaps": True} for name in FEATURES]
    takes_gaps = setting.registry.register_model(model=model, model_name="fraud", feature_schema=schema)
    rows = "amount,hour,distance,is_fraud\n" + "2,0,0,1\n-2,0,0,0\n" + "2,,0,1\n" + "x,0,0,1\n"
    (tmp_path / "rows.csv").write_text(rows)
    after = load_scorer(setting.registry, takes_gaps)
    found = compare(scorers[0], after, tmp_path / "rows.csv", "is_fraud").to_dict()
    assert (found["rows"], found["compared"], found["decided_differently"]) == (4, 2, 1)
    assert (found["before"]["refused"], found["after"]["refused"]) == (2, 1)
    assert found["examples"][0]["line"] == 4
    assert found["examples"][0]["before"] == {"refused": "hour is null; the model takes no gaps there"}


@pytest.mark.parametrize("labels", [("1.0", "0.0"), ("True", "False"), (" 1", "0")])
def test_a_label_may_be_written_in_several_ways(labels: tuple[str, str], scorers: Scorers, tmp_path: Path) -> None:
    rows = "amount,hour,distance,is_fraud\n" + "".join(f"{number},0,0,{labels[number % 2]}\n" for number in range(10))
    (tmp_path / "rows.csv").write_text(rows)
    assert compare(*scorers, tmp_path / "rows.csv", "is_fraud").fraud == 5


@pytest.mark.parametrize(
    ("content", "label", "fraud", "words"),
    [
        ("1,2,3,1\n1,2,3,0\n", "fraud", None, "has no column 'fraud'; it has: amount, hour, distance, is_fraud"),
        ("1,2,3,1\n1,2,3,\n", "is_fraud", None, "line 3: is_fraud is empty; each row needs its label"),
        ("1,2,3,1\n1,2\n", "is_fraud", None, "line 3: has 2 fields"),
        ("1,2,3,1\n", "is_fraud", None, "is_fraud is always 1"),
        ("1,2,3,1\n1,2,3,0\n", "is_fraud", "yes", "is_fraud is never 'yes'"),
        ("x,2,3,1\nx,2,3,0\n", "is_fraud", None, "there is no row that both versions answer"),
    ],
)
def test_wrong_labels_are_named(
    content: str, label: str, fraud: str | None, words: str, scorers: Scorers, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(f"amount,hour,distance,is_fraud\n{content}")
    with pytest.raises(InvalidInput, match=words):
        compare(*scorers, tmp_path / "rows.csv", label, positive_class=fraud)


def test_costs_and_limits_that_do_not_fit_are_one_clear_line(tool: Tool, labelled: Path) -> None:
    call = ("compare", tool.model_id, tool.model_id, "--data", labelled, "--label", "is_fraud")
    assert "belong together; give both" in tool(*call, "--cost-missed", "1", code=2)
    assert "--min-cost-saving needs --cost-missed" in tool(*call, "--min-cost-saving", "1", code=2)
