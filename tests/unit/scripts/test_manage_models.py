"""manage_models.py as a user runs it: a real process, its output, its exit codes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier

from model_store.serialization.formats import SerializationFormat, dump_model
from scripts.status_line import StatusLine
from tests.checkout import SOURCE


class Tool:
    """The tool on a registry and a key of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            **os.environ,
            "MODEL_REGISTRY_URL": str(directory / "registry"),
            "MODEL_KEY_FILE": str(directory / "model.key"),
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), *arguments]
        completed = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=120
        )
        output = f"{completed.stdout}\n{completed.stderr}"
        assert completed.returncode == code, output
        assert "Traceback" not in output
        return completed.stdout if code == 0 else output

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    directory = tmp_path_factory.mktemp("tool")
    data = np.random.default_rng(0).normal(size=(60, 4))
    model = XGBClassifier(n_estimators=3).fit(data, (data[:, 0] > 0).astype(int))
    with (directory / "model.joblib").open("wb") as file:
        # Not joblib.dump: another test of this process may have imported dill, which changes what joblib writes.
        dump_model(model, file, SerializationFormat.JOBLIB)
    tool = Tool(directory)
    del tool.environment["MODEL_KEY_FILE"]
    tool("keygen", "model.key")
    tool.environment["MODEL_KEY_FILE"] = str(directory / "model.key")
    return tool


def _register(tool: Tool, *arguments: str) -> str:
    return str(tool.json("register", "model.joblib", "fraud", "XGBoost", *arguments)["model_id"])


def test_a_model_goes_from_registration_to_archive_by_commands(tool: Tool) -> None:
    tool("keygen", "--signing", "signing.key")
    public = (tool.directory / "signing.key.pub").read_text().strip()
    first = _register(tool, "--metrics", '{"accuracy": 0.96}', "--tags", "a,b", "--sign-key", "signing.key")
    second = _register(tool, "--metrics", '{"accuracy": 0.97}', "--compression", "gzip", "--format", "pickle")
    assert [row["model_id"] for row in tool.json("list", "--metric", "accuracy>0.965")] == [second]
    (tool.directory / "report.txt").write_text("reviewed")
    tool("update-status", first, "validated", "--evidence", "report.txt", "--reason", "reviewed")
    tool("alias", "set", "fraud", "champion", first)
    assert tool.json("info", "fraud@champion")["model_id"] == first
    assert tool.json("alias", "list")[0]["alias"] == "fraud@champion"
    assert "accuracy | 0.96" in tool("card", "fraud:1")
    tool("export", first, "out.bundle")
    tool("verify", first, "--public-key", public)
    assert "not signed" in tool("verify", second, "--public-key", public, code=4)
    tool("verify", second, "--public-key", public, "--policy", "warn")
    assert "signature" not in tool("verify", second, "--public-key", public, "--policy", "off")
    tool("sign", second, "--sign-key", "signing.key")
    tool("verify", "--public-key", public)
    assert "champion" in tool("delete", first, code=7)
    tool("keygen", "new.key")
    assert tool.json("rotate-key", second, "--new-key", "new.key", "--new-key", "model.key")["rotated"] == [second]
    tool("verify")
    counted = tool.json("stats")
    assert (counted["versions"], counted["models"][0]["aliases"]) == (2, ["champion"])
    assert re.search(r"fraud\s+│\s+2\s+│", tool("stats"))
    assert "are a chain; proven to" in tool("audit", "--verify", "--public-key", public)
    assert tool.json("audit", "--verify")["intact"] is True
    actions = {record["action"] for record in tool.json("audit", "--model", first)}
    assert actions >= {"register", "status", "alias", "export"}
    tool("backup", "backup")
    tool.environment["MODEL_REGISTRY_URL"] = str(tool.directory / "elsewhere")
    assert tool.json("import", "out.bundle")["model_id"] == first
    tool("restore", "backup")
    assert len(tool.json("list")) == 2
    tool("alias", "remove", "fraud", "champion")
    tool("delete", first, "--reason", "test")
    tool.environment["MODEL_REGISTRY_URL"] = str(tool.directory / "registry")


def test_a_damaged_version_is_named_and_the_others_are_listed(tool: Tool, tmp_path: Path) -> None:
    other = Tool(tmp_path)
    other.environment["MODEL_KEY_FILE"] = tool.environment["MODEL_KEY_FILE"]
    model = str(tool.directory / "model.joblib")
    damaged, intact = (other.json("register", model, name, "XGBoost")["model_id"] for name in ("broken", "whole"))
    (tmp_path / "registry/models/broken" / damaged / "state.json").write_text("{}")
    completed = subprocess.run(
        [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), "list", "--json"],
        cwd=tmp_path, env=other.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert completed.returncode == 0
    assert [model["model_id"] for model in json.loads(completed.stdout)] == [intact]
    assert completed.stderr.startswith(f"damaged: {damaged}: the state cannot be read")


def test_list_prints_ids_in_full_whatever_the_width_of_the_terminal(tool: Tool) -> None:
    model_id = _register(tool, "--description", "x" * 200)
    tool.environment["COLUMNS"] = "20"
    assert model_id in tool("list")


def test_a_damaged_version_does_not_end_the_proof_of_the_others(tool: Tool) -> None:
    tool.environment["MODEL_REGISTRY_URL"] = str(tool.directory / "proofs")
    first, second = _register(tool), _register(tool)
    (golden,) = (tool.directory / "proofs").glob(f"models/*/{first}/golden")
    golden.chmod(0o644)
    golden.write_bytes(golden.read_bytes()[:-40])
    answered = tool("prove", "--all", "--json", code=4)
    rows = {row["model_id"]: row for row in json.loads(answered[: answered.rindex("]") + 1])}
    assert (rows[first]["proven"], rows[second]["proven"]) == (False, True)
    assert rows[second]["rows"] > rows[first]["rows"] == 0
    tool.environment["MODEL_REGISTRY_URL"] = str(tool.directory / "registry")


def test_convert_and_inspect_work_on_plain_files_and_artifacts(tool: Tool) -> None:
    report = tool.json("convert", "model.joblib", "a.artifact", "--to", "pickle", "--compression", "gzip")
    assert report["target_compression"] == "gzip"
    assert (report["original_format"], report["largest_difference"]) == ("joblib", 0)
    digest = hashlib.sha256((tool.directory / "model.joblib").read_bytes()).hexdigest()
    assert report["original_digest"] == f"sha256:{digest}"
    report = tool.json("convert", "a.artifact", "b.artifact", "--to", "joblib", "--compression", "lzma")
    assert (report["original_format"], report["target_format"]) == ("pickle", "joblib")
    assert tool.json("inspect", "model.joblib")["untrusted"] == []


def test_cleanup_of_a_directory_of_files_keeps_the_latest(tool: Tool) -> None:
    directory = tool.directory / "files"
    directory.mkdir()
    for number in range(4):
        (directory / f"{number}.joblib").write_text("x")
        os.utime(directory / f"{number}.joblib", (number, number))
    assert len(tool.json("cleanup", "files", "--keep-latest", "3", "--dry-run")["removed"]) == 1
    tool("cleanup", "files", "--keep-latest", "1")
    assert [path.name for path in directory.iterdir()] == ["3.joblib"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["register", "nowhere.joblib", "fraud", "XGBoost"], 16, "nowhere.joblib"),
        (["register", "model.joblib", "fraud", "XGBoost", "--threshold", "5"], 2, "0 to 1"),
        (["register", "model.joblib", "fraud", "XGBoost", "--holdout", "model.joblib"], 2, "--label COLUMN"),
        (["convert", "model.joblib", "x.ubj"], 2, "x.artifact"),
        (["register", "model.joblib", "fr/aud", "XGBoost"], 2, "fr/aud"),
        (["register", "model.joblib", "fraud", "XGBoost", "--metrics", "{"], 2, "--metrics"),
        (["register", "model.key", "fraud", "XGBoost"], 2, "allowed: .joblib"),
        (["info", "fraud_XGBoost_20200101_000000"], 3, "fraud_XGBoost_20200101_000000"),
        (["info", "fraud@nobody"], 3, "nobody"),
        (["list", "--status", "shiny"], 2, "shiny"),
        (["list", "--metric", "accuracy"], 2, "accuracy"),
        (["keygen", "model.key"], 7, "never overwritten"),
        (["import", "model.joblib"], 4, "not a bundle"),
        (["restore", "nowhere"], 2, "holds no registry"),
        (["cleanup", "nowhere"], 16, "nowhere"),
        (["frobnicate"], 2, "no such command"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(tool: Tool, arguments: list[str], code: int, words: str) -> None:
    assert words in tool(*arguments, code=code)


def test_every_command_has_help_with_an_example(tool: Tool) -> None:
    commands = [
        "register",
        "list",
        "info",
        "card",
        "stats",
        "update-status",
        "approve",
        "verify",
        "audit",
        "sign",
        "keygen",
        "rotate-key",
        "inspect",
        "convert",
    ]
    commands += ["export", "import", "backup", "restore", "delete", "cleanup"]
    overview = tool("--help")
    for command in commands:
        assert command in overview
        assert "Example:" in tool(command, "--help")


def test_work_of_more_than_a_second_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with StatusLine("backup") as status_line:
        status_line.step(3, 10, "models/a")
        time.sleep(1.5)
    assert re.fullmatch(r"backup: 3 of 10, models/a \(1 s\)\n", capsys.readouterr().err)
    with StatusLine("score") as status_line:
        status_line.tell("8 %, 8192 rows")
        time.sleep(1.5)
    assert capsys.readouterr().err == "score: 8 %, 8192 rows (1 s)\n"
    with StatusLine("list"):
        pass
    assert capsys.readouterr().err == ""


def test_the_log_is_proven_by_a_head_that_was_kept_and_exported_line_by_line(tool: Tool) -> None:
    _register(tool)
    head = tool("audit", "--head").strip()
    sequence = int(head.split(":")[0])
    assert f"proven to {sequence} by the head that you gave" in tool("audit", "--verify", "--head", head)
    wrong = f"{sequence}:{'0' * 64}"
    assert "the log was rewritten" in tool("audit", "--verify", "--head", wrong, code=4)
    assert "is not a head" in tool("audit", "--verify", "--head", "x", code=2)
    assert "belong to --verify" in tool("audit", "--head", head, code=2)
    events = [json.loads(line) for line in tool("audit", "--format", "ocsf").splitlines()]
    assert [event["metadata"]["sequence"] for event in events] == list(range(1, sequence + 1))
    assert tool("audit", "--format", "ocsf", "--since-sequence", str(sequence)) == ""
    assert "no record" in tool("audit", "--format", "ocsf", "--since-sequence", str(sequence + 5), code=4)


def test_no_variable_makes_an_admin_and_only_an_admin_grants(tool: Tool) -> None:
    _register(tool)
    shown = tool.json("access", "show")
    assert (shown["role"], shown["own_policy"]) == ("admin", True)
    assert "a convention" in tool("access", "show")
    tool("access", "grant", "alice", "admin")
    tool("access", "revoke", shown["actor"])
    for name in ("LOGNAME", "USER", "MODEL_ACTOR"):
        tool.environment[name] = "alice"
    try:
        assert "needs the role admin" in tool("access", "grant", "bob", "reader", code=19)
        assert "needs the role publisher" in tool("register", "model.joblib", "fraud", "XGBoost", code=19)
        models = tool.directory / "old"
        models.mkdir()
        for number in (1, 2):
            (models / f"fraud_v{number}.joblib").write_bytes(b"x")
        assert "needs the role admin" in tool("cleanup", "old", "--keep-latest", "1", code=19)
        assert len(list(models.iterdir())) == 2
        tool("access", "take-over", "--reason", "the test's own directory")
        tool("cleanup", "old", "--keep-latest", "1")
    finally:
        for name in ("LOGNAME", "USER", "MODEL_ACTOR"):
            del tool.environment[name]
    record = tool.json("audit")[-1]
    assert (record["action"], record["details"]["claimed"]) == ("cleanup", "alice")
    assert len(record["details"]["files"]) == 1
    assert "claims to be alice" in tool("audit")


def test_an_untrusted_file_is_recorded_as_refused(tool: Tool) -> None:
    (tool.directory / "bad.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    tool("register", "bad.pkl", "fraud", "XGBoost", code=5)
    record = tool.json("audit")[-1]
    assert (record["action"], record["details"]["attempted"], record["details"]["file"]) == (
        "refused",
        "register",
        "bad.pkl",
    )
