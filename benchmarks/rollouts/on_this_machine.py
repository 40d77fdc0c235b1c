#!/usr/bin/env python3
"""Times every strategy and every rollback on this machine, under constant load, and counts failed requests.

    python -m benchmarks.rollouts.on_this_machine       # three minutes; writes benchmarks/results/rollouts_local.md

The benchmark brings up a checkout of its own. It deploys versions and rolls them back with `deploy_model.py`, and sends
predictions at a constant rate. It measures the time until the first answer of the wanted version, and until the command
has ended, engine included.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, write_result
from tests.checkout import SOURCE, Checkout, make_checkout, stop_everything
from tests.engine.load import Answers, constant_load

_RATE = 150


def main() -> int:
    """Measures, prints and writes the table."""
    make_parser("benchmarks.rollouts.on_this_machine", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="rollouts-") as work:
        checkout = make_checkout(Path(work) / "checkout")
        try:
            text = _table(_measure(checkout))
        finally:
            stop_everything(checkout)
    sys.stdout.write(text)
    write_result("rollouts_local.md", text)
    return 0


def _measure(checkout: Checkout) -> list[dict[str, Any]]:
    train = SOURCE / "examples" / "train_fraud_model.py"
    checkout.run(sys.executable, str(train), "--output", "models", "--transactions", "8000")
    old = str(json.loads(checkout.deploy_model("up", "development", "--json").stdout)["model_id"])
    new = checkout.register("xgboost_model.joblib")
    deploy = ("deploy", new, "development", "--config", str(checkout.template), "--strategy")
    canary = (*deploy, "canary", "--steps", "25,100", "--interval", "1s")
    back = ("rollback", "development")
    steps: list[tuple[str, str, tuple[str, ...]]] = [
        ("rolling: deploy", new, (*deploy, "rolling")),
        ("rolling: rollback", old, back),
        ("blue-green: deploy (first, so the traffic splitter comes too)", new, (*deploy, "blue_green")),
        ("blue-green: rollback while the version before is kept", old, back),
        ("blue-green: deploy", new, (*deploy, "blue_green")),
        ("blue-green: rollback", old, back),
        ("canary 25, 100 %: deploy until promoted", new, canary),
        ("canary: rollback", old, back),
        ("blue-green: deploy, nothing kept", new, (*deploy, "blue_green", "--keep-minutes", "0")),
        ("blue-green: rollback to a version that is not kept", old, back),
    ]
    return [_timed(checkout, *step) for step in steps]


def _timed(checkout: Checkout, what: str, wanted: str, command: tuple[str, ...]) -> dict[str, Any]:
    body = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    with constant_load(checkout.url, checkout.api_key(), body, _RATE) as answers:
        time.sleep(1)
        answers.by_model.clear()
        first = _first_answer(answers, wanted)
        started = time.monotonic()
        checkout.deploy_model(*command)
        seconds = time.monotonic() - started
        time.sleep(0.5)
        at = first()
    sys.stderr.write(f"{what}: {seconds:.1f} s, {answers.failed} of {answers.total} failed\n")
    return {
        "what": what,
        "first": None if at is None else at - started,
        "seconds": seconds,
        "requests": answers.total,
        "failed": answers.failed,
    }


def _first_answer(answers: Answers, wanted: str) -> Callable[[], float | None]:
    """Polls in a thread; returns the time of the version's first answer."""
    found: list[float] = []

    def look() -> None:
        until = time.monotonic() + 120
        while not answers.by_model[wanted] and time.monotonic() < until:
            time.sleep(0.01)
        found.append(time.monotonic())

    threading.Thread(target=look, daemon=True).start()
    return lambda: found[0] if found else None


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Rollouts on this machine",
        "",
        f"`python -m benchmarks.rollouts.on_this_machine`: {_RATE} predictions a second, two cores for all.",
        "",
        "| what | first answer of the version after | command ended after | requests | failed |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        first = "-" if row["first"] is None else f"{row['first']:.1f} s"
        lines.append(f"| {row['what']} | {first} | {row['seconds']:.1f} s | {row['requests']} | {row['failed']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
