"""Both command lines as a user types them: usage, abbreviations, completion, closed streams, start."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from rich.console import Console

from conventions import exit_codes
from conventions.environments import ENVIRONMENTS
from infra.rollout_config import RolloutConfig
from scripts import deploy_model, manage_models
from scripts.live_tables import as_text, rollout_view
from stacks.engine.serving_state import Silence
from stacks.rollout.state import RolloutStatus
from tests.checkout import SOURCE, take_interrupts

MODEL_ID = "fraud_XGBoost_20241009_123456"
DEPLOYMENT_ID = "deploy_fraud-detection-dev_development_20241009_123500"


def run(program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SOURCE / "scripts" / f"{program}.py"), *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)


@pytest.fixture
def registry(tmp_path: Path) -> str:
    version = tmp_path / "models" / "fraud" / MODEL_ID
    version.mkdir(parents=True)
    (version / "state.json").write_text(json.dumps({"deployments": [{"deployment_id": DEPLOYMENT_ID}]}))
    (tmp_path / "aliases").mkdir()
    (tmp_path / "aliases" / "fraud.json").write_text(json.dumps({"champion": {"model_id": MODEL_ID, "history": []}}))
    return str(tmp_path)


def offered(shell: str, program: str, words: list[str], registry: str) -> set[str]:
    """What a shell's script is answered when a user presses Tab after these words."""
    line = " ".join([f"{program}.py", *words])
    typed = {"COMP_WORDS": line, "COMP_CWORD": words[-1] if shell == "fish" else str(len(words))}
    variable = f"_{program.upper()}_COMPLETE"
    answer = run(program, MODEL_REGISTRY_URL=registry, **{variable: f"{shell}_complete"}, **typed)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    if shell == "zsh":
        return set(lines[1::3])
    return {each.partition(",")[2].partition("\t")[0] for each in lines if each}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        ("manage_models", ["inf"], {"info"}),
        ("manage_models", ["info", "fraud"], {MODEL_ID, "fraud@champion"}),
        ("manage_models", ["alias", "remove", "fraud", "ch"], {"champion"}),
        ("manage_models", ["update-status", MODEL_ID, "dep"], {"deployed", "deprecated"}),
        ("deploy_model", ["deploy", MODEL_ID, "st"], {"staging"}),
        ("deploy_model", ["deploy", MODEL_ID, "staging", "--strategy", "c"], {"canary"}),
        ("deploy_model", ["health", "dep"], {DEPLOYMENT_ID}),
    ],
)
def test_tab_offers(shell: str, program: str, words: list[str], expected: set[str], registry: str) -> None:
    assert offered(shell, program, words, registry) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    answer = run("manage_models", _MANAGE_MODELS_COMPLETE=f"{shell}_source")
    assert "_MANAGE_MODELS_COMPLETE" in answer.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=answer.stdout, text=True, check=True)


def test_completion_offers_nothing_of_a_registry_that_cannot_be_read(registry: str) -> None:
    (Path(registry) / "aliases" / "fraud.json").write_text("{")
    assert offered("bash", "manage_models", ["info", "fraud"], registry) == {MODEL_ID}
    assert offered("bash", "manage_models", ["info", "fraud"], "s3://bucket/prefix") == set()


def test_completion_offers_no_alias_that_was_removed(registry: str) -> None:
    entries = {"champion": {"model_id": None, "history": []}, "challenger": {"model_id": MODEL_ID, "history": []}}
    (Path(registry) / "aliases" / "fraud.json").write_text(json.dumps(entries))
    assert offered("bash", "manage_models", ["alias", "remove", "fraud", "ch"], registry) == {"challenger"}


def test_help_of_a_program_may_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert manage_models.main(["--he"]) == exit_codes.DONE
    assert "Exit codes:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage:"),
        (["alias"], "Usage:"),
        (["nothing"], "no such command"),
        (["list", "--s", "x"], "--s is ambiguous; it may be --status or --sort"),
        (["list", "--status", "--json"], "--status needs a value; '--json' is an option"),
        (["delete", "x", "--reason", "--js"], "--reason needs a value; '--js' is an option"),
        (["delete", "x", "--reason", "--typo"], "--reason needs a value; '--typo' is an option"),
        (["delete", "x", "--reason", "-h"], "--reason needs a value; '-h' is an option"),
        (["list", "--limit", "many"], "'many' is not a valid integer"),
        (["update-status", MODEL_ID], "missing argument 'STATUS'"),
        (["sign", MODEL_ID], "missing option '--sign-key'"),
    ],
)
def test_wrong_usage_is_code_2_with_a_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manage_models.main(arguments) == exit_codes.INVALID_INPUT
    output = capsys.readouterr()
    assert message in output.err
    assert not output.out


def test_an_option_may_be_abbreviated_and_stand_anywhere(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy_model.main(["rollback", "--at=2026-10-09", "staging", "--to", "x"]) == exit_codes.INVALID_INPUT
    assert "--to and --at exclude each other" in capsys.readouterr().err
    answer = run("manage_models", "list", "--js", "--lim=1", "--name", "nothing", MODEL_REGISTRY_URL=registry + "/new")
    assert (answer.returncode, answer.stdout) == (0, "[]\n"), answer.stderr


def test_the_help_names_every_command_an_example_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    for tool in (manage_models, deploy_model):
        assert tool.main(["--help"]) == exit_codes.DONE
        text = capsys.readouterr().out
        program = tool.program()
        for name, command in program.commands.items():
            assert f"  {name} " in text
            if not isinstance(command, click.Group):
                assert tool.main([name, "-h"]) == exit_codes.DONE
                assert f"{program.name} {name}" in capsys.readouterr().out.partition("Example:")[2]
        for code in program.codes:
            assert f"\n  {code:<4}{exit_codes.MEANINGS[code][:40]}" in text


def test_environments_are_offered_from_the_one_list(registry: str) -> None:
    assert offered("bash", "deploy_model", ["up", "''"], registry) <= set(ENVIRONMENTS)


def test_a_closed_output_pipe_is_not_an_error() -> None:
    program = f"{sys.executable} {SOURCE / 'scripts' / 'manage_models.py'}"
    for line in (f"{program} doctor | true; exit ${{PIPESTATUS[0]}}", f"{program} --help >&-"):
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode in (exit_codes.DONE, exit_codes.FAILED), ended.stderr
        assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("program", ["manage_models", "deploy_model"])
def test_help_is_there_before_any_large_library(program: str) -> None:
    code = (
        f"import sys; from scripts import {program}; {program}.main(['--help']); "
        "print([name for name in ('rich', 'numpy', 'pulumi', 'boto3', 'cryptography') if name in sys.modules], "
        "file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"


def test_ctrl_c_is_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    program = manage_models.program()
    monkeypatch.setattr("scripts.registry_commands.stats", interrupted)
    assert "stats" in program.commands
    started = time.monotonic()
    assert manage_models.main(["stats"]) == exit_codes.INTERRUPTED
    assert time.monotonic() - started < 5
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("milliseconds", [0, 60, 150, 300])
def test_ctrl_c_at_any_moment_is_one_line(milliseconds: int) -> None:
    command = (
        "import os, runpy, sys; from scripts import interrupts; begin = interrupts.end_at_once; "
        "interrupts.end_at_once = lambda: (begin(), os.write(1, b'started')); "
        "sys.argv = ['deploy_model.py', 'list-models']; "
        "runpy.run_path('scripts/deploy_model.py', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_interrupts,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.read(7) == "started"
        time.sleep(milliseconds / 1000)
        os.killpg(running.pid, signal.SIGINT)
        time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=20)
    assert running.returncode in (exit_codes.DONE, exit_codes.INTERRUPTED)
    assert "Traceback" not in errors
    if running.returncode == exit_codes.INTERRUPTED:
        assert errors.splitlines() == ["error: interrupted; run the same command again to go on"]


def test_a_background_job_ignores_ctrl_c() -> None:
    command = [sys.executable, "scripts/deploy_model.py", "list-models", "--help"]
    with subprocess.Popen(
        command,
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
    ) as running:
        for _ in range(20):
            time.sleep(0.02)
            os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=30)
    assert running.returncode == exit_codes.DONE


def test_a_long_line_of_a_status_is_whole() -> None:
    silence = Silence("there is no container " + "n" * 80, "python scripts/deploy_model.py deploy " + "m" * 80)
    status = RolloutStatus(
        environment="staging",
        stable="m" * 80,
        rollout=RolloutConfig(),
        in_force=None,
        interrupted="",
        since="",
        numbers={},
        candidate_share=None,
        verdict="",
        reason="",
        held_by="",
        silence=silence,
    )
    lines = as_text(Console(width=80), rollout_view(status)).splitlines()
    assert lines == [
        f"staging: {'m' * 80} is deployed and DOES NOT SERVE (rolling), no candidate",
        f"DOES NOT SERVE: {silence.reason}",
        f"mend: {silence.mend}",
    ]
