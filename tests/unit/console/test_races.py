"""Two changes at once, a page that is out of date, and a look that takes too long."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from console.jobs import Jobs
from console.processes import WorkerFailed, run_worker
from conventions import exit_codes
from tests.unit.console.conftest import Opened

PROJECT = Path(__file__).resolve().parents[3]


def test_an_environment_has_one_change_at_a_time() -> None:
    jobs, end = Jobs(), threading.Event()

    def work(_log: Any) -> dict[str, Any]:
        end.wait(10)
        return {}

    def started(environment: str) -> Any:
        return jobs.start("roll back", environment, "alice", work, lambda: None)

    first = started("staging")
    assert first is not None
    assert started("staging") is None
    assert started("production") is not None
    end.set()
    for _ in range(1000):
        if jobs.running("staging") is None:
            break
        threading.Event().wait(0.01)
    assert started("staging") is not None


@pytest.mark.parametrize("task", ["promote", "abort", "rollback"])
def test_what_a_page_did_not_show_is_not_changed(opened: Opened, task: str) -> None:
    checkout = opened.console.checkout
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(PROJECT / name, checkout / name)
    before = (checkout / "Pulumi.dev.yaml").read_bytes()
    expected = {"stable": "fraud_detector_T_20200101_000000", "candidate": ""}
    request = {"environment": "development", "reason": "complaints", "to": None, "expected": expected}
    with pytest.raises(WorkerFailed, match="something has changed since the page was shown") as told:
        run_worker(checkout, task, "", request)
    assert told.value.exit_code == exit_codes.STACK_BUSY
    assert (checkout / "Pulumi.dev.yaml").read_bytes() == before


def test_a_look_that_takes_too_long_is_given_up(opened: Opened) -> None:
    with pytest.raises(WorkerFailed, match="longer than 0 seconds; ask for less"):
        run_worker(opened.console.checkout, "histories", "", {"environments": ["development"]}, timeout_seconds=0.01)
