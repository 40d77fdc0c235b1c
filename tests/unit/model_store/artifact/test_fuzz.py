"""The coverage-guided fuzzer finds no bytes that make the reader do anything but take or refuse them."""

import re
import subprocess
import sys

import pytest

from tests.checkout import SOURCE

RUNS = 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="atheris has packages for Linux only")
def test_a_hundred_thousand_mutated_artifacts_are_taken_or_refused_by_typed_errors() -> None:
    command = [sys.executable, "-m", "tests.fuzz.fuzz_artifact", f"-runs={RUNS}", "-max_total_time=120"]
    completed = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", completed.stderr)
    assert done
    assert int(done[1]) >= RUNS
