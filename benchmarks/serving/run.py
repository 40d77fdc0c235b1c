#!/usr/bin/env python3
"""Measures this service beside its peers and the lower bound: two models, one load generator, services in turns.

    python -m benchmarks.serving.run                        # everything; some twenty minutes
    python -m benchmarks.serving.run --model numbers --only "this service" --only "bare ASGI"

One model is an XGBoost classifier of 100 trees on 30 features, the other a pipeline of three text and ten number
columns with gaps before XGBoost, which every service serves from the same file, and answers as the model itself does.
Each service runs with one worker; the load generator (bombardier, built from its Go module) is on the same machine.
This service runs as in production: API key, rate limit, validation, metrics, drift and a log line a request are on.
Peers get environments of their own in the user's cache.
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser
from benchmarks.serving.load import load_generator
from benchmarks.serving.mixed import mixed_peers, mlflow_packages, prepare_mixed
from benchmarks.serving.peers import Peer, peers, variables
from benchmarks.serving.prepare import prepare
from benchmarks.serving.report import write_report
from sandbox.processes import free_ports
from toolchain import cache

_ROWS = (1, 100)
_READY_SECONDS = 120
_TOLERANCE = 1e-6


def main() -> int:
    """Runs the benchmark and writes `benchmarks/results/serving.{json,md,svg}`."""
    options = _parser().parse_args()
    load = load_generator()
    wanted = options.only or [""]
    with tempfile.TemporaryDirectory(prefix="serving-benchmark-") as work:
        files = Path(work)
        with_mlflow = _chosen("MLflow", wanted)
        results, mixed = [], []
        if options.model in ("numbers", "both"):
            rows = prepare(files, _python("mlflow", ("mlflow", "xgboost-cpu")) if with_mlflow else None)
            everyone = peers(files, lambda name: str(Path(_environment(name)) / "bin" / name))
            chosen = [peer for peer in everyone if _chosen(peer.name, wanted)]
            results = _measure_in_turns(chosen, _environment_name, load, rows, files, options)
        if options.model in ("mixed", "both"):
            python = _python("mlflow-mixed", mlflow_packages()) if with_mlflow else None
            transactions, scores = prepare_mixed(files, python)
            everyone = mixed_peers(files, lambda peer, name: str(Path(_environment(peer)) / "bin" / name))
            chosen = [peer for peer in everyone if _chosen(peer.name, wanted)]
            environment_name = lambda peer: f"{_environment_name(peer)}-mixed"  # noqa: E731
            mixed = _measure_in_turns(chosen, environment_name, load, transactions, files, options, scores)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    write_report(results, mixed, machine, partial=bool(options.only) or options.model != "both")
    return 0


def _chosen(name: str, wanted: list[str]) -> bool:
    return any(name.startswith(each) for each in wanted)


def _environment(name: str) -> str:
    return str(cache.entry("serving-peers", name))


def _python(name: str, packages: tuple[str, ...]) -> str:
    """Returns a peer's own Python; installs its packages on first use."""
    environment = Path(_environment(name))
    stamp, wanted = environment / ".installed", hashlib.sha256(" ".join(packages).encode()).hexdigest()
    python = str(environment / "bin" / "python")
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
        stamp.write_text(wanted)
    return python


class RunningService:
    """A started service, and its measurements so far."""

    def __init__(self, peer: Peer, python: str | None, files: Path) -> None:
        self.peer, self.port, self._log = peer, free_port(), files / "log"
        command = list(peer.command)
        if python and command[0] == sys.executable:
            command[0] = python
        command = [part.replace("{port}", str(self.port)) for part in command]
        started = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=peer.directory,
                env=variables(peer, self.port),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_until_ready(peer, self.port, self._process, self._log)
        self.result: dict[str, Any] = {
            "name": peer.name,
            "ready_seconds": time.perf_counter() - started,
            "runs": [],
        }

    def load(self, load: Path, body: Path, arguments: list[str]) -> dict[str, Any]:
        """Sends requests for some seconds; records answers a second and latencies."""
        return _load(load, self.peer, self.port, body, arguments)

    def require_scores(self, rows: list[Any], scores: list[float]) -> None:
        """Ends the run when the service's answers are not the model's."""
        if self.peer.scores is None:
            return
        answer = _post(self.peer, self.port, self.peer.body(rows))
        largest = max(abs(got - own) for got, own in zip(self.peer.scores(answer), scores, strict=True))
        if largest > _TOLERANCE:
            raise SystemExit(f"error: {self.peer.name}: its answers differ from the model's by {largest}")

    def finish(self) -> None:
        """Records memory, and the share of the optimized form."""
        self.result["memory_bytes"] = measure_memory(self._process.pid)
        if self.peer.name == "this service":
            answered = _get(self.peer, self.port, "/model")["answered"]
            self.result["faster_share"] = answered["faster_form"] / max(1, sum(answered.values()))

    def stop(self) -> None:
        """Ends the service and its child processes."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


def _measure_in_turns(
    chosen: list[Peer],
    environment_name: Callable[[Peer], str],
    load: Path,
    rows: list[Any],
    files: Path,
    options: argparse.Namespace,
    scores: list[float] | None = None,
) -> list[dict[str, Any]]:
    """Measures the running services one after the other in each round, so other load affects all alike."""
    running: list[RunningService] = []
    body = files / "body.json"
    try:
        for peer in chosen:
            running.append(
                RunningService(peer, _python(environment_name(peer), peer.packages) if peer.packages else None, files)
            )
            if scores is not None:
                running[-1].require_scores(rows, scores)
        for count in _ROWS:
            _take_turns(running, load, rows[:count], body, options)
        for each in running:
            top = max(run["per_second"] for run in each.result["runs"] if run["rows"] == 1)
            body.write_text(json.dumps(each.peer.body(rows[:1])))
            half = ["-c", "16", "-d", f"{options.seconds}s", "-r", str(max(1, int(top / 2)))]
            each.result["half_rate"] = each.load(load, body, half)
            each.finish()
    finally:
        for each in running:
            each.stop()
    return [each.result for each in running]


def _take_turns(
    running: list[RunningService], load: Path, rows: list[Any], body: Path, options: argparse.Namespace
) -> None:
    turns = [(16, -1), *((16, number) for number in range(options.rounds)), (1, 0), (64, 0)]
    for connections, number in turns:
        for each in running if number % 2 == 0 else reversed(running):
            body.write_text(json.dumps(each.peer.body(rows)))
            found = each.load(load, body, ["-c", str(connections), "-d", f"{options.seconds}s"])
            if number >= 0:  # The first turn warms up.
                each.result["runs"].append({"rows": len(rows), "connections": connections, "round": number, **found})
    sys.stderr.write(f"{len(rows)} row(s) a request: measured\n")


def _post(peer: Peer, port: int, content: Any) -> Any:
    headers = {"Content-Type": "application/json", **peer.headers}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{peer.path}", json.dumps(content).encode(), headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def _get(peer: Peer, port: int, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=peer.headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def _environment_name(peer: Peer) -> str:
    return peer.name.split(",")[0].lower().replace(" ", "-")


def _load(load: Path, peer: Peer, port: int, body: Path, arguments: list[str]) -> dict[str, Any]:
    command = [str(load), "--method=POST", "--print=result", "--format=json", "--latencies", "--timeout=30s"]
    command += ["--header=Content-Type: application/json", f"--body-file={body}", *arguments]
    command += [f"--header={name}: {value}" for name, value in peer.headers.items()]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}{peer.path}"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["result"]
    answered = found["req2xx"]
    failed = sum(found[name] for name in ("req1xx", "req3xx", "req4xx", "req5xx", "others"))
    if failed or not answered:
        raise SystemExit(f"error: {peer.name}: {failed} of {answered + failed} requests failed: {found.get('errors')}")
    percentiles = found["latency"]["percentiles"]
    return {
        "per_second": answered / found["timeTakenSeconds"],
        "p50_ms": percentiles["50"] / 1000,
        "p99_ms": percentiles["99"] / 1000,
    }


def _wait_until_ready(peer: Peer, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{peer.ready}", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise SystemExit(f"error: {peer.name} does not become ready:\n{log.read_text()[-3000:]}")


def measure_memory(leader: int) -> int:
    """Proportional set size of a process and its children, bytes."""
    import psutil

    process = psutil.Process(leader)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))


def free_port() -> int:
    """Returns a free port."""
    return free_ports(1)[0]


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("benchmarks.serving.run", __doc__)
    parser.add_argument("--only", action="append", help="only those whose name begins so; may be repeated")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (3)")
    parser.add_argument("--rounds", type=int, default=8, help="in which all services take turns (8)")
    parser.add_argument("--model", choices=("numbers", "mixed", "both"), default="both", help="(both)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
