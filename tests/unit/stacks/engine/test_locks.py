"""A lock of the engine says who holds the stack, also where its file is empty or its host cannot be asked."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stacks.engine import locks
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy, StackLocked

_DEVELOPMENT = DeploymentEnvironment.DEVELOPMENT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the engine's locks in a state of the test's own."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    folder = tmp_path / "state" / ".pulumi" / "locks" / "organization" / "fraud-detection" / "dev"
    folder.mkdir(parents=True)
    return folder


def _lock(folder: Path, host: str, hours: float, process: int = 478) -> Path:
    since = datetime.now(UTC) - timedelta(hours=hours)
    content = {"pid": process, "username": "ci", "hostname": host, "timestamp": f"{since:%Y-%m-%dT%H:%M:%S}.123456789Z"}
    path = folder / f"{host}.json"
    path.write_text(json.dumps(content))
    return path


def test_an_old_lock_of_another_host_is_stale_and_removed(folder: Path, tmp_path: Path) -> None:
    path = _lock(folder, "ip-10-0-42-235", hours=7)
    with pytest.raises(StackLocked, match="unlock development"):
        locks.require_unlocked(tmp_path, _DEVELOPMENT)
    assert [each.host for each in locks.remove_stale_locks(tmp_path, _DEVELOPMENT)] == ["ip-10-0-42-235"]
    assert not path.exists()


def test_a_young_lock_of_another_host_stays_until_a_person_says_that_the_host_is_dead(
    folder: Path, tmp_path: Path
) -> None:
    path = _lock(folder, "ip-10-0-42-235", hours=0.1)
    with pytest.raises(StackBusy, match="unlock development --dead-host ip-10-0-42-235"):
        locks.require_unlocked(tmp_path, _DEVELOPMENT)
    with pytest.raises(StackBusy, match="cannot be asked from here") as refused:
        locks.remove_stale_locks(tmp_path, _DEVELOPMENT)
    assert "alive" not in str(refused.value)
    with pytest.raises(StackBusy):
        locks.remove_stale_locks(tmp_path, _DEVELOPMENT, "another-host")
    assert path.exists()
    locks.remove_stale_locks(tmp_path, _DEVELOPMENT, "ip-10-0-42-235")
    assert not path.exists()


_OWN = {"pid": 478, "username": "ci", "hostname": "here", "timestamp": "2026-10-09T14:00:00Z"}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**_OWN, "pid": -1}).encode(),
        json.dumps({**_OWN, "pid": 0}).encode(),
        json.dumps(_OWN).replace("478", "1e999").encode(),
        json.dumps({**_OWN, "hostname": "here\n--dead-host there"}).encode(),
        json.dumps({**_OWN, "username": "\x1b[31mci"}).encode(),
        json.dumps({**_OWN, "timestamp": "0001-01-01T00:00:00"}).encode(),
    ],
    ids=str,
)
def test_a_lock_of_another_kind_is_named_and_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(locks, "_WRITING_SECONDS", 0.2)
    path = folder / "another.json"
    path.write_bytes(content)
    with pytest.raises(StackLocked, match=str(path)) as refused:
        locks.require_unlocked(tmp_path, _DEVELOPMENT)
    assert str(refused.value).isprintable()
    locks.remove_stale_locks(tmp_path, _DEVELOPMENT)
    assert not path.exists()


def test_a_lock_that_a_full_disk_has_cut_off_holds_the_stack(folder: Path, tmp_path: Path) -> None:
    path = folder / "54a87b20-14f8-461a-8380-d9478f40fac1.json.18ebfc59d210bb44.tmp"
    path.touch()
    (folder / "another.json.attrs").touch()
    (folder / "directory.json").mkdir()
    with pytest.raises(StackLocked, match=f"{path} is empty.*unlock development"):
        locks.require_unlocked(tmp_path, _DEVELOPMENT)
    assert len(locks.remove_stale_locks(tmp_path, _DEVELOPMENT)) == 1
    assert not path.exists()


def test_a_host_with_a_blank_in_its_name_is_quoted(folder: Path, tmp_path: Path) -> None:
    _lock(folder, "a host", hours=0.1)
    with pytest.raises(StackBusy, match="unlock development --dead-host 'a host'"):
        locks.require_unlocked(tmp_path, _DEVELOPMENT)


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("{", "does not tell who took it"), ("[1]", "does not tell who took it")]
)
def test_a_lock_that_cannot_be_read_is_named_and_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setattr(locks, "_WRITING_SECONDS", 0.0)
    path = folder / "left.json"
    path.write_text(text)
    with pytest.raises(StackLocked, match=words) as refused:
        locks.require_unlocked(tmp_path, _DEVELOPMENT)
    assert str(path) in str(refused.value)
    locks.remove_stale_locks(tmp_path, _DEVELOPMENT)
    assert not path.exists()


def test_a_lock_of_a_live_process_of_this_machine_stays(folder: Path, tmp_path: Path) -> None:
    _lock(folder, os.uname().nodename, hours=0, process=os.getpid())
    with pytest.raises(StackBusy, match="which is alive"):
        locks.remove_stale_locks(tmp_path, _DEVELOPMENT)


def test_the_home_in_the_address_of_the_state_is_the_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file://~/state?no_tmp_dir=true")
    folder = tmp_path / "state" / ".pulumi" / "locks" / "organization" / "fraud-detection" / "dev"
    folder.mkdir(parents=True)
    _lock(folder, os.uname().nodename, hours=1, process=2**22 - 1)
    assert len(locks.remove_stale_locks(tmp_path / "checkout", _DEVELOPMENT)) == 1
