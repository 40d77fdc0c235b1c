"""Measures every kind of the catalogue and writes docs/models.md.

    python -m tests.kinds.table                                     # make models-table
    python -m tests.kinds.table --output models.md --processes 1    # another page, one process

exit codes: 0 written, 1 written, and a kind is not served as it is
"""

import argparse
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
_HEAD = "| kind | registers | served by | rows by an optimized form | largest difference | decisions that differ |"
_REFUSED_HEAD = "| refused | what a user is told |"
_MESSAGE_CHARACTERS = 220
_INTRODUCTION = """\
# Which models are served

`make models-table` makes this page: each kind below is trained on small data, registered, served and asked over HTTP,
one row at a time and in batches, and compared in 64 bits with what its own library answers. The kinds of detectors are
compared by order and by their own decisions. An optimized form answers only where every branch is provably the same;
where there is none, the model's own library answers, and the third column says why.
"""


def main() -> int:
    """Measures, writes the page, and tells what is not as it has to be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kinds.table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=TABLE, help="where the page goes (docs/models.md)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    options = parser.parse_args()
    from tests.kinds.catalogue import KINDS, REFUSED

    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as processes:
        lines = list(processes.map(_measured, range(len(KINDS)), chunksize=4))
        refusals = list(processes.map(_refusal, range(len(REFUSED)), chunksize=4))
    page = [_INTRODUCTION]
    for group in dict.fromkeys(kind.group for kind in KINDS):
        rows = [row for kind, (row, _) in zip(KINDS, lines, strict=True) if kind.group == group]
        page += [f"## {group}\n", _HEAD, "|---|---|---|---|---|---|", *rows, ""]
    page += ["## Refused at registration\n", _REFUSED_HEAD, "|---|---|", *refusals, ""]
    options.output.write_text("\n".join(page), encoding="utf-8")
    problems = [problem for _, problem in lines if problem]
    print(f"{len(KINDS)} kinds, {len(problems)} of them not served as they are; {options.output}")
    print("\n".join(problems))
    return 1 if problems else 0


def kinds_in(page: str) -> tuple[list[str], list[str]]:
    """The kinds that a page names, as `group: kind`, and what it says is refused."""
    kinds, refused, group = [], [], ""
    for line in page.splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif (cell := re.match(r"\| ((?:\\\||[^|])*?) \| ", line)) and line not in (_HEAD, _REFUSED_HEAD):
            name = cell[1].replace("\\|", "|")
            if group.startswith("Refused"):
                refused.append(name)
            else:
                kinds.append(f"{group}: {name}")
    return kinds, refused


def _measured(number: int) -> tuple[str, str]:
    """A kind's row of the table, and what is wrong with it."""
    from tests.kinds.catalogue import KINDS, label_of
    from tests.kinds.measured import measure

    kind = KINDS[number]
    with tempfile.TemporaryDirectory() as directory:
        found = measure(kind, Path(directory))
    share = "" if found.share is None else f"{found.share:.0%}"
    difference = f"{found.largest_difference:.1g}" if found.largest_difference == found.largest_difference else ""
    form = f"{found.form} ({found.reason})" if found.reason else found.form
    cells = [kind.name, "yes" if found.registers else "no", form, share, difference, str(found.decisions_that_differ)]
    problems = "; ".join(found.problems)
    return _row(cells), f"{label_of(kind)}: {problems}" if problems else ""


def _refusal(number: int) -> str:
    from tests.kinds.catalogue import REFUSED
    from tests.kinds.command_line import register_refused

    refused = REFUSED[number]
    with tempfile.TemporaryDirectory() as directory:
        ended = register_refused(refused, Path(directory))
        message = (ended.errors.strip().splitlines() or ["it is registered"])[-1].replace(directory, "")
    return _row([refused.name, message])


def _row(cells: list[str]) -> str:
    written = (" ".join(cell.split()).replace("|", "\\|")[:_MESSAGE_CHARACTERS] for cell in cells)
    return "| " + " | ".join(written) + " |"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
