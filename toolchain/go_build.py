"""Builds programs from Go modules, where releases cannot be downloaded; `go.sum` pins every module."""

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.progress import Progress

_MODULES = Path(__file__).parent / "go"


@dataclass(frozen=True)
class GoBuild:
    """A build of programs from one Go module.

    Args:
        title: the expected duration, for the progress line, such as `half a minute`.
        module: the folder below `toolchain/go` that holds `go.mod` and `go.sum`.
        programs: the name of each program and its Go package.
        linker_flags: flags in addition to `-s -w`.
        tags: build tags.
        finish: adds other files to the directory after the programs.
        cgo: whether the modules contain C and need a C compiler.
    """

    title: str
    module: str
    programs: tuple[tuple[str, str], ...]
    linker_flags: str = ""
    tags: str = ""
    finish: Callable[["GoBuild", Path], None] | None = None
    cgo: bool = False

    @property
    def directory(self) -> Path:
        """The module's folder."""
        return _MODULES / self.module

    def inputs(self) -> list[bytes]:
        """The sources of the programs, for the cache's key."""
        files = sorted(file for file in self.directory.iterdir() if file.suffix in (".go", ".mod", ".sum"))
        return [*(file.read_bytes() for file in files), repr(self.programs).encode(), " ".join(self._flags()).encode()]

    def build(self, directory: Path) -> None:
        """Builds the programs into a directory.

        Raises:
            ToolchainError: there is no Go compiler, it is too old, a C compiler is missing, or the build failed.
        """
        self._require_go()
        for name, package in self.programs:
            with Progress(f"fetching the Go modules of {name}"):
                count = len(self._go("list", "-deps", *self._tag_flags(), package).splitlines())
            self._compile(directory / name, package, count)
        if self.finish is not None:
            self.finish(self, directory)

    def module_directory(self, module: str) -> Path:
        """The source directory of a Go module of this build."""
        self._go("mod", "download", module)
        return Path(self._go("list", "-m", "-f", "{{.Dir}}", module).strip())

    def _flags(self) -> list[str]:
        return ["-trimpath", *self._tag_flags(), "-ldflags", f"-s -w {self.linker_flags}".strip()]

    def _tag_flags(self) -> list[str]:
        return ["-tags", self.tags] if self.tags else []

    def _require_go(self) -> None:
        if shutil.which("go") is None:
            raise ToolchainError("there is no `go` on PATH; install Go and run this again")
        wanted = re.search(r"^go (\d+)\.(\d+)", (self.directory / "go.mod").read_text(), re.MULTILINE)
        found = re.search(r"go(\d+)\.(\d+)", self._go("env", "GOVERSION"))
        if wanted and found and tuple(map(int, found.groups())) < tuple(map(int, wanted.groups())):
            raise ToolchainError(f"Go {'.'.join(wanted.groups())} or newer is needed, {found.group()} is on PATH")
        if self.cgo and not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
            raise ToolchainError("there is no C compiler on PATH; install gcc or clang and run this again")

    def _go(self, *arguments: str) -> str:
        try:
            completed = subprocess.run(
                ["go", *arguments],
                cwd=self.directory,
                env=_environment(self.cgo),
                capture_output=True,
                text=True,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            last_line = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
            raise ToolchainError(f"`go {arguments[0]}` failed: {last_line[0]}") from None
        return completed.stdout

    def _compile(self, program: Path, package: str, package_count: int) -> None:
        command = ["go", "build", "-v", *self._flags(), "-o", str(program), package]
        last_lines: deque[str] = deque(maxlen=5)
        with Progress(f"compiling {program.name} from Go modules ({self.title})") as progress:
            process = subprocess.Popen(
                command, cwd=self.directory, env=_environment(self.cgo), stderr=subprocess.PIPE, text=True
            )
            counter = threading.Thread(target=_count, args=(process, package_count, progress, last_lines))
            counter.start()
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                raise
            finally:
                counter.join()
        if code != 0:
            raise ToolchainError(f"{program.name} does not build: " + " / ".join(last_lines))


def _environment(cgo: bool) -> dict[str, str]:
    return {
        **os.environ,
        "CGO_ENABLED": "1" if cgo else "0",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
    }


def _count(process: subprocess.Popen[str], total: int, progress: Progress, last_lines: deque[str]) -> None:
    assert process.stderr is not None  # noqa: S101 - opened with a pipe
    for number, line in enumerate(process.stderr, start=1):
        last_lines.append(line.strip())
        progress.update(f"{number} of at most {total} packages")
