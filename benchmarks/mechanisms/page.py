"""Writes the page docs/mechanisms.md from rows, and reads its rows for the test that compares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mechanisms.scanners import MEMORY_BYTES, SCANNERS, TIMEOUT_SECONDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mechanisms.md"
VERDICTS = ("refused", "passed", "error", "hangs")
_HEAD = ["family", "mechanism", "our rule", *(f"{scanner.name} (bad / twin)" for scanner in SCANNERS)]
_INTRODUCTION = """\
# Ways to abuse a pickle, and who refuses them

`python -m benchmarks.mechanisms` makes this page. Each mechanism is one way to abuse a pickle. The tests hold it as a
pair of files: the bad file uses the mechanism, and its near twin is a harmless file that is as similar as possible. The
twin has to load. Our inspection and the scanners get the same bytes, each pair written as two `.pkl` files. Nothing
loads a file here: all of them only analyse it. The rules are in `model_store/serialization/structure/`.

- `refused`: the file is called unsafe. `passed`: the file is not called unsafe.
- `error`: the scanner ends with an error and gives no verdict. A pipeline that checks the exit code stops there too.
- `hangs`: no answer after {timeout} seconds. Each scan has {memory} GiB of memory.
- "Told apart" counts the pairs whose bad file is refused and whose twin is passed. A scanner that refuses both files
  does not see the mechanism; it refuses the kind of file.

How to read it fairly:

- The tests require that our inspection refuses every bad file by the rule named here and passes every twin, so our
  column is complete by construction. A mechanism that nobody has thought of is in no row.
- Some bad files show only a step that an attack needs, and do no harm by themselves.
- The scanners look for code that runs at load, and fickling also for files that grow while they are loaded. `memory`
  and `numbers`, which are about what compiled code does with the values, are outside what they promise.
- picklescan also counts "suspicious" globals. Without `--strict` they do not change its exit code, so such a file
  counts as passed. A file that it cannot parse, and in which it finds no global, also ends with exit code 0.
"""


@dataclass(frozen=True)
class Row:
    """One mechanism, and what each scanner says about its two files."""

    family: str
    name: str
    rule: str
    verdicts: tuple[tuple[str, str], ...]
    """For each scanner, in the order of SCANNERS: the verdict on the bad file and on the twin."""


def render_page(rows: Sequence[Row], python_version: str) -> str:
    """The whole page.

    Args:
        rows: the mechanisms, in the order of the table.
        python_version: of the Python that ran the scanners, such as 3.11.7.
    """
    introduction = _INTRODUCTION.format(timeout=TIMEOUT_SECONDS, memory=MEMORY_BYTES >> 30)
    ordered = [row for family in _families(rows) for row in rows if row.family == family]
    cells = [[row.family, row.name, row.rule, *(" / ".join(pair) for pair in row.verdicts)] for row in ordered]
    parts = [introduction, f"Scanned under Python {python_version}.\n", render_summary(rows)]
    return "\n".join([*parts, "## Each mechanism\n", _table(_HEAD, cells)])


def render_summary(rows: Sequence[Row]) -> str:
    """The counts over all rows, and those of each family."""
    ours = ["this project", "`inspect_pickle(FILE)`", *_counts([("refused", "passed")] * len(rows))]
    everyone = [ours] + [
        [scanner.packages[0].replace("==", " "), f"`{scanner.shown}`", *_counts([row.verdicts[number] for row in rows])]
        for number, scanner in enumerate(SCANNERS)
    ]
    bad, twins = f"of {len(rows)} mechanisms", f"of {len(rows)} twins"
    head = ["who", "command or call", bad, twins, "told apart"]
    families = [_family_row(family, [row for row in rows if row.family == family]) for family in _families(rows)]
    family_head = ["family", "mechanisms", "this project", *(scanner.name for scanner in SCANNERS)]
    title = "Bad files refused / twins passed / told apart, by family:\n"
    return "\n".join(["## Summary\n", _table(head, everyone), title, _table(family_head, families)])


def rows_in(page: str) -> list[Row]:
    """The rows of the table of a page."""
    lines = page.splitlines()
    start = lines.index(_line(_HEAD)) + 2
    rows = []
    for line in lines[start:]:
        family, name, rule, *verdicts = line.removeprefix("| ").removesuffix(" |").split(" | ")
        pairs = [tuple(pair.split(" / ")) for pair in verdicts]
        rows.append(Row(family, name, rule, tuple((bad, twin) for bad, twin in pairs)))
    return rows


def _families(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.family for row in rows))


def _counts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Verdicts on the bad files, verdicts on the twins, and the number of pairs told apart."""
    told_apart = sum(pair == ("refused", "passed") for pair in pairs)
    return [_tally([bad for bad, _ in pairs]), _tally([twin for _, twin in pairs]), str(told_apart)]


def _tally(verdicts: Sequence[str]) -> str:
    counted = [(verdict, verdicts.count(verdict)) for verdict in VERDICTS]
    return ", ".join(f"{count} {verdict}" for verdict, count in counted if count)


def _family_row(family: str, rows: Sequence[Row]) -> list[str]:
    cells = [family, str(len(rows)), f"{len(rows)} / {len(rows)} / {len(rows)}"]
    for number in range(len(SCANNERS)):
        pairs = [row.verdicts[number] for row in rows]
        refused, passed = sum(bad == "refused" for bad, _ in pairs), sum(twin == "passed" for _, twin in pairs)
        cells.append(f"{refused} / {passed} / {sum(pair == ('refused', 'passed') for pair in pairs)}")
    return cells


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
