"""A constant rate of requests from a client of Go, with the moment, the status and the latency of every answer.

vegeta sends each request at its time, whether those before it are answered or not. It opens a connection where none is
free, up to a thousand, which is fewer than a service takes from one address.
"""

import csv
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

MOST_AT_ONCE = 1000
"""Requests that wait for their answers; those beyond are sent late."""
TIMEOUT_SECONDS = 30
_VEGETA = Tool(
    "vegeta",
    "12.13.0",
    GoBuild(title="half a minute", module="vegeta", programs=(("vegeta", "github.com/tsenart/vegeta/v12"),)),
)
_OK = 200


@dataclass(frozen=True)
class Answer:
    """One request, and what came of it."""

    sent_at: float
    """Unix time."""
    seconds: float
    """Until its answer, or until it failed."""
    status: int
    """Of HTTP; 0 without an answer."""
    error: str

    @property
    def ended_at(self) -> float:
        """Unix time of the answer or the failure."""
        return self.sent_at + self.seconds

    @property
    def failed(self) -> bool:
        """Whether the answer is not the one that was asked for."""
        return self.status != _OK


class Load:
    """Requests at a constant rate, in a process of its own.

    Args:
        directory: for its files.
        url: that is asked.
        api_key: of the client.
        bodies: of the requests, one after the other.
        rate: requests a second.
        seconds: for how long.
    """

    def __init__(
        self, directory: Path, url: str, api_key: str, bodies: Sequence[str], rate: int, seconds: float
    ) -> None:
        self._answers = directory / "answers.csv"
        directory.mkdir(parents=True, exist_ok=True)
        targets = []
        for number, body in enumerate(bodies):
            file = directory / f"body-{number}.json"
            file.write_text(body)
            headers = f"Content-Type: application/json\nX-API-Key: {api_key}"
            targets.append(f"POST {url}\n{headers}\n@{file}\n")
        (directory / "targets").write_text("\n".join(targets))
        (directory / "targets").chmod(0o600)
        command = [str(_program()), "attack", f"-targets={directory / 'targets'}", f"-output={directory / 'answers'}"]
        command += [f"-rate={rate}/1s", f"-duration={seconds:.0f}s", f"-timeout={TIMEOUT_SECONDS}s", "-http2=false"]
        command += ["-workers=20", f"-max-workers={MOST_AT_ONCE}", "-max-body=0"]
        # Another proxy is no part of the measurement.
        environment = {"PATH": os.environ["PATH"]}
        self._raw, self._rate, self._seconds = directory / "answers", rate, seconds
        self.started = time.time()
        self._process = subprocess.Popen(command, env=environment)

    def wait(self) -> list[Answer]:
        """Waits until the last request is answered; returns all of them by the time at which they were sent."""
        assert self._process.wait(timeout=self._seconds + 4 * TIMEOUT_SECONDS) == 0
        encode = [str(_program()), "encode", "-to=csv", f"-output={self._answers}", str(self._raw)]
        subprocess.run(encode, check=True)
        with self._answers.open(newline="") as file:
            found = [_answer(row) for row in csv.reader(file)]
        return sorted(found, key=lambda each: each.sent_at)

    def stop(self) -> None:
        """Ends the load."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _answer(row: Sequence[str]) -> Answer:
    return Answer(int(row[0]) / 1e9, int(row[2]) / 1e9, int(row[1]), row[5])


def _program() -> Path:
    return ensure([_VEGETA], print)["vegeta"] / "vegeta"


def bodies(features: int, number: int = 20) -> list[str]:
    """Transactions, each another one."""
    rows = ({f"f{name}": round(0.05 * each - 0.01 * name, 3) for name in range(features)} for each in range(number))
    return [json.dumps({"transaction": row}) for row in rows]
