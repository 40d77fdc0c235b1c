"""The guide's calls that need no stack, each as it is written, in a checkout and a shell without variables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier

from model_store.serialization.formats import SerializationFormat, dump_model
from tests.checkout import make_checkout
from tests.guide import EXAMPLE_ID, REF_NAME, commands, python_block

pytestmark = pytest.mark.timeout(300)

_TRAINED = """
import numpy as np
from xgboost import XGBClassifier

rows = np.random.default_rng(0).normal(size=(60, 4))
trained_model = XGBClassifier(n_estimators=3).fit(rows, (rows[:, 0] > 0).astype(int))
"""


class Shell:
    """A shell in a checkout that has nothing but what is committed, and three model files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.variables = {
            "HOME": os.environ["HOME"],
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            # In place of an installation in the environment, which is of the checkout that these tests are in.
            "PYTHONPATH": str(root),
        }

    def __call__(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.variables, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def python(self, *parts: str) -> Any:
        """Runs code whose last line prints JSON."""
        return json.loads(self("python", "-c", "\n".join(parts)).splitlines()[-1])

    def json(self, *arguments: str) -> Any:
        return json.loads(self("python", "scripts/manage_models.py", *arguments, "--json"))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    root = make_checkout(tmp_path_factory.mktemp("guide") / "checkout").root
    rows = np.random.default_rng(0).normal(size=(60, 4))
    model = XGBClassifier(n_estimators=3).fit(rows, (rows[:, 0] > 0).astype(int))
    (root / "models").mkdir()
    for name in ("xgboost_model.joblib", "latest_model.joblib", "old_model.pkl"):
        with (root / "models" / name).open("wb") as file:
            dump_model(model, file, SerializationFormat.PICKLE if name.endswith("pkl") else SerializationFormat.JOBLIB)
    return Shell(root)


def test_the_registry_by_python(shell: Shell) -> None:
    found = shell.python(
        _TRAINED,
        python_block("registry"),
        """
import json
print(json.dumps({
    "listed": [item.model_id for item in models], "model_id": model_id, "metadata": metadata.to_dict(),
    "same": bool((model_obj.predict_proba(rows) == trained_model.predict_proba(rows)).all()),
}))""",
    )
    assert found["same"]
    assert found["model_id"] in found["listed"]
    assert (found["metadata"]["model_name"], found["metadata"]["author"]) == ("fraud_detector_v1", "data-science-team")
    assert found["metadata"]["performance_metrics"]["recall"] == 0.88
    key = shell.root / ".secrets" / "model.key"
    assert key.stat().st_mode & 0o077 == 0
    assert found["metadata"]["encrypted"]
    # The command line finds the same registry, and the same key opens the artifact.
    info = shell.json("info", found["model_id"])
    assert (info["status"], info["digest"]) == ("deployed", found["metadata"]["digest"])
    shell("python", "scripts/manage_models.py", "rotate-key", found["model_id"], "--new-key", str(key))


def test_persistence_by_python(shell: Shell) -> None:
    found = shell.python(
        _TRAINED,
        python_block("persistence"),
        """
import json
again, _ = persistence.load_model_secure("models/new_model.joblib")
print(json.dumps({
    "saved": save_info, "loaded": metadata, "report": conversion_report,
    "same": bool((again.predict_proba(rows) == model.predict_proba(rows)).all()),
}))""",
    )
    assert found["same"]
    assert (found["saved"]["compression"], found["saved"]["encrypted"]) == ("lzma", True)
    assert found["loaded"]["digest"] == found["saved"]["digest"]
    report = found["report"]
    assert (report["original_format"], report["target_format"]) == ("pickle", "joblib")
    assert report["target_compression"] == "gzip"
    assert report["largest_difference"] == 0
    assert (shell.root / "models/new_model.joblib").read_bytes().startswith(b"FDMODEL\x01")


def test_a_deployment_config_knows_its_model_version(shell: Shell) -> None:
    creation = re.search(r"\A.*?^\)\n", python_block("deployment"), re.DOTALL | re.MULTILINE)
    assert creation is not None
    found = shell.python(
        creation[0],
        """
import json
print(json.dumps({"model_id": config.model_id, "port": config.port, **config.to_dict()}))""",
    )
    # The stack's config names the version beside the deployment object, not in it.
    assert found.pop("model_id") == "fraud_detector_20241009_123456"
    assert found["deployment_name"] == "fraud-detection-prod"
    assert (found["environment"], found["port"]) == ("production", 443)
    assert found["scaling_config"]["min_replicas"] == 3


def test_every_command_for_models(shell: Shell, tmp_path: Path) -> None:
    given = shell.json("register", "models/xgboost_model.joblib", "fraud_detector", "XGBoost")["model_id"]
    output = {}
    for command in commands("manage_models"):
        words = [word.replace(EXAMPLE_ID, given).replace("/path/to/export", str(tmp_path)) for word in command]
        output[" ".join(command[1:3])] = shell(*words)
    assert re.search(r"registered fraud_detector_v2_XGBoost_\d{8}_\d{6}", output["scripts/manage_models.py register"])
    assert given in output["scripts/manage_models.py list"]
    assert given in output["scripts/manage_models.py info"]
    assert f"{given} is deployed" in output["scripts/manage_models.py update-status"]
    assert [path.name for path in tmp_path.iterdir()] == [f"{given}.bundle"], "a bundle in the directory that is there"
    assert "fraud_detector_v2" in output["scripts/manage_models.py stats"]
    assert (shell.root / "models/xgboost_model.joblib").exists()


def test_a_release_is_named_after_its_tag(shell: Shell, tmp_path: Path) -> None:
    shell.variables["GITHUB_ENV"] = str(tmp_path / "github_env")
    try:
        shell(*commands("workflow")[0])
        shell("python", "scripts/manage_models.py", "register", "models/nowhere.joblib", "m", "T", code=16)
    finally:
        del shell.variables["GITHUB_ENV"]
    name = f"fraud_detector_{REF_NAME}"
    line = (tmp_path / "github_env").read_text()
    assert re.fullmatch(rf"MODEL_ID={re.escape(name)}_XGBoost_\d{{8}}_\d{{6}}\n", line), line
    model_id = line.strip().removeprefix("MODEL_ID=")
    shell("python", "scripts/manage_models.py", "alias", "set", name, "champion", model_id)
    for reference in (model_id, f"{name}@champion", f"{name}:1"):
        assert shell.json("info", reference)["model_id"] == model_id
    assert shell.json("info", model_id)["tags"] == ["ci-cd", REF_NAME]
    shell("python", "scripts/manage_models.py", "verify", model_id)


def test_without_a_checkout_registry_and_key_are_in_the_current_directory(tmp_path: Path, shell: Shell) -> None:
    for package in ("conventions", "model_store"):
        shutil.copytree(shell.root / package, tmp_path / "installed" / package)
    (tmp_path / "here").mkdir()
    code = "from model_store import ModelRegistry as R; r = R(); print(r.register_model(1, 'm', registry_only=True))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "here",
        env={**shell.variables, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "registry" / "models" / "m").is_dir()
    assert (tmp_path / "here" / ".secrets" / "model.key").is_file()
