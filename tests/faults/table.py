"""Lets every fault happen under load and writes the table of docs/serving.md.

    python -m tests.faults.table                        # make faults-table; a minute a fault, some forty minutes
    python -m tests.faults.table --seconds 20 --rate 500
    python -m tests.faults.table --only "Redis gone"    # that row alone; the others stay

Needs root: some faults need mounts, control groups or network ports of their own.

exit codes: 0 written, 1 written, and a promise does not hold
"""

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.faults.catalogue import FAULTS
from tests.faults.measure import RATE, SECONDS, Row, measure, told

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
_HEAD = (
    "| fault | a second | failed | may fail | slowest answer | noticed for | the log said | metrics counted |",
    "|---|---|---|---|---|---|---|---|",
)
_UNNOTICED_SECONDS = 0.05


def main() -> int:
    """Measures, writes the table, and tells which promises do not hold."""
    options = _parser().parse_args()
    known = rows_of(options.output.read_text(encoding="utf-8"))
    head = f"{options.seconds:g} s of requests for each fault; {_machine()}."
    problems: list[str] = []
    for fault in FAULTS:
        if options.only and fault.name not in options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="faults-") as directory:
            row = measure(fault, Path(directory), options.rate, options.seconds)
        known[fault.name] = line_of(row)
        problems += [f"{fault.name}: {problem}" for problem in row.problems]
        sys.stderr.write(f"{known[fault.name]}\n" + "".join(f"  {problem}\n" for problem in row.problems))
        lines = [known[each.name] for each in FAULTS if each.name in known]
        _write(options.output, "\n".join([BEGIN, head, "", *_HEAD, *lines, END]))
    print(f"{len(known)} faults, {len(problems)} promises do not hold; {options.output}")
    print("\n".join(problems))
    return 1 if problems else 0


def line_of(row: Row) -> str:
    """A row of the table."""
    log, counted = told(row)
    noticed = "nothing" if row.recovery < _UNNOTICED_SECONDS else f"{row.recovery:.1f} s"
    failed = f"{len(row.failed)} of {len(row.answers):,}"
    if row.may_fail:
        failed += f" ({row.may_fail} connections)"
    slowest = f"{1000 * row.slowest:,.0f} ms"
    cells = (row.fault.name, f"{row.rate:,.0f}", failed, row.fault.may_fail, slowest, noticed, log, counted)
    return f"| {' | '.join(cells)} |"


def rows_of(page: str) -> dict[str, str]:
    """The rows of the table in a page, by the name of the fault."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ") and line not in _HEAD]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def _write(page: Path, table: str) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    page.write_text(before + table + rest.partition(END)[2], encoding="utf-8")


def _machine() -> str:
    load = f"load of the machine before {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} cores, the client on them too, {load}, Python {platform.python_version()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of load for each fault ({SECONDS:g})")
    parser.add_argument("--rate", type=int, default=RATE, help=f"requests a second ({RATE})")
    parser.add_argument("--only", action="append", help="name of a fault; the rows of others stay")
    parser.add_argument("--output", type=Path, default=PAGE, help="a page with the table's marks (docs/serving.md)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
