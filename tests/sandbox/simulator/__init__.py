"""The policy simulator: an npm package that knows resources and conditions, installed once into the user's cache."""

import json
import subprocess
from pathlib import Path
from typing import Any

from toolchain import cache

_PACKAGE, _VERSION = "@cloud-copilot/iam-simulate", "0.1.173"
_SCRIPT = Path(__file__).parent / "simulate.mjs"


def installed() -> Path:
    """The directory with the simulator's package."""
    target = cache.entry("iam-simulate", cache.digest(_VERSION.encode()))
    with cache.exclusive(target, print):
        if not target.exists():
            cache.publish(target, _install)
    return target


def simulate(package: Path, simulations: list[dict[str, Any]]) -> list[str]:
    """`Allowed`, `ExplicitlyDenied` or `ImplicitlyDenied` for each simulation."""
    answer = subprocess.run(
        ["node", str(_SCRIPT), str(package)],
        input=json.dumps(simulations),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    results: list[str] = json.loads(answer.stdout)
    assert not [result for result in results if result.startswith("error")], results
    return results


def _install(directory: Path) -> None:
    (directory / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", f"{_PACKAGE}@{_VERSION}"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
