"""The log that a supervisor keeps for its processes does not grow without end."""

import subprocess
import sys
import time
from pathlib import Path

from serving.process.supervisor import rotate_when_full


def test_a_full_log_is_rotated_while_a_process_goes_on_appending(tmp_path: Path) -> None:
    log = tmp_path / "endpoint.log"
    program = "import sys\nfor line in iter(sys.stdin.readline, ''): print(line.strip(), flush=True)"
    with (
        log.open("ab") as file,
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=file, text=True) as writer,
    ):
        assert writer.stdin is not None
        for number in range(8):
            writer.stdin.write(f"{'x' * 100} {number}\n")
            writer.stdin.flush()
            while not log.read_text().endswith(f" {number}\n"):
                time.sleep(0.01)
            assert rotate_when_full(log, most=1000) is False
            assert rotate_when_full(log, most=100) is True
        writer.stdin.close()
    assert log.read_text() == ""
    kept = [tmp_path / f"endpoint.log.{number}" for number in range(1, 6)]
    assert [path.read_text().split()[-1] for path in kept] == ["7", "6", "5", "4", "3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["endpoint.log", *(path.name for path in kept)]
