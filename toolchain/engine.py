"""Finds the engine: on PATH, in the cache, by download, or built from Go modules, in this order."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from toolchain import ENGINE_VERSION, MINIMUM_ENGINE_VERSION, cache
from toolchain.build import ENGINE, build_inputs
from toolchain.download import archive_name, download_engine, release_site
from toolchain.errors import EngineUnavailable, ToolchainError

WRAPPER_MARK = "fraud-detection engine wrapper"
SOURCES = ("path", "download", "build")


@dataclass(frozen=True)
class Engine:
    """An installed engine."""

    program: Path
    """The `pulumi` executable."""
    version: str
    """The engine's version, such as `3.259.0`."""
    source: str
    """`path`, `download` or `build`."""
    made: bool
    """Whether this call installed the engine."""

    def to_dict(self) -> dict[str, object]:
        """The engine as plain JSON values."""
        return {**asdict(self), "program": str(self.program)}


def ensure_engine(log: Callable[[str], None], sources: tuple[str, ...] = SOURCES) -> Engine:
    """Returns an engine; installs one when there is none.

    Args:
        log: receives one line for each source that is tried or fails.
        sources: the sources to try, in order: `path`, `download`, `build`.

    Raises:
        EngineUnavailable: every source failed; the message names what each one lacks.
    """
    ways: dict[str, Callable[[Callable[[str], None]], Engine]] = {
        "path": _from_path,
        "download": _downloaded,
        "build": _built,
    }
    ready = _first_ready(sources)
    if ready is not None:
        return ready
    failures = []
    for source in sources:
        try:
            return ways[source](log)
        except ToolchainError as error:
            failures.append(f"  {source}: {error}")
            log(f"{source}: {error}")
    raise EngineUnavailable("the Pulumi engine cannot be installed on this machine:\n" + "\n".join(failures))


def _first_ready(sources: tuple[str, ...]) -> Engine | None:
    """The engine of the first source that needs no network now: from PATH or from the cache."""
    if "path" in sources and (found := _find_on_path()):
        return found
    for source in sources:
        if source != "path" and (program := _entry(source) / "pulumi").exists():
            return Engine(program, ENGINE_VERSION, source, made=False)
    return None


def _entry(source: str) -> Path:
    inputs = build_inputs() if source == "build" else [release_site().encode(), ENGINE_VERSION.encode()]
    return cache.entry("engine", f"{source}-{cache.digest(*inputs)}")


def _from_path(log: Callable[[str], None]) -> Engine:
    found = _find_on_path()
    if found is None:
        raise ToolchainError(f"no `pulumi` {MINIMUM_ENGINE_VERSION} or newer on PATH")
    log(f"using {found.program}")
    return found


def _find_on_path() -> Engine | None:
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        program = shutil.which("pulumi", path=directory)
        if program and not _is_wrapper(Path(program)):
            version = _version(program)
            if version and _numbers(version) >= _numbers(MINIMUM_ENGINE_VERSION):
                return Engine(Path(program).resolve(), version, "path", made=False)
    return None


def _is_wrapper(program: Path) -> bool:
    with program.open("rb") as file:
        return WRAPPER_MARK.encode() in file.read(512)


def _version(program: str) -> str | None:
    try:
        answer = subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+\.\d+\.\d+", answer.stdout)
    return found.group() if found else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _downloaded(log: Callable[[str], None]) -> Engine:
    archive_name()
    return _run_source("download", download_engine, log)


def _built(log: Callable[[str], None]) -> Engine:
    return _run_source("build", ENGINE.build, log)


def _run_source(source: str, make: Callable[[Path], None], log: Callable[[str], None]) -> Engine:
    target = _entry(source)
    with cache.exclusive(target, log):
        if not target.exists():
            cache.publish(target, make)
    return Engine(target / "pulumi", ENGINE_VERSION, source, made=True)


def virtual_environment_programs() -> Path:
    """The directory of the running Python's programs, where the wrapper goes."""
    return Path(sys.executable).parent
