"""Each fault under a constant rate: no request fails but those in flight on a process that ends, log and metrics tell.

`FAULT_SECONDS` (60) says for how long requests come, `FAULT_RATE` (1000) how many a second.
"""

import os
from pathlib import Path

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.measure import measure
from tests.faults.table import PAGE, line_of, rows_of


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_under_load(fault: type[Fault], tmp_path: Path) -> None:
    if fault.needs_root and os.geteuid() != 0:
        pytest.skip("this fault is made with mounts or control groups, which takes root")
    row = measure(fault, tmp_path)
    print(line_of(row))
    assert row.problems == []


def test_the_page_has_every_fault() -> None:
    assert list(rows_of(PAGE.read_text(encoding="utf-8"))) == [fault.name for fault in FAULTS]
