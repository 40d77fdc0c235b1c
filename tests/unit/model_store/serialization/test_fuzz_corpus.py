"""Every input that the fuzzers keep, read once more: what broke a promise once does not do so again."""

import subprocess
import sys

import pytest

from tests.checkout import SOURCE

FUZZ = SOURCE / "tests" / "fuzz"
TARGETS = sorted(path.name for path in (FUZZ / "corpus").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="answers of a child are files in memory, which Linux has")
@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_is_read_or_refused_by_typed_errors(target: str) -> None:
    # A process for each: some of these inputs have ended the process that read them.
    command = [sys.executable, "-m", "tests.fuzz.replay", target]
    completed = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False, timeout=250)
    assert completed.returncode == 0, (completed.stdout[-300:], completed.stderr[-3000:])
    kept = sum(1 for kind in ("corpus", "regressions") for _ in (FUZZ / kind / target).glob("*"))
    assert completed.stdout.splitlines()[-1] == f"{kept} inputs"


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in (FUZZ / "corpus").glob("*/*")) < 1 << 20
