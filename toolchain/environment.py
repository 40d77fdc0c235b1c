"""Fills the virtual environment from the pinned requirements.

    .venv/bin/python -m toolchain.environment requirements.txt

Runs before any package is installed, so it uses the standard library only. uv installs from its cache in seconds; pip
does it where uv cannot be installed. Both check every file against its pinned hash. uv itself and the bytecode take
longer than all the rest: they are kept in the user's cache, and the next checkout takes them from there.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_PACKAGES = ("components", "conventions", "infra", "model_store", "serving", "stacks")
_BYTECODE_DIRECTORY = "__pycache__"
_UNPACKED = ("pip", "uv")
"""Packages whose files have times of their own in each environment: Python's own means may have unpacked them."""


def main() -> int:
    """Installs the requirements and the checkout itself; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.environment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("requirements", type=Path, help="file of pinned packages with their hashes")
    requirements = parser.parse_args().requirements
    kept = _kept_uv(requirements)
    installer = _installer(requirements, kept)
    python = ("--quiet", "--python", sys.executable)
    if installer:
        _log(f"installing {requirements}")
        sync = (*installer, "pip", "sync", "--require-hashes", *python, str(requirements))
        if _call(*sync) == 0:
            _compile_bytecode(sync, requirements)
            _keep_uv(kept)
            _seed_pip(installer)
            return _install_checkout(*installer, "pip", "install", *python)
        _log("uv could not install them; trying pip")
    if not _pip_installed() or _run("pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)) != 0:
        sys.stderr.write(f"error: {requirements} cannot be installed; the messages above say why\n")
        return 1
    return _install_checkout(sys.executable, "-m", "pip", "install", "--quiet")


def _installer(requirements: Path, kept: Path) -> tuple[str, ...]:
    """The command that starts uv: the kept one, or one that pip installs now; empty where neither works."""
    if os.access(kept, os.X_OK) and _call(str(kept), "self", "version", "--quiet") == 0:
        return (str(kept),)
    if _uv_installed() or (_pip_installed() and _install_uv(requirements)):
        return (sys.executable, "-m", "uv")
    return ()


def _kept_uv(requirements: Path) -> Path:
    """The pinned uv in the user's cache; it may not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = os.environ.get("FRAUD_DETECTION_CACHE") or str(Path(home) / "fraud-detection")
    pin = _read_pin("uv", requirements.read_text(encoding="utf-8")) + sysconfig.get_platform()
    return Path(root) / "uv" / hashlib.sha256(pin.encode()).hexdigest()[:16] / "uv"


def _keep_uv(kept: Path) -> None:
    """Copies the environment's uv, which the requirements pin, into the user's cache."""
    program = Path(sysconfig.get_path("scripts")) / "uv"
    if kept.exists() or not program.exists():
        return
    with suppress(OSError):  # a cache that cannot be written
        kept.parent.mkdir(parents=True, exist_ok=True)
        staging = kept.with_name(f".uv.{os.getpid()}")
        shutil.copy2(program, staging)
        staging.replace(kept)


def _seed_pip(installer: tuple[str, ...]) -> None:
    """Installs the pip that Python brings along, for a person who installs more into the environment."""
    if importlib.util.find_spec("pip") is not None:
        return
    for directory in _bundled_wheels():
        options = ("--quiet", "--no-index", "--find-links", str(directory), "--python", sys.executable)
        if _call(*installer, "pip", "install", *options, "pip") == 0:
            return
    _pip_installed()


def _bundled_wheels() -> Iterator[Path]:
    """The directories with the wheel of pip that come with this Python, as far as there are any."""
    with suppress(ImportError):
        import ensurepip

        places = (getattr(ensurepip, "_WHEEL_PKG_DIR", None), Path(ensurepip.__file__).with_name("_bundled"))
        yield from (Path(place) for place in places if place and any(Path(place).glob("pip-*.whl")))


def _pip_installed() -> bool:
    """Makes pip importable by Python's own means, which takes seconds; returns whether it is."""
    if importlib.util.find_spec("pip") is None:
        _run("ensurepip", "--default-pip")
        importlib.invalidate_caches()
    return importlib.util.find_spec("pip") is not None


def link_bytecode(source: Path, target: Path) -> bool:
    """Links the bytecode of one tree of packages into another one that has the packages and lacks the bytecode.

    Python and the compiler compare each file with the time and size of its source, and replace what is of another one.

    Args:
        source: a directory with `__pycache__` directories in it; it may not exist.
        target: the directory of the packages.

    Returns:
        Whether every package has the bytecode of its source now; False without a tree to link from.
    """
    complete = source.is_dir()
    for place in source.rglob(_BYTECODE_DIRECTORY):
        here = target / place.relative_to(source)
        if not here.parent.is_dir():
            continue
        here.mkdir(exist_ok=True)
        for kept in os.scandir(place):
            linked = f"{here}/{kept.name}"
            with suppress(OSError):  # there already, or on another file system: then it is compiled
                os.link(kept.path, linked)
            complete = complete and _is_of_its_source(linked)
    return complete


def _is_of_its_source(bytecode: str) -> bool:
    """Whether Python takes a file of bytecode for its source's: by magic number, and the source's time and size."""
    try:
        source = Path(importlib.util.source_from_cache(bytecode)).stat()
        with Path(bytecode).open("rb") as file:
            head = file.read(16)
    except (OSError, ValueError):
        return False
    told = (0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)
    return head == importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in told)


def _compile_bytecode(sync: tuple[str, ...], requirements: Path) -> None:
    """A confined child cannot write bytecode: without it each one compiles the model libraries, for two seconds."""
    importlib.invalidate_caches()
    from toolchain import cache  # its own imports have been installed just now

    kept = cache.entry("bytecode", cache.digest(requirements.read_bytes(), sys.version.encode(), b"without pip and uv"))
    packages = Path(sysconfig.get_path("purelib"))
    if link_bytecode(kept, packages):
        return
    _call(*sync, "--compile-bytecode")
    if kept.exists():
        return

    def fill(directory: Path) -> None:
        for compiled in packages.rglob(_BYTECODE_DIRECTORY):
            place = compiled.relative_to(packages)
            if place.parts[0] not in _UNPACKED:
                (directory / place).mkdir(parents=True, exist_ok=True)
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
    return _call(*command, "--no-deps", "--no-build-isolation", "--editable", str(_CHECKOUT))


def _call(*command: str) -> int:
    return subprocess.run(command, check=False).returncode


def _run(module: str, *arguments: str) -> int:
    return _call(sys.executable, "-m", module, *arguments)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
