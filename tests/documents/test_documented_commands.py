"""Every command in the README and in docs/ runs: here, or in the test that is named for it."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from tests.checkout import SOURCE, Deployed
from tests.documents.blocks import DOCUMENTS, blocks

pytestmark = pytest.mark.timeout(400)

_ELSEWHERE = {
    "make sandbox": "tests/sandbox/conftest.py",
    "make sandbox-down": "tests/sandbox/conftest.py",
    "make sandbox NODES=real": "tests/cluster/conftest.py",
    "make up ENVIRONMENT=staging": "tests/cluster/test_commands.py",
    "make test-cluster": "Makefile",
    "python -m sandbox check": "tests/unit/sandbox/test_nodes.py",
    ". .venv/bin/activate": "Makefile",
    "make setup": "Makefile",
    "make lint": "Makefile",
    "export PULUMI_CONFIG_PASSPHRASE_FILE=.secrets/passphrase": "tests/sandbox/conftest.py",
    "pulumi up --stack staging": "tests/sandbox/test_stacks.py",
    "python scripts/deploy_model.py api-key staging checkout-service": "tests/sandbox/conftest.py",
    "python scripts/deploy_model.py deploy MODEL_ID staging": "tests/sandbox/conftest.py",
    'python scripts/manage_models.py promote-version MODEL_ID --from staging --to production --reason "release 7"': (
        "tests/unit/sandbox/test_registry_in_a_bucket.py"
    ),
    "python scripts/manage_models.py promote-version MODEL_ID --from s3://registry-staging --to "
    "s3://registry-production": "tests/unit/sandbox/test_registry_in_a_bucket.py",
    "python scripts/deploy_model.py deploy MODEL_ID ENV --strategy canary --shadow": "tests/rollouts/test_by_hand.py",
    "python scripts/deploy_model.py deploy MODEL_ID ENV --strategy canary --steps 5,25,50,100 --interval 5m": (
        "tests/rollouts/test_by_hand.py"
    ),
    "python scripts/deploy_model.py promote ENV": "tests/rollouts/test_by_hand.py",
    "python scripts/deploy_model.py console": "tests/console/conftest.py",
    "python scripts/deploy_model.py console --oidc oidc.json --host 0.0.0.0 --port 8765": (
        "tests/unit/console/test_oidc.py"
    ),
    "python scripts/deploy_model.py report production --since 2026-10-01 --until 2026-10-31 --sign-key "
    ".secrets/report.key --out october.html": "tests/console/test_auditing.py",
    'python scripts/deploy_model.py report --verify october.html --public-key "$(cat .secrets/report.key.pub)"': (
        "tests/console/test_auditing.py"
    ),
    'python scripts/deploy_model.py abort ENV --reason "callers complain"': "tests/rollouts/test_by_hand.py",
}
"""Commands that need a cloud, minutes of traffic or a whole checkout, and what runs them."""

_CODES = {"rollback": (0, 18), "health": (0, 13), "alerts": (0, 20)}
"""Exit codes that a documented command may end with, beside 0."""


_RUN_WHOLE = {
    "README.md": ("Start", "Your own model"),
    "docs/serving.md": ("A request, an answer, feedback",),
}
"""Sections whose blocks test_tutorials.py runs as a whole, as it does the tutorials."""


def documented_commands() -> list[tuple[str, str]]:
    """File and command of each line of the other shell blocks, comments left out and continued lines joined."""
    found = []
    for file in DOCUMENTS:
        document = str(file.relative_to(SOURCE))
        if document.startswith("docs/tutorials/"):
            continue
        for block in blocks(document):
            if block.language != "sh" or block.section in _RUN_WHOLE.get(document, ()):
                continue
            for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
                command = re.sub(r"(^|\s)#.*$", "", line).strip()
                if command:
                    found.append((document, command))
    return found


def test_there_are_commands_and_those_that_run_elsewhere_name_a_place_that_is_there() -> None:
    commands = [command for _, command in documented_commands()]
    assert len(commands) > 20
    for command, file in _ELSEWHERE.items():
        assert (SOURCE / file).exists(), command
        assert any(each.startswith(command) for each in commands), f"no longer documented: {command}"


def test_the_readme_begins_with_up_and_test() -> None:
    first = next(block for block in blocks("README.md") if block.language == "sh")
    assert [line.partition("#")[0].strip() for line in first.text.splitlines()] == ["make up", "make test"]


def test_every_make_target_in_the_documents_is_there() -> None:
    makefile = (SOURCE / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    for file in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z][\w-]*)", file.read_text(encoding="utf-8")))
        assert named <= targets, f"{file.name} names {sorted(named - targets)}"


def test_every_subcommand_that_the_documents_name_is_there() -> None:
    from scripts import deploy_model, manage_models

    known = {
        "deploy_model": _subcommands(deploy_model.program()),
        "manage_models": _subcommands(manage_models.program()),
    }
    named = 0
    for file in DOCUMENTS:
        for tool, command in re.findall(r"(deploy_model|manage_models)\.py ([a-z][a-z-]+)", file.read_text("utf-8")):
            assert command in known[tool], f"{file.name}: {tool}.py {command}"
            named += 1
    assert named > 40


def _subcommands(program: click.Group) -> set[str]:
    return set(program.commands)


def test_every_command_in_the_documents_runs(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.deploy(deployed.first)
    checkout.deploy(deployed.second)
    ran, deployments = 0, checkout.list_deployments()
    # The same command in two documents is run once.
    for command, file in {command: file for file, command in documented_commands()}.items():
        if command in _ELSEWHERE:
            continue
        listed = checkout.list_deployments() if re.search("DEPLOYMENT_|--at", command) else deployments
        names = {
            "DEPLOYMENT_ID": listed[0]["deployment_id"],
            "DEPLOYMENT_A": listed[0]["deployment_id"],
            "DEPLOYMENT_B": listed[1]["deployment_id"],
            "MODEL_ID": deployed.second,
            "ENV": "development",
        }
        text = command
        for name, value in names.items():
            text = re.sub(rf"\b{name}\b", value, text)
        # A moment in which something was deployed.
        text = re.sub(r"2026-10-09T14:00Z", listed[0]["finished_at"], text)
        program, *arguments = shlex.split(text)
        if program == "python":
            program = str(Path(checkout.environment["PATH"].split(":")[0]) / "python")
        if "--config" not in arguments and arguments[1:2] == ["deploy"]:
            arguments += ["--config", str(checkout.template)]
        allowed = _CODES.get(arguments[1] if len(arguments) > 1 else "", (0,))
        code = _ran(deployed, [program, *arguments])
        assert code in allowed, f"{file}: {command} ended with {code}"
        ran += 1
    assert ran >= 15
    # What the documents leave behind is a stack that the plain command line agrees with.
    checkout.deploy_model(
        "deploy", deployed.first, "development", "--config", str(checkout.template), "--strategy", "rolling"
    )
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def _ran(deployed: Deployed, command: list[str]) -> int:
    done = subprocess.run(
        command,
        cwd=deployed.checkout.root,
        env=deployed.checkout.environment,
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode not in (0, 13, 18, 20):
        print(json.dumps(command), done.stdout[-2000:], done.stderr[-2000:])
    return done.returncode
