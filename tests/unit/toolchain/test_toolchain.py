"""The engine is found, downloaded or built; interrupted and dishonest downloads leave nothing behind."""

import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import SOURCE
from toolchain import ENGINE_VERSION, cache
from toolchain.download import archive_name
from toolchain.engine import ensure_engine
from toolchain.errors import EngineUnavailable
from toolchain.wrapper import write_wrapper

FAKE_ENGINE = f"#!/bin/sh\necho v{ENGINE_VERSION}\n"


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and nothing on PATH."""
    monkeypatch.setenv("FRAUD_DETECTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def _write_program(directory: Path, text: str) -> Path:
    program = directory / "pulumi"
    program.write_text(text)
    program.chmod(0o755)
    return program


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("pulumi", "pulumi-language-python"):
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size = len(FAKE_ENGINE)
            archive.addfile(member, io.BytesIO(FAKE_ENGINE.encode()))
    return buffer.getvalue()


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A release site on the loopback; returns the directory of its files."""
    directory = tmp_path / "site" / f"v{ENGINE_VERSION}"
    directory.mkdir(parents=True)
    (directory / archive_name()).write_bytes(_archive())
    digest = hashlib.sha256(_archive()).hexdigest()
    (directory / f"pulumi-{ENGINE_VERSION}-checksums.txt").write_text(f"{digest}  {archive_name()}\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "site"))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FRAUD_DETECTION_ENGINE_SITE", f"http://127.0.0.1:{server.server_port}")
    yield directory
    server.shutdown()
    server.server_close()


def test_a_recent_engine_on_path_is_taken(empty_machine: Path) -> None:
    program = _write_program(empty_machine / "bin", FAKE_ENGINE)
    engine = ensure_engine(print)
    assert (engine.program, engine.source) == (program, "path")


def test_an_engine_on_path_that_is_too_old_is_not_taken(empty_machine: Path, release: Path) -> None:
    _write_program(empty_machine / "bin", "#!/bin/sh\necho v3.10.0\n")
    assert ensure_engine(print, ("path", "download")).source == "download"


def test_a_release_is_downloaded_once(empty_machine: Path, release: Path) -> None:
    first = ensure_engine(print, ("path", "download"))
    (release / archive_name()).unlink()
    second = ensure_engine(print, ("path", "download"))
    assert (first.made, second.made) == (True, False)
    assert subprocess.run([second.program], capture_output=True, check=True).stdout == b"v3.259.0\n"


@pytest.mark.parametrize("damage", ["altered", "truncated", "unlisted", "missing"])
def test_a_release_with_a_wrong_checksum_is_refused_and_leaves_nothing(
    empty_machine: Path, release: Path, damage: str
) -> None:
    archive = release / archive_name()
    if damage == "altered":
        archive.write_bytes(archive.read_bytes() + b"x")
    elif damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-20])
    elif damage == "unlisted":
        (release / f"pulumi-{ENGINE_VERSION}-checksums.txt").write_text("0  other.tar.gz\n")
    else:
        archive.unlink()
    with pytest.raises(EngineUnavailable, match="download: "):
        ensure_engine(print, ("download",))
    assert not list(cache.cache_root().rglob("pulumi"))


def test_when_no_source_works_the_error_names_each_and_what_is_missing(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_DETECTION_ENGINE_SITE", "http://127.0.0.1:9")
    with pytest.raises(EngineUnavailable) as refused:
        ensure_engine(print)
    message = str(refused.value)
    assert "path: no `pulumi`" in message
    assert "download: http://127.0.0.1:9" in message
    assert "build: there is no `go` on PATH" in message


def test_an_interrupted_run_leaves_no_entry_and_the_next_one_succeeds(empty_machine: Path) -> None:
    target = cache.entry("engine", "key")

    def interrupted(directory: Path) -> None:
        (directory / "half").write_text("half")
        os._exit(9)

    child = os.fork()
    if child == 0:
        cache.publish(target, interrupted)
    os.waitpid(child, 0)
    assert not target.exists()
    cache.publish(target, lambda directory: _write_program(directory, FAKE_ENGINE) and None)
    assert [path.name for path in target.parent.iterdir()] == ["key"]
    assert [path.name for path in target.iterdir()] == ["pulumi"]


def test_the_wrapper_tells_the_engine_where_state_and_passphrase_are(empty_machine: Path) -> None:
    _write_program(empty_machine / "bin", '#!/bin/sh\n[ "$1" = version ] && echo v3.259.0 || env\n')
    programs = empty_machine / "environment"
    programs.mkdir()
    (empty_machine / ".secrets").mkdir()
    (empty_machine / ".secrets" / "passphrase").write_text("p")
    wrapper = write_wrapper(ensure_engine(print), programs, empty_machine)
    environment = {"PATH": os.defpath}
    output = subprocess.run([wrapper, "up"], env=environment, capture_output=True, text=True, check=True).stdout
    assert f"PULUMI_BACKEND_URL=file://{empty_machine}/.state\n" in output
    assert f"PULUMI_CONFIG_PASSPHRASE_FILE={empty_machine}/.secrets/passphrase\n" in output
    environment["PULUMI_BACKEND_URL"] = "s3://mine"
    output = subprocess.run([wrapper, "up"], env=environment, capture_output=True, text=True, check=True).stdout
    assert "PULUMI_BACKEND_URL=s3://mine\n" in output


@pytest.mark.parametrize("command", [("version",), ("plugin", "ls"), ("stack", "ls", "--json"), ("up",)])
def test_the_wrapper_makes_secrets_for_commands_that_open_one(empty_machine: Path, command: tuple[str, ...]) -> None:
    _write_program(empty_machine / "bin", "#!/bin/sh\necho v3.259.0\n")
    programs = empty_machine / "environment"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/sh\necho "$2"\n')
    (programs / "python").chmod(0o755)
    wrapper = write_wrapper(ensure_engine(print), programs, empty_machine)
    done = subprocess.run([wrapper, *command], env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
    assert ("stacks.engine.development_secrets" in done.stdout) is (command == ("up",))


@pytest.mark.parametrize(("content", "looks"), [("", True), ("whole", False)])
def test_the_wrapper_takes_no_empty_passphrase(empty_machine: Path, content: str, looks: bool) -> None:
    _write_program(empty_machine / "bin", "#!/bin/sh\necho v3.259.0\n")
    programs = empty_machine / "environment"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/sh\necho "$2"\n')
    (programs / "python").chmod(0o755)
    (empty_machine / ".secrets").mkdir()
    (empty_machine / ".secrets" / "passphrase").write_text(content)
    wrapper = write_wrapper(ensure_engine(print), programs, empty_machine)
    done = subprocess.run([wrapper, "up"], env={"PATH": os.defpath}, capture_output=True, text=True, check=True)
    assert ("stacks.engine.development_secrets" in done.stdout) is looks


def test_the_wrapper_is_never_taken_for_an_engine(empty_machine: Path, release: Path) -> None:
    write_wrapper(ensure_engine(print, ("download",)), empty_machine / "bin", empty_machine)
    assert ensure_engine(print, ("path", "download")).source == "download"


def test_the_command_prints_json_and_names_where_the_engine_is(empty_machine: Path, release: Path) -> None:
    command = [sys.executable, "-m", "toolchain", "--help"]
    assert "examples:" in subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True).stdout
