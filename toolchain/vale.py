"""Runs the prose linter vale and installs it on first use: `python -m toolchain.vale PATH …`."""

import platform
import subprocess
import sys
from pathlib import Path

from toolchain import VALE_VERSION
from toolchain.download import download_archive
from toolchain.errors import ToolchainError
from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

_SITE = "https://github.com/vale-cli/vale/releases/download"


def _download(directory: Path) -> None:
    system = "macOS" if sys.platform == "darwin" else "Linux"
    machine = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "64-bit"
    name = f"vale_{VALE_VERSION}_{system}_{machine}.tar.gz"
    download_archive(f"{_SITE}/v{VALE_VERSION}", name, f"vale_{VALE_VERSION}_checksums.txt", directory)


VALE = Tool(
    "vale",
    VALE_VERSION,
    GoBuild(
        title="a minute on two cores",
        module="vale",
        programs=(("vale", "github.com/vale-cli/vale/v3/cmd/vale"),),
        linker_flags=f"-X main.version={VALE_VERSION}",
        cgo=True,  # tree-sitter's grammars, which find comments and messages in Python, are C
    ),
    download=_download,
)


def main(arguments: list[str]) -> int:
    """Installs vale and runs it.

    Returns:
        vale's exit code: 0 no finding, 1 findings, 2 wrong settings. Where vale cannot be installed: 0, and one line
        that says so.
    """
    try:
        directory = ensure([VALE], lambda line: print(line, file=sys.stderr))["vale"]  # noqa: T201
    except ToolchainError as error:
        print(f"prose is not checked, vale cannot be installed: {error}", file=sys.stderr)  # noqa: T201
        return 0
    return subprocess.run([str(directory / "vale"), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
