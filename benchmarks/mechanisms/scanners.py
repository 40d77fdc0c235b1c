"""The scanners that are compared. Each has a virtual environment of its own and reads one file in one process."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain import cache

TIMEOUT_SECONDS = 20
MEMORY_BYTES = 2 << 30
_DANGEROUS = "Dangerous globals: "
_IS_LIKELY_SAFE = "import sys, fickling; print('verdict', fickling.is_likely_safe(sys.argv[1]))"


@dataclass(frozen=True)
class Scanner:
    """One way to run one scanner."""

    name: str
    """Column of the table."""
    shown: str
    """What a reader types or calls for the same verdict."""
    packages: tuple[str, ...]
    """Pinned requirements; the scanner is the first of them."""
    arguments: tuple[str, ...]
    """Follow the environment's Python; the file's path comes last."""
    verdict: Callable[[int, str], str]
    """`refused`, `passed` or `error`, from the exit code and the standard output."""


def _verdict_of_fickling(exit_code: int, output: str) -> str:
    """Reads what `is_likely_safe` returned; an exception leaves no such line."""
    lines = output.splitlines()
    if exit_code == 0 and lines and lines[-1] in ("verdict True", "verdict False"):
        return "passed" if lines[-1] == "verdict True" else "refused"
    return "error"


def _verdict_of_picklescan(exit_code: int, output: str) -> str:
    """Reads the count of dangerous globals first: a file with one may also end in a scan error."""
    counts = [line.removeprefix(_DANGEROUS) for line in output.splitlines() if line.startswith(_DANGEROUS)]
    if counts and counts[-1] != "0":
        return "refused"
    return "passed" if exit_code == 0 and counts else "error"


# fickling 0.1.12 imports typing_extensions under Python 3.11 and does not declare it.
_FICKLING = ("fickling==0.1.12", "typing-extensions==4.15.0")
_PICKLESCAN = ("picklescan==1.0.5",)
SCANNERS = (
    Scanner("fickling", "fickling.is_likely_safe(FILE)", _FICKLING, ("-c", _IS_LIKELY_SAFE), _verdict_of_fickling),
    Scanner("picklescan", "picklescan -p FILE", _PICKLESCAN, ("-m", "picklescan.cli", "-p"), _verdict_of_picklescan),
    Scanner(
        "picklescan strict",
        "picklescan --strict -p FILE",
        _PICKLESCAN,
        ("-m", "picklescan.cli", "--strict", "-p"),
        _verdict_of_picklescan,
    ),
)
"""The scanners; each analyses a file and does not load it."""


def scanner_python(scanner: Scanner) -> Path:
    """The Python of the scanner's environment, which is made once in the user's cache."""
    key = cache.digest(*(package.encode() for package in scanner.packages), sys.version.encode())
    target = cache.entry("mechanisms-scanners", key)
    python, stamp = target / "bin" / "python", target / ".installed"
    with cache.exclusive(target, print):
        if not stamp.exists():
            uv = str(Path(sys.executable).with_name("uv"))
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(target)], check=True)
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
            subprocess.run([*install, *scanner.packages], check=True)
            stamp.touch()
    return python


def verdict_on(file: Path, scanner: Scanner, python: Path) -> str:
    """What a scanner says about a file: `refused`, `passed`, `error` or `hangs`."""
    try:
        done = subprocess.run(
            [str(python), *scanner.arguments, str(file)],
            cwd=file.parent,
            env={"PATH": os.defpath, "HOME": str(file.parent)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
            preexec_fn=_limit_memory,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    return scanner.verdict(done.returncode, done.stdout)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
