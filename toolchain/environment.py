"""Fills the virtual environment from the pinned requirements.

    .venv/bin/python -m toolchain.environment requirements.txt

Runs before any package is installed, so it uses the standard library only. uv installs from its cache in seconds; pip
does it where uv cannot be installed. Both check every file against its pinned hash. Bytecode takes longer than all the
rest: it is kept in the user's cache, and the next checkout links it.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_PACKAGES = ("components", "conventions", "infra", "model_store", "serving", "stacks")


def main() -> int:
    """Installs the requirements and the checkout itself; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.environment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("requirements", type=Path, help="file of pinned packages with their hashes")
    requirements = parser.parse_args().requirements
    if _uv_installed() or _install_uv(requirements):
        _log(f"installing {requirements}")
        sync = ("uv", "pip", "sync", "--quiet", "--require-hashes", "--python", sys.executable, str(requirements))
        if _run(*sync) == 0:
            _compile_bytecode(sync, requirements)
            return _install_checkout("uv", "pip", "install", "--quiet", "--python", sys.executable)
        _log("uv could not install them; trying pip")
    if _run("pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)) != 0:
        sys.stderr.write(f"error: {requirements} cannot be installed; the messages above say why\n")
        return 1
    return _install_checkout("pip", "install", "--quiet")


def link_bytecode(source: Path, target: Path) -> None:
    """Links the bytecode of one tree of packages into another one that has the packages and lacks the bytecode.

    Python and the compiler compare each file with the time and size of its source, and replace what is of another one.

    Args:
        source: a directory with `__pycache__` directories in it; it may not exist.
        target: the directory of the packages.
    """
    for file in source.rglob("*.pyc"):
        here = target / file.relative_to(source)
        if here.parent.parent.is_dir():
            with suppress(OSError):  # there already, or on another file system: then it is compiled
                here.parent.mkdir(exist_ok=True)
                os.link(file, here)


def _compile_bytecode(sync: tuple[str, ...], requirements: Path) -> None:
    """A confined child cannot write bytecode: without it each one compiles the model libraries, for two seconds."""
    importlib.invalidate_caches()
    from toolchain import cache  # its own imports have been installed just now

    kept = cache.entry("bytecode", cache.digest(requirements.read_bytes(), sys.version.encode()))
    packages = Path(sysconfig.get_path("purelib"))
    link_bytecode(kept, packages)
    _run(*sync, "--compile-bytecode")
    if kept.exists():
        return

    def fill(directory: Path) -> None:
        for compiled in packages.rglob("__pycache__"):
            (directory / compiled.relative_to(packages)).mkdir(parents=True, exist_ok=True)
        link_bytecode(packages, directory)

    with suppress(OSError), cache.exclusive(kept, _log):
        if not kept.exists():
            cache.publish(kept, fill)


def _install_uv(requirements: Path) -> bool:
    """Installs the pinned uv; returns whether it can be imported."""
    _log("installing the installer (uv)")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(_read_pin("uv", requirements.read_text(encoding="utf-8")))
        pinned.flush()
        _run("pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", pinned.name)
    importlib.invalidate_caches()
    return _uv_installed()


def _read_pin(name: str, requirements: str) -> str:
    """Returns the lines that pin one package, with its hashes."""
    found = re.search(rf"^{re.escape(name)}==.*(\n    --hash=.*)*", requirements, re.MULTILINE)
    if found is None:
        raise SystemExit(f"error: the requirements do not pin {name}")
    return found.group() + "\n"


def _uv_installed() -> bool:
    return importlib.util.find_spec("uv") is not None


def _install_checkout(*command: str) -> int:
    """Makes the checkout's packages importable from anywhere in the environment."""
    _run("compileall", "-q", *(str(_CHECKOUT / name) for name in _PACKAGES))
    return _run(*command, "--no-deps", "--no-build-isolation", "--editable", str(_CHECKOUT))


def _run(module: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
