"""The engine built from Go modules, where releases cannot be downloaded."""

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from pathlib import Path

from toolchain import ENGINE_VERSION
from toolchain.errors import ToolchainError
from toolchain.progress import Progress

MODULES = Path(__file__).parent / "go" / "pulumi"
LAUNCHERS = Path(__file__).parent / "launchers"
_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSION_SYMBOL = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_TAGS = "osusergo grpcnotrace"
_FLAGS = ("-trimpath", "-tags", _TAGS, "-ldflags", f"-s -w -X {_VERSION_SYMBOL}=v{ENGINE_VERSION}")


def build_inputs() -> list[bytes]:
    """Everything that the built engine is made from, for the cache's key."""
    files = [MODULES / "go.mod", MODULES / "go.sum", *sorted(LAUNCHERS.iterdir())]
    return [*(file.read_bytes() for file in files), " ".join(_FLAGS).encode()]


def build_engine(directory: Path) -> None:
    """Builds `pulumi` into the directory and puts the two launchers for Python beside it.

    The language host and the dynamic-provider plugin of the official release are not served as Go modules; the
    launchers start this project's own language host and the SDK's dynamic provider instead.

    Raises:
        ToolchainError: there is no Go compiler, it is too old, or the build failed.
    """
    _require_go()
    with Progress("fetching the engine's Go modules"):
        packages = _run_go("list", "-deps", "-f", "{{.ImportPath}}", "-tags", _TAGS, _PACKAGE).splitlines()
    _compile(directory / "pulumi", len(packages))
    for launcher in sorted(LAUNCHERS.iterdir()):
        shutil.copyfile(launcher, directory / launcher.name)
        (directory / launcher.name).chmod(0o755)


def _require_go() -> None:
    if shutil.which("go") is None:
        raise ToolchainError("there is no `go` on PATH; install Go and run this again")
    wanted = re.search(r"^go (\d+)\.(\d+)", (MODULES / "go.mod").read_text(), re.MULTILINE)
    found = re.search(r"go(\d+)\.(\d+)", _run_go("env", "GOVERSION"))
    if wanted and found and tuple(map(int, found.groups())) < tuple(map(int, wanted.groups())):
        raise ToolchainError(f"Go {'.'.join(wanted.groups())} or newer is needed, {found.group()} is on PATH")


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly -buildvcs=false"}


def _run_go(*arguments: str) -> str:
    try:
        completed = subprocess.run(
            ["go", *arguments], cwd=MODULES, env=_environment(), capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise ToolchainError(f"`go {arguments[0]}` failed: {last_line[0]}") from None
    return completed.stdout


def _compile(program: Path, package_count: int) -> None:
    command = ["go", "build", "-v", *_FLAGS, "-o", str(program), _PACKAGE]
    last_lines: deque[str] = deque(maxlen=5)
    with Progress("compiling the engine from Go modules (about four minutes on two cores)") as progress:
        process = subprocess.Popen(command, cwd=MODULES, env=_environment(), stderr=subprocess.PIPE, text=True)
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
        raise ToolchainError("the engine does not build: " + " / ".join(last_lines))


def _count(process: subprocess.Popen[str], total: int, progress: Progress, last_lines: deque[str]) -> None:
    assert process.stderr is not None  # noqa: S101 - opened with a pipe
    for number, line in enumerate(process.stderr, start=1):
        last_lines.append(line.strip())
        progress.update(f"{number} of at most {total} packages")
