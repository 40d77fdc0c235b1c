"""The traffic splitter as a command."""

import os
import subprocess
import sys


def test_a_missing_variable_is_one_line_that_names_it() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRONT_")}
    started = subprocess.run(
        [sys.executable, "-m", "serving.traffic_splitter"], env=environment, capture_output=True, text=True
    )
    assert started.returncode == 2
    assert "FRONT_DIRECTORY is not set" in started.stderr
    assert "Traceback" not in started.stderr
