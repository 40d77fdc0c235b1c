"""Scanners written in Python, each in an environment of its own: they pin what this project needs otherwise."""

import subprocess
import sys
from pathlib import Path

from toolchain import cache


def environment_of(kind: str, requirements: Path) -> Path:
    """The directory of an environment's programs, made where there is none yet."""
    target = cache.entry(kind, cache.digest(requirements.read_bytes(), sys.version.encode()))
    with cache.exclusive(target, print):
        if not target.exists():
            # Scripts of an environment name its place: it is made where it stays.
            _make(target, requirements)
    return target / "bin"


def _make(target: Path, requirements: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(target)], check=True, timeout=60)
    install = [uv, "pip", "install", "--quiet", "--python", str(target / "bin" / "python"), "--require-hashes"]
    try:
        subprocess.run([*install, "-r", str(requirements)], check=True, timeout=600)
    except BaseException:
        subprocess.run(["rm", "-rf", str(target)], check=False)
        raise
