"""Every name of a version means the same version to every command that takes one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import ModelNotFound
from model_store.keys.keyring import write_key_file
from model_store.registry.aliases import Aliases
from model_store.registry.signing import write_signing_key
from scripts import deploy_model, manage_models
from tests.unit.model_store.making import KEY, register

FORMS: dict[str, Callable[[str], str]] = {
    "id": lambda model_id: model_id,
    "number": lambda _: "m:2",
    "latest": lambda _: "m:latest",
    "alias": lambda _: "m@champion",
    "bundle": lambda model_id: f"exports/{model_id}.bundle",
    "mlflow number": lambda _: "models:/m/2",
    "mlflow latest": lambda _: "models:/m/latest",
    "mlflow alias": lambda _: "models:/m@champion",
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "info": ("info", "NAME"),
    "card": ("card", "NAME"),
    "update-status": ("update-status", "NAME", "validated", "--evidence", "report.txt"),
    "approve": ("approve", "NAME", "--evidence", "report.txt", "--reason", "read it"),
    "alias set": ("alias", "set", "m", "challenger", "NAME"),
    "prove": ("prove", "NAME"),
    "verify": ("verify", "NAME"),
    "audit": ("audit", "--model", "NAME"),
    "sign": ("sign", "NAME", "--sign-key", "signing.key"),
    "rotate-key": ("rotate-key", "NAME", "--new-key", "new.key"),
    "export": ("export", "NAME", "out.bundle"),
    "promote-version": ("promote-version", "NAME", "--to", "elsewhere"),
    "score": ("score", "NAME", "rows.csv", "--out", "out.csv"),
    "delete": ("delete", "NAME"),
}
"""The commands of manage_models.py that take a version; `deploy` and `rollback --to` are tried on a real stack."""
EXPECTED = {
    "prove": (exit_codes.NOT_INTACT, "out"),
    "score": (exit_codes.INVALID_INPUT, "err"),
    "delete": (exit_codes.CONFLICT, "err"),
}
"""What ends otherwise here: a plain value answers no golden rows nor files, and an alias keeps its version."""
ON_A_STACK = {"deploy", "rollback"}
TAKES_ANY_OTHER = {"import"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    """A registry with two versions of a model, the second one with an alias."""
    monkeypatch.chdir(tmp_path)
    write_key_file(tmp_path / "model.key")
    write_key_file(tmp_path / "new.key")
    write_signing_key(tmp_path / "signing.key")
    (tmp_path / "report.txt").write_text("recall 0.93")
    (tmp_path / "rows.csv").write_text("amount\n1\n")
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(tmp_path / "registry"))
    monkeypatch.setenv("MODEL_KEY_FILE", str(tmp_path / "model.key"))
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.from_files(tmp_path / "model.key"), actor="someone")
    register(registry)
    Aliases(registry).set("m", "champion", register(registry))
    return registry


@pytest.mark.parametrize("form", FORMS)
def test_each_command_takes_each_name(registry: ModelRegistry, capsys: pytest.CaptureFixture[str], form: str) -> None:
    second = registry.list_models()[-1].model_id
    name = FORMS[form](second)
    for command, words in COMMANDS.items():
        code = manage_models.main([*(name if word == "NAME" else word for word in words), "--json"])
        output = capsys.readouterr()
        expected, where = EXPECTED.get(command, (exit_codes.DONE, "out"))
        assert code == expected, (command, name, output.err)
        assert second in getattr(output, where), (command, name)


def test_no_command_is_left_out() -> None:
    """A new command that takes a version needs its line above."""
    found = set()
    for program in (manage_models.program(), deploy_model.program()):
        for name, command in _commands(program):
            taken = {parameter.name for parameter in command.params}
            if taken & {"model_id", "model", "to"} and name not in TAKES_ANY_OTHER | {"convert"}:
                found.add(name)
    assert found == set(COMMANDS) | ON_A_STACK


def _commands(group: click.Group, before: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += _commands(command, f"{before}{name} ")
        else:
            found.append((f"{before}{name}", command))
    return found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m", "'m' is a model, not a version of it; name one by its id, m:NUMBER, m:latest or m@ALIAS"),
        ("m:3", "m has no version 3; it has: 1, 2"),
        ("m:0", "m has no version 0; it has: 1, 2"),
        ("other:latest", "other has no version latest; it has: none"),
        ("m@nobody", "m has no alias 'nobody'; it has: champion"),
        ("models:/m/3", "m has no version 3; it has: 1, 2"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_what_there_is(
    registry: ModelRegistry, name: str, message: str
) -> None:
    with pytest.raises(ModelNotFound) as refused:
        Aliases(registry).resolve(name)
    assert str(refused.value) == message


def test_the_latest_is_the_highest_number(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "many", keys=Keyring.of(KEY), actor="someone")
    versions: list[Any] = [register(registry) for _ in range(12)]
    assert Aliases(registry).resolve("m:latest") == versions[-1]
    assert Aliases(registry).resolve("m:9") == versions[8]


def test_info_of_states_of_before_gives_an_environment_to_one_version(
    registry: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """States of before name no end: each says `deployed`, and the latest one serves."""
    first, second = (each.model_id for each in registry.list_models())
    for model_id in (first, second):
        registry.record_deployment(model_id, environment="staging", deployment_id=f"deploy_{model_id}")
    for minute, model_id in enumerate((first, second)):
        path = tmp_path / "registry" / "models" / "m" / model_id / "state.json"
        state = json.loads(path.read_text())
        state["deployments"][0]["at"] = f"2026-01-01T00:0{minute}:00Z"
        state.pop("serving")
        path.write_text(json.dumps({**state, "status": "deployed"}))
    for model_id, serves in ((first, []), (second, ["staging"])):
        assert manage_models.main(["info", model_id, "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["serving"]) == serves
