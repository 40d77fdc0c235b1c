"""Each module that a document, the Makefile or a docstring runs with `python -m` has help with an example."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
_OURS = ("benchmarks", "infra", "model_store", "sandbox", "scripts", "serving", "stacks", "tests", "toolchain")
_RUN = re.compile(rf"python3? -m ((?:{'|'.join(_OURS)})[a-z0-9_.]*)")
_WITHOUT_HELP = {
    "model_store.confinement.child",  # started by its parent with a job on standard input
    "serving.front",  # the former name of serving.traffic_splitter
    "serving.healthcheck",  # no arguments; an image's health check
    "serving.supervisor",  # started by the component with a request on standard input
    "toolchain.language_host",  # started by the engine
    "toolchain.vale",  # hands its arguments to vale
}


def _modules() -> Iterator[str]:
    files = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "Makefile"]
    files += [*CHECKOUT.glob("docs/**/*.md"), *(path for name in _OURS for path in CHECKOUT.glob(f"{name}/**/*.py"))]
    for path in files:
        yield from (each.rstrip(".") for each in _RUN.findall(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", sorted(set(_modules()) - _WITHOUT_HELP))
def test_a_module_has_help_with_an_example(module: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    usage, _, rest = shown.stdout.partition("\n\n")
    assert usage.startswith("usage: ")
    assert f"python -m {module}" in rest
