#!/usr/bin/env python3
"""Measures this service beside its peers and the floor: one model, one load generator, one run.

    python -m benchmarks.serving.run                        # everything; some twelve minutes
    python -m benchmarks.serving.run --only "this service" --only "bare ASGI" --seconds 3

The model is an XGBoost classifier of 100 trees on 30 features. Each service runs with one worker; the load generator
(bombardier, built from its Go module) is on the same machine. This service runs as in production: API key, rate limit,
validation, metrics, drift and a log line a request are on. Peers get environments of their own in the user's cache.
"""

import argparse
import hashlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.serving.load import load_generator
from benchmarks.serving.peers import Peer, peers, variables
from benchmarks.serving.prepare import prepare
from benchmarks.serving.report import write_report
from toolchain import cache

_CONNECTIONS = (1, 16, 64)
_ROWS = (1, 100)
_READY_SECONDS = 120


def main() -> int:
    """Runs it and writes `benchmarks/results/serving.{json,md,svg}`."""
    options = _parser().parse_args()
    load = load_generator()
    with tempfile.TemporaryDirectory(prefix="serving-benchmark-") as work:
        files = Path(work)
        wanted = options.only or [""]
        mlflow = _python("mlflow", ("mlflow", "xgboost-cpu")) if _chosen("MLflow", wanted) else None
        rows = prepare(files, mlflow)
        everyone = peers(files, lambda name: str(Path(_environment(name)) / "bin" / name))
        results = []
        for peer in everyone:
            if _chosen(peer.name, wanted):
                results.append(_measure(peer, load, rows, files, options))
                sys.stderr.write(json.dumps(results[-1]) + "\n")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    write_report(results, machine, partial=bool(options.only))
    return 0


def _chosen(name: str, wanted: list[str]) -> bool:
    return any(name.startswith(each) for each in wanted)


def _environment(name: str) -> str:
    return str(cache.entry("serving-peers", name))


def _python(name: str, packages: tuple[str, ...]) -> str:
    """A peer's own Python, with its packages installed once."""
    place = Path(_environment(name))
    stamp, wanted = place / ".installed", hashlib.sha256(" ".join(packages).encode()).hexdigest()
    python = str(place / "bin" / "python")
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
        stamp.write_text(wanted)
    return python


def _measure(
    peer: Peer, load: Path, rows: list[list[float]], files: Path, options: argparse.Namespace
) -> dict[str, Any]:
    if peer.packages:
        python = _python(_place(peer), peer.packages)
    command = list(peer.command)
    if peer.packages and command[0] == sys.executable:
        command[0] = python
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in command]
    with (files / "log").open("ab") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=peer.directory, env=variables(peer, port), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_ready(peer, port, process, files / "log")
            result: dict[str, Any] = {"name": peer.name, "ready_seconds": time.perf_counter() - started, "runs": []}
            for count in _ROWS:
                body = files / "body.json"
                body.write_text(json.dumps(peer.body(rows[:count])))
                _load(load, peer, port, body, ["-c", "16", "-d", "2s"])
                for connections in _CONNECTIONS:
                    arguments = ["-c", str(connections), "-d", f"{options.seconds}s"]
                    run = _load(load, peer, port, body, arguments)
                    result["runs"].append({"rows": count, "connections": connections, **run})
            top = max(run["per_second"] for run in result["runs"] if run["rows"] == 1)
            body.write_text(json.dumps(peer.body(rows[:1])))
            half = ["-c", "16", "-d", f"{options.seconds}s", "-r", str(max(1, int(top / 2)))]
            result["half_rate"] = _load(load, peer, port, body, half)
            result["memory_bytes"] = memory_of(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    return result


def _place(peer: Peer) -> str:
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
    raise SystemExit(f"error: {peer.name} does not get ready:\n{log.read_text()[-3000:]}")


def memory_of(leader: int) -> int:
    """Proportional set size of a process and its children, bytes."""
    import psutil

    process = psutil.Process(leader)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", help="only those whose name begins so; may be repeated")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (8)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
