"""A release's description is data: it has a schema, and nothing in it is executed."""

import json
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.checkout import SOURCE

_GOOD = """\
file: model.joblib
name: fraud_detector
type: LogisticRegression
description: "$(touch owned) `touch owned`; touch owned"
holdout: {file: holdout.csv, label: is_fraud, accept: {roc_auc: 0.9}}
"""


@pytest.fixture(scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(1)
    rows = random.normal(size=(400, 2))
    labels = (rows[:, 0] + 0.3 * random.normal(size=400) > 0).astype(int)
    joblib.dump(LogisticRegression().fit(rows[:200], labels[:200]), directory / "model.joblib")
    lines = [f"{row[0]},{row[1]},{label}" for row, label in zip(rows[200:], labels[200:], strict=True)]
    (directory / "holdout.csv").write_text("feature_0,feature_1,is_fraud\n" + "\n".join(lines) + "\n")
    return directory


@pytest.fixture
def inbox(tmp_path: Path, _files: Path) -> Path:
    directory = tmp_path / "inbox"
    directory.mkdir()
    for file in _files.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    (directory / "release.yaml").write_text(_GOOD)
    return directory


def _run(tmp_path: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    key = tmp_path / "model.key"
    environment = {
        "MODEL_REGISTRY_URL": str(tmp_path / "registry"),
        "MODEL_KEY_FILE": str(key),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(SOURCE),
    }
    if not key.exists():
        command = [sys.executable, str(SOURCE / "scripts/manage_models.py"), "keygen", str(key)]
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=60)
    done = subprocess.run(
        [sys.executable, str(SOURCE / "scripts" / "release_model.py"), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_release_is_fetched_registered_and_validated_by_what_it_reaches_on_the_holdout(
    tmp_path: Path, inbox: Path
) -> None:
    (inbox / "other.txt").write_text("not named")
    fetched = json.loads(_run(tmp_path, "fetch", str(inbox), "incoming", "--json").stdout)
    assert sorted(fetched["files"]) == ["holdout.csv", "model.joblib", "release.yaml"]
    assert not (tmp_path / "incoming" / "other.txt").exists()
    registered = json.loads(_run(tmp_path, "register", "incoming", "--reason", "model-v1", "--json").stdout)
    assert registered["description"] == "$(touch owned) `touch owned`; touch owned"
    report = json.loads(_run(tmp_path, "validate", "incoming", registered["model_id"], "--json").stdout)
    assert report["metrics"]["roc_auc"] > 0.9
    assert report["holdout"]["sha256"]
    version = tmp_path / "registry" / "models" / "fraud_detector" / registered["model_id"]
    state = json.loads((version / "state.json").read_text())
    assert state["status"] == "validated"
    (evidence,) = (version / "evidence").iterdir()
    assert json.loads(evidence.read_text()) == report
    assert not list(tmp_path.rglob("owned"))


def test_a_fetch_that_failed_can_be_given_again(tmp_path: Path, inbox: Path) -> None:
    holdout = inbox / "holdout.csv"
    holdout.rename(tmp_path / "kept.csv")
    assert "there is no holdout.csv" in _run(tmp_path, "fetch", str(inbox), "incoming", code=16).stderr
    (tmp_path / "kept.csv").rename(holdout)
    _run(tmp_path, "fetch", str(inbox), "incoming")
    again = _run(tmp_path, "fetch", str(inbox), "incoming", code=2).stderr
    assert "is not empty; name a new directory" in again
    assert (tmp_path / "incoming" / "holdout.csv").exists()


def test_a_version_that_reaches_less_is_not_validated(tmp_path: Path, inbox: Path) -> None:
    (inbox / "release.yaml").write_text(_GOOD.replace("0.9", "1.0"))
    registered = json.loads(_run(tmp_path, "register", str(inbox), "--json").stdout)
    refused = _run(tmp_path, "validate", str(inbox), registered["model_id"], code=19)
    assert "MISSED" in refused.stdout
    state = tmp_path / "registry" / "models" / "fraud_detector" / registered["model_id"] / "state.json"
    assert json.loads(state.read_text())["status"] == "trained"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("file: model.joblib", "file: ../model.joblib"), "file: "),
        (("file: model.joblib", "file: -rf"), "file: "),
        (("file: model.joblib", "file: missing.joblib"), "'missing.joblib' is missing; it belongs beside"),
        (("type: Log", "kind: Log"), "unknown field `kind`; allowed: file, name, type"),
        (("roc_auc: 0.9", "roc_auc: 1.9"), "holdout.accept"),
        (("roc_auc: 0.9", "roc_auc: high"), "holdout.accept"),
        (("name: fraud_detector", "name: [fraud]"), "name: "),
        (("name: fraud_detector", 'name: "fraud_detector\\n"'), "name: "),
        (("file: model.joblib", 'file: "model.joblib\\n"'), "file: "),
        (("roc_auc: 0.9", '"roc_auc\\n": 0.9'), "holdout.accept"),
        (("name: fraud_detector", "name: !!python/name:os.system fraud"), "has a tag"),
        (("name: fraud_detector", "name: &a fraud"), "has an anchor"),
        (("holdout: ", "# "), "required field `holdout`"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(
    tmp_path: Path, inbox: Path, change: tuple[str, str], words: str
) -> None:
    (inbox / "release.yaml").write_text(_GOOD.replace(*change))
    error = _run(tmp_path, "check", str(inbox), code=2).stderr
    assert words in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_metric_that_does_not_exist_is_named(tmp_path: Path, inbox: Path) -> None:
    (inbox / "release.yaml").write_text(_GOOD.replace("roc_auc", "recal"))
    registered = json.loads(_run(tmp_path, "register", str(inbox), "--json").stdout)
    error = _run(tmp_path, "validate", str(inbox), registered["model_id"], code=2).stderr
    assert "holdout.accept.recal: unknown metric; allowed: accuracy, precision, recall" in error


def test_an_inbox_without_a_description_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    error = _run(tmp_path, "fetch", str(tmp_path / "empty"), "incoming", code=16).stderr
    assert "there is no release.yaml" in error
