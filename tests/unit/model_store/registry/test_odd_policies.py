"""Policies and JSON files that say something twice, go too deep, or make everybody an admin."""

from pathlib import Path

import pytest

from conventions import exit_codes
from model_store import ModelRegistry
from model_store.errors import InvalidInput
from model_store.registry.access import AccessPolicy
from scripts.manage_models import main
from tests.unit.model_store.making import register

_TWICE = '{"actors": {"root": {"role": "admin"}}, "actors": {}}'


@pytest.mark.parametrize(("content", "reason"), [(_TWICE, "the key 'actors' twice"), ("[" * 5000, "nested too deeply")])
def test_a_policy_that_readers_may_read_differently_is_refused_with_words(
    registry: ModelRegistry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
    reason: str,
    tmp_path: Path,
) -> None:
    model_id = register(registry)
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    registry.storage.path("access.json").write_text(content)
    for command in (["access", "show"], ["update-status", model_id, "deprecated"], ["verify"]):
        capsys.readouterr()
        assert main(command) == exit_codes.NOT_INTACT
        said = capsys.readouterr()
        assert reason in said.err + said.out, command
    assert main(["list"]) == 0
    (tmp_path / "policy.json").write_text(content)
    with pytest.raises(InvalidInput, match="access policy cannot be read"):
        AccessPolicy.from_file(tmp_path / "policy.json")


@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
def test_a_file_with_a_key_twice_is_damage(registry: ModelRegistry, file: str) -> None:
    model_id = register(registry)
    path = registry.storage.path(f"models/m/{model_id}/{file}")
    path.write_text(path.read_text().replace("{", '{"x": 1, "x": 2,', 1))
    assert list(ModelRegistry(registry.storage.location).damaged_models()) == [model_id]


def test_everybody_is_not_made_an_admin(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    assert main(["access", "grant", "*", "admin"]) == exit_codes.INVALID_INPUT
    assert "would make everybody an admin" in capsys.readouterr().err
    assert main(["access", "grant", "ops-*", "admin"]) == 0


def test_the_head_is_printed_as_json_in_either_order(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry)
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    printed = []
    for options in (["--head", "--json"], ["--json", "--head"]):
        assert main(["audit", *options]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert '"sequence": 1' in printed[0]


def test_codes_of_what_does_not_exist(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_id = register(registry)
    monkeypatch.setenv("MODEL_REGISTRY_URL", registry.storage.location)
    nowhere = str(tmp_path / "nowhere")
    assert main(["alias", "list", "nope"]) == exit_codes.NOT_FOUND
    assert main(["alias", "list", "m"]) == 0
    assert main(["sign", model_id, "--sign-key", nowhere]) == exit_codes.KEY_PROBLEM
    assert main(["rotate-key", "--new-key", nowhere]) == exit_codes.KEY_PROBLEM
    for place in ("/dev/null", nowhere):
        assert main(["restore", place]) == exit_codes.INVALID_INPUT
        assert main(["verify", "--repair", place]) == exit_codes.INVALID_INPUT
    assert main(["audit", "--since", "foo"]) == exit_codes.INVALID_INPUT
    assert "Traceback" not in capsys.readouterr().err
