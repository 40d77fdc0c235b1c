#!/usr/bin/env python3
"""Sends slow requests with slowhttptest to this service and to MLServer, and measures what good callers notice.

    apt-get install slowhttptest
    python -m benchmarks.serving.slow                  # each mode for 20 s; some four minutes
    python -m benchmarks.serving.slow --connections 2000 --only "this service"

Modes: headers that never end, bodies that never end, answers that are read a few bytes at a time, and a thousand ranges
in one header. Good callers send 20 requests a second meanwhile, every second one on a new connection, and give up after
five seconds. Both services have their defaults. The result is `benchmarks/results/slow.md`.
"""

import argparse
import http.client
import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, write_result
from benchmarks.serving.peers import Peer, peers
from benchmarks.serving.prepare import prepare
from benchmarks.serving.run import RunningService, _environment, _environment_name, _python

_MODES = {
    "slow headers": ("-H", "-i", "5"),
    "slow bodies": ("-B", "-i", "5", "-s", "8192"),
    "slow reading": ("-X", "-w", "10", "-y", "20", "-n", "5", "-z", "8", "-k", "3"),
    "many ranges": ("-R", "-a", "1", "-b", "1000"),
}
_A_SECOND = 20
_GIVES_UP_SECONDS = 5.0


@dataclass
class Callers:
    """Good callers, and what they notice."""

    peer: Peer
    port: int
    body: bytes
    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    def call(self, seconds: float) -> None:
        """Sends requests for some seconds."""
        kept: http.client.HTTPConnection | None = None
        begun = time.monotonic()
        for number in range(int(seconds * _A_SECOND)):
            time.sleep(max(0.0, begun + number / _A_SECOND - time.monotonic()))
            fresh = number % 2 == 0
            connection = None if fresh else kept
            started = time.perf_counter()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=_GIVES_UP_SECONDS)
                headers = {"Content-Type": "application/json", **self.peer.headers}
                connection.request("POST", self.peer.path, self.body, headers)
                answer = connection.getresponse()
                answer.read()
                self.failed += answer.status != 200
                kept = kept if fresh else connection
                if fresh:
                    connection.close()
            except (OSError, http.client.HTTPException):
                self.failed += 1
                kept = kept if fresh else None
            self.milliseconds.append((time.perf_counter() - started) * 1000)

    def p99(self) -> float:
        """Milliseconds that 99 percent of the calls took at most."""
        ordered = sorted(self.milliseconds)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]


def main() -> int:
    """Writes the table; returns 1 unless this service holds."""
    options = _parser().parse_args()
    program = shutil.which("slowhttptest")
    if program is None:
        sys.stderr.write("error: slowhttptest is not installed: apt-get install slowhttptest\n")
        return 1
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="serving-slow-") as work:
        files = Path(work)
        asked = prepare(files, None)[:1]
        everyone = peers(files, lambda name: str(Path(_environment(name)) / "bin" / name))
        for peer in everyone:
            if peer.name in (options.only or ["this service", "MLServer"]):
                rows += _measure(program, peer, asked, files, options)
    table = ["| service | | failed | p99 | of the quiet one |", "|---|---|---|---|---|"]
    for row in rows:
        what = f"{row['failed']} of {row['calls']} | {row['p99']:.1f} ms | {row['ratio']:.1f}"
        table.append(f"| {row['service']} | {row['mode']} | {what} |")
    text = "\n".join(table) + "\n"
    sys.stdout.write(text)
    write_result(
        "slow.md", f"# Slow requests\n\n`slowhttptest -c {options.connections}`, {options.seconds:g} s a mode\n\n{text}"
    )
    ours = [row for row in rows if row["service"] == "this service"]
    return 0 if all(not row["failed"] and row["ratio"] <= 3 for row in ours) else 1


def _measure(
    program: str, peer: Peer, asked: list[Any], files: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    python = _python(_environment_name(peer), peer.packages) if peer.packages else None
    service = RunningService(peer, python, files)
    body = json.dumps(peer.body(asked)).encode()
    rows: list[dict[str, Any]] = []
    try:
        Callers(peer, service.port, body).call(3)
        for mode, arguments in {"quiet": (), **_MODES}.items():
            callers = Callers(peer, service.port, body)
            thread = threading.Thread(target=callers.call, args=(options.seconds,))
            slow = None
            if mode != "quiet":
                url = f"http://127.0.0.1:{service.port}{peer.path}"
                rate = ("-c", str(options.connections), "-r", str(options.connections // 2), "-l", str(options.seconds))
                slow = subprocess.Popen(
                    [program, *arguments, *rate, "-u", url, "-p", "3"], stdout=subprocess.DEVNULL, cwd=files
                )
                time.sleep(2)
            thread.start()
            thread.join()
            if slow is not None:
                slow.terminate()
                slow.wait()
            quiet = rows[0]["p99"] if rows else callers.p99()
            found = {"failed": callers.failed, "calls": len(callers.milliseconds), "p99": callers.p99()}
            rows.append({"service": peer.name, "mode": mode, **found, "ratio": callers.p99() / quiet})
            sys.stderr.write(f"{peer.name}, {mode}: measured\n")
    finally:
        service.stop()
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.serving.slow", __doc__)
    parser.add_argument("--connections", type=int, default=1000, help="that are slow (1000)")
    parser.add_argument("--seconds", type=int, default=20, help="of each mode (20)")
    parser.add_argument("--only", action="append", help='"this service" or MLServer')
    return parser


if __name__ == "__main__":
    sys.exit(main())
