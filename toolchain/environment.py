"""Fills the virtual environment from the pinned requirements.

    .venv/bin/python -m toolchain.environment requirements.txt

Runs before any package is installed, so it uses the standard library only. uv installs from its cache in seconds; pip
does it where uv cannot be installed. Both check every file against its pinned hash.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
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
        # A confined child cannot write bytecode: without it each one compiles the model libraries, for two seconds.
        ways = ("--quiet", "--require-hashes", "--compile-bytecode")
        if _run("uv", "pip", "sync", *ways, "--python", sys.executable, str(requirements)) == 0:
            return _install_checkout("uv", "pip", "install", "--quiet", "--python", sys.executable)
        _log("uv could not install them; trying pip")
    if _run("pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)) != 0:
        sys.stderr.write(f"error: {requirements} cannot be installed; the messages above say why\n")
        return 1
    return _install_checkout("pip", "install", "--quiet")


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
