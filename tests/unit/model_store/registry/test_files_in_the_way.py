"""A file where a registry needs a directory: one line with the way out, and everything else goes on."""

from pathlib import Path

import pytest

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.registry.aliases import Aliases
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, register

_STOPPED = {
    ".locks": {"update-status", "alias", "delete", "cleanup"},
    "aliases": {"alias", "delete", "cleanup"},
    ".staging": {"delete"},
    "models/m/.versions": set(),
}


@pytest.mark.parametrize("place", _STOPPED)
def test_a_file_in_a_directorys_place(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "registry"
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(root))
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    registry = ModelRegistry(root, keys=Keyring.of(KEY))
    ids = [register(registry, value) for value in range(3)]
    Aliases(registry).set("m", "champion", ids[0])
    (root / place).rename(tmp_path / "kept") if (root / place).exists() else None
    (root / place).write_text("no directory")
    commands = (
        ["list"],
        ["stats"],
        ["info", ids[0]],
        ["alias", "list"],
        ["update-status", ids[1], "deprecated"],
        ["alias", "set", "m", "next", ids[1]],
        ["backup", str(tmp_path / "backup")],
        ["export", ids[1], str(tmp_path / "one.bundle")],
        ["delete", ids[2]],
        ["cleanup", str(root), "--keep-latest", "1"],
    )
    for command in commands:
        capsys.readouterr()
        code, said = main(command), capsys.readouterr().err
        if command[0] in _STOPPED[place] and command[1] != "list":
            assert code in (exit_codes.NOT_INTACT, exit_codes.STORAGE_FAILED), command
            assert f"{root / place}: a file is where the registry needs a directory; move it away: mv " in said
            assert said.count("error: ") == 1, said
        else:
            assert code in (0, exit_codes.INCOMPLETE), (command, said)
    assert main(["verify"]) == exit_codes.NOT_INTACT
    assert "a file is where the registry needs a directory" in capsys.readouterr().out
    (root / place).unlink()
    if (tmp_path / "kept").exists():
        (tmp_path / "kept").rename(root / place)
    main(["verify"])
    assert main(["verify"]) == 0
