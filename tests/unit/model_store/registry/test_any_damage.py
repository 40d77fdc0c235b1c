"""Any damage of any one file: every command ends in one clear line or goes on, and a backup mends it."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conventions import exit_codes
from model_store import Keyring, ModelRegistry
from model_store.errors import ModelStoreError
from model_store.registry.aliases import Aliases
from model_store.registry.files.layout import storage_at
from model_store.registry.index import CACHE_KEY
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.signing import read_signing_key, write_signing_key
from model_store.registry.upkeep.maintenance import cleanup, verify_everything
from scripts.manage_models import main
from tests.unit.model_store.making import KEY, intact, register


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _version_is_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("no directory")


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": _written(b""),
    "not JSON": _written(b"no JSON at all"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
    "a list": _written(b"[]"),
    "a number": _written(b"5"),
    "another object": _written(b'{"created_at": 5}'),
    "nested": _written(b"[" * 20000 + b"]" * 20000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]) and None,
    "flipped": _flipped,
    "directory": _directory,
    "link": _link,
    "pipe": _pipe,
    "version is a file": _version_is_a_file,
}


@pytest.fixture(scope="module")
def whole(memory: Path) -> tuple[Path, list[str]]:
    """A registry with two versions, an alias, a signature and an index, its backup beside it, and the ids."""
    top = memory / "whole"
    top.mkdir()
    registry = ModelRegistry(top / "registry", keys=Keyring.of(KEY), actor="tester")
    write_signing_key(top / "a.key")
    ids = [register(registry, "one", signing_key=read_signing_key(top / "a.key")), register(registry, "two")]
    Aliases(registry).set("m", "champion", ids[0])
    registry.record_deployment(ids[0], environment="e", deployment_id="d")
    (top / "registry" / CACHE_KEY).write_text("{}")
    backup(registry, top / "backup")
    (top / "key").write_bytes(KEY)
    return top, ids


def _files(top: Path) -> list[str]:
    root = top / "registry"
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.parts[-2] not in (".locks", ".staging")
    )


def _commands(ids: list[str], place: Path) -> list[list[str]]:
    return [
        ["list"],
        ["list", "--json"],
        ["stats"],
        ["verify"],
        ["audit"],
        ["alias", "list"],
        ["alias", "set", "m", "other", ids[1]],
        ["info", ids[0]],
        ["info", "m@champion"],
        ["card", ids[0]],
        ["update-status", ids[0], "deprecated"],
        ["export", ids[0], str(place / "x.bundle")],
        ["backup", str(place / "again")],
        ["cleanup", str(place / "registry"), "--keep-latest", "1"],
        ["delete", ids[1]],
    ]


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_command_goes_on_or_says_what_is_damaged(
    whole: tuple[Path, list[str]],
    memory: Path,
    capsys: pytest.CaptureFixture[str],
    data: st.DataObject,
) -> None:
    top, ids = whole
    place = Path(tempfile.mkdtemp(dir=memory))
    shutil.copytree(top / "registry", place / "registry")
    file = data.draw(st.sampled_from(_files(top)))
    damage = data.draw(st.sampled_from(sorted(DAMAGES)))
    if damage == "version is a file" and "models" not in file:
        return
    DAMAGES[damage](place / "registry" / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_REGISTRY_URL", str(place / "registry"))
        patch.setenv("MODEL_KEY", KEY.decode())
        for command in _commands(ids, place):
            code = main(command)
            said = capsys.readouterr()
            assert code != exit_codes.FAILED, (file, damage, command, said)
            assert "Traceback" not in said.err, (file, damage, command, said)
            if command[0] in ("list", "stats"):
                assert code == 0, (file, damage, command, said)


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_backup_mends_exactly_what_is_damaged(whole: tuple[Path, list[str]], memory: Path, damage: str) -> None:
    top, ids = whole
    files = [file for file in _files(top) if file != CACHE_KEY and ".versions" not in file]
    files = [
        file for file in files if not file.startswith((".reserve", "audit/head")) and file != "access.json"
    ]  # no backup has it
    last = max(file for file in files if file.startswith("audit"))
    for number, file in enumerate(files):
        # The log's end has no record after it that could tell.
        if file == last and damage in ("gone", "directory", "version is a file", "flipped"):
            continue
        # One letter of a text: only the signature of a signed manifest tells, to who has the public key.
        if damage == "flipped" and file.endswith(("manifest.json", "state.json", "aliases/m.json")):
            continue
        if (damage == "version is a file") != file.endswith("/artifact") and damage == "version is a file":
            continue
        root = memory / f"{damage}-{number}"
        shutil.copytree(top / "registry", root)
        if damage == "gone" and file.endswith("signature.json"):
            continue
        DAMAGES[damage](root / file)
        registry = ModelRegistry(root, keys=Keyring.of(KEY), actor="tester")
        assert not intact(registry) or file.endswith("signature.json") or damage == "gone", (file, damage)
        outcome = repair(registry, storage_at(top / "backup"))
        assert outcome.damaged == {}, (file, damage)
        if damage != "version is a file":
            assert outcome.copied == [file], (file, damage)
        assert [finding for finding in verify_everything(registry) if not finding.intact] == [], (file, damage)
        assert registry.load_model(ids[0])[0] == "one"


def test_an_emptied_state_never_replaces_the_good_copy_and_is_named(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    top, ids = whole
    for name in ("registry", "backup"):
        shutil.copytree(top / name, tmp_path / name)
    key = f"models/m/{ids[0]}/state.json"
    good = (tmp_path / "backup" / key).read_bytes()
    (tmp_path / "registry" / key).write_bytes(b"")
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
    third = register(registry, "three")
    answer = backup(registry, tmp_path / "backup")
    assert list(answer["damaged"]) == [key]
    assert (tmp_path / "backup" / key).read_bytes() == good
    assert third in str(list((tmp_path / "backup").rglob("manifest.json"))), "the backup went on"
    assert ids[0] in registry.damaged_models()
    restore(registry, tmp_path / "backup")
    assert registry.state(ids[0])["deployments"]


def test_a_restored_registry_goes_on_counting(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    top, _ = whole
    shutil.copytree(top / "backup", tmp_path / "backup")
    registry = ModelRegistry(tmp_path / "new", keys=Keyring.of(KEY), actor="tester")
    restore(registry, tmp_path / "backup")
    assert registry.get_metadata(register(registry, "three")).version == 3


def test_what_the_backup_has_damaged_too_is_named_and_not_written(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    top, ids = whole
    for name in ("registry", "backup"):
        shutil.copytree(top / name, tmp_path / name)
        _flipped(tmp_path / name / f"models/m/{ids[0]}/artifact")
    (tmp_path / "registry" / f"models/m/{ids[1]}/manifest.json").unlink()
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
    before = (tmp_path / "registry" / f"models/m/{ids[0]}/artifact").read_bytes()
    outcome = repair(registry, storage_at(tmp_path / "backup"))
    assert list(outcome.damaged) == [f"models/m/{ids[0]}/artifact"]
    assert "too" in outcome.damaged[f"models/m/{ids[0]}/artifact"]
    assert outcome.copied == [f"models/m/{ids[1]}/manifest.json"]
    assert registry.artifact_path(ids[0]).read_bytes() == before


def test_nothing_that_may_have_an_alias_or_be_deployed_is_cleaned_up(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    top, ids = whole
    shutil.copytree(top / "registry", tmp_path / "registry")
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="tester")
    register(registry, "three")
    assert cleanup(registry, 1, dry_run=True)[0] == [ids[1]]
    (tmp_path / "registry" / "aliases" / "m.json").write_text("[]")
    going, kept = cleanup(registry, 1, dry_run=True)
    assert going == []
    assert "may have an alias" in kept[ids[1]]


@pytest.mark.parametrize("damage", ["empty", "a list", "not JSON", "cut", "directory"])
def test_a_damaged_policy_is_named_and_gives_no_rights(
    whole: tuple[Path, list[str]], tmp_path: Path, damage: str
) -> None:
    top, ids = whole
    shutil.copytree(top / "registry", tmp_path / "registry")
    DAMAGES[damage](tmp_path / "registry" / "access.json")
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY))
    assert [model.model_id for model in registry.list_models()] == ids
    with pytest.raises(ModelStoreError, match=r"access\.json"):
        registry.update_model_status(ids[1], "archived")
    assert "access" in {finding.subject for finding in verify_everything(registry) if not finding.intact}
