"""Environments with MLflow itself, each made once in the user's cache: MLflow's packages are not this project's.

python = python_with_mlflow("3")
python("make", directory)
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from toolchain import cache

_RELEASES = {"2": "mlflow==2.22.5", "3": "mlflow==3.17.2"}
_SHARED = ("scikit-learn", "xgboost-cpu", "lightgbm", "numpy")
"""A pickle is read by the versions that wrote it."""
_PEER = Path(__file__).with_name("mlflow_peer.py")
_SECONDS = 240


def python_with_mlflow(release: str) -> Callable[..., None]:
    """Runs `mlflow_peer.py` under MLflow 2 or 3; the test is skipped, visibly, where MLflow cannot be installed."""
    packages = [_RELEASES[release], *(f"{name}=={version(name)}" for name in _SHARED)]
    target = cache.entry("mlflow", cache.digest(" ".join(packages).encode(), sys.version.encode()))

    def log(line: str) -> None:
        sys.stderr.write(f"{_RELEASES[release]}: {line}\n")

    with cache.exclusive(target, log):
        if not target.exists():
            log("installing into the user's cache")
            try:
                cache.publish(target, lambda staging: _install(staging, packages))
            except subprocess.CalledProcessError as error:
                reason = (error.stderr or "").strip().splitlines()[:1]
                pytest.skip(f"NOT TESTED with {_RELEASES[release]}: it cannot be installed here ({' '.join(reason)})")
    return lambda *arguments: _run(target, release, *arguments)


def _install(environment: Path, packages: list[str]) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(environment / "bin" / "python")
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *packages],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)


def _run(environment: Path, release: str, *arguments: object) -> None:
    # No file of the checkout, no setting of the user's, and no network.
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    variables |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": "1",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "RELEASE": release,
    }
    command = [str(environment / "bin" / "python"), "-I", str(_PEER), *map(str, arguments)]
    done = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
