"""Pipes, devices, sockets, circles of links and files without an end are refused at once, by whatever command."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest

from model_store.keys.keyring import ensure_key_file
from tests.checkout import SOURCE

_AT_ONCE_SECONDS = 40
"""More than a command takes on a busy machine, less than anything that waits."""


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


_KINDS = [_pipe, _zeros, _socket, _circle, _sparse]


def _run(directory: Path, *arguments: str, **variables: str) -> str:
    """What a command of `manage_models.py` complains of; it has to fail, without a traceback."""
    environment = {
        "PATH": os.environ["PATH"],
        "MODEL_REGISTRY_URL": str(directory / "registry"),
        "MODEL_KEY_FILE": str(directory / "model.key"),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "scripts/manage_models.py", *arguments],
        cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=_AT_ONCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ensure_key_file(tmp_path / "model.key")
    joblib.dump([1, 2, 3], tmp_path / "good.joblib")
    return tmp_path


@pytest.mark.parametrize("make", _KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("command", ["inspect", "register", "convert", "import"])
def test_a_model_file_that_is_not_regular_is_refused_at_once(
    directory: Path, command: str, make: Callable[[Path], None]
) -> None:
    make(directory / "m.joblib")
    more = {"register": ["fraud", "T"], "convert": [str(directory / "out.joblib")]}.get(command, [])
    _run(directory, command, str(directory / "m.joblib"), *more)
    assert not list(directory.glob("registry/models/*/*/manifest.json"))


@pytest.mark.parametrize("make", _KINDS[:-1], ids=lambda make: make.__name__)
@pytest.mark.parametrize("option", ["--training-data", "--sample", "--holdout"])
def test_a_data_file_beside_a_model_that_is_not_regular_is_refused(
    directory: Path, option: str, make: Callable[[Path], None]
) -> None:
    make(directory / "data.csv")
    more = ["--label", "fraud"] if option == "--holdout" else []
    given = [option, str(directory / "data.csv"), *more]
    _run(directory, "register", str(directory / "good.joblib"), "fraud", "T", "--registry-only", *given)


@pytest.mark.parametrize("make", _KINDS, ids=lambda make: make.__name__)
def test_a_key_file_that_is_not_regular_is_refused(directory: Path, make: Callable[[Path], None]) -> None:
    make(directory / "other.key")
    complaint = _run(
        directory, "register", str(directory / "good.joblib"), "fraud", "T", "--registry-only",
        MODEL_KEY_FILE=str(directory / "other.key"),
    )  # fmt: skip
    assert "key" in complaint
