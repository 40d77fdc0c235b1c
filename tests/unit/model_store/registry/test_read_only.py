"""A registry that this process may not write: everything that only reads works, and says what is not recorded."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import AccessDenied, StorageFailed
from model_store.registry.log.reserve import NotRecorded
from model_store.registry.upkeep.maintenance import delete_model
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, register
from tests.unit.model_store.registry.disks import another_user, in_a_child, read_only_disk

Prepare = Callable[[Path], Callable[[], None]]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A registry that everybody may read, and one of its versions."""
    directory = Path(tempfile.mkdtemp(prefix="read-only-"))
    registry = ModelRegistry(directory / "registry", keys=Keyring.of(KEY))
    model_id = register(registry, "value")
    for path in [directory, *directory.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    monkeypatch.setenv("MODEL_REGISTRY_URL", str(directory / "registry"))
    monkeypatch.setenv("MODEL_KEY", KEY.decode())
    yield directory / "registry", model_id
    shutil.rmtree(directory)


@pytest.mark.parametrize("registry_only", [False, True], ids=["golden rows", "none yet"])
def test_a_proof_on_a_read_only_disk_is_answered_and_not_recorded(
    place: tuple[Path, str], capfd: pytest.CaptureFixture[str], registry_only: bool
) -> None:
    root, _ = place
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = LogisticRegression().fit(rows, [0, 1] * 30)
    registry = ModelRegistry(root, keys=Keyring.of(KEY))
    model_id = registry.register_model(model, "fraud", registry_only=registry_only)
    before = sorted(str(path) for path in root.rglob("*"))

    def work() -> None:
        capfd.readouterr()
        assert main(["prove", model_id, "--json"]) == 0
        said = capfd.readouterr()
        assert json.loads(said.out)[0]["proven"] is True
        assert ("not kept: this process may not write" in said.out) == registry_only
        assert [line.rpartition(": ")[2] for line in said.err.splitlines() if not line.startswith("prove: ")] == [
            f"load {model_id}",
            f"prove {model_id}",
        ]

    in_a_child(work, read_only_disk(root))
    assert sorted(str(path) for path in root.rglob("*")) == before
    assert "proofs" not in registry.state(model_id)


def _read(root: Path, model_id: str) -> None:
    assert ModelRegistry(root, keys=Keyring.of(KEY)).get_metadata(model_id).status == "trained"
    for command in (
        ["list", "--json"],
        ["info", model_id, "--json"],
        ["verify", "--json"],
        ["audit", "--verify", "--json"],
        ["audit", "--json"],
        ["stats", "--json"],
    ):
        assert main(command) == 0, command


def _another_user(root: Path) -> Callable[[], None]:
    if os.geteuid() == 0:
        return another_user

    def lose_the_right() -> None:
        for path in [root, *root.rglob("*")]:
            if path.is_dir():
                path.chmod(0o555)

    return lose_the_right


@pytest.mark.parametrize("prepare", [read_only_disk, _another_user], ids=["disk", "user"])
def test_what_only_reads_works_and_says_what_is_not_recorded(
    place: tuple[Path, str], prepare: Prepare, capfd: pytest.CaptureFixture[str]
) -> None:
    root, model_id = place
    _read(root, model_id)  # everything is imported before the user changes, who may not read this checkout
    ModelRegistry(root, keys=Keyring.of(KEY)).load_model(model_id)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = sorted(str(path) for path in root.rglob("*"))

    def work() -> None:
        capfd.readouterr()
        _read(root, model_id)
        said = capfd.readouterr()
        assert said.err == ""
        decoder, rest = json.JSONDecoder(), said.out
        while rest := rest.lstrip():
            _, end = decoder.raw_decode(rest)
            rest = rest[end:]
        registry = ModelRegistry(root, keys=Keyring.of(KEY))
        with pytest.warns(NotRecorded, match=f"not recorded in its audit log: load {model_id}"):
            assert registry.load_model(model_id)[0] == "value"
        with tempfile.TemporaryDirectory() as elsewhere:
            assert main(["export", model_id, f"{elsewhere}/x.bundle"]) == 0
        said = capfd.readouterr()
        assert said.err.splitlines() == [
            f"warning: {root} cannot be written by this process; not recorded in its audit log: export {model_id}"
        ]
        with pytest.raises((StorageFailed, AccessDenied)):
            delete_model(registry, model_id)
        assert main(["update-status", model_id, "staged"]) in (exit_codes.STORAGE_FAILED, exit_codes.REFUSED)
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert said.err.splitlines()[-1].startswith("error: ")

    in_a_child(work, prepare(root))
    assert sorted(str(path) for path in root.rglob("*")) == before
