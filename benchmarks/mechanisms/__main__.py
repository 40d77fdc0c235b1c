"""Writes docs/mechanisms.md: the rule of this project beside the verdicts of pickle scanners.

    python -m benchmarks.mechanisms
    python -m benchmarks.mechanisms --output mechanisms.md      # another page

Takes two to four minutes. The scanners get virtual environments of their own in the user's cache directory.
"""

import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import make_parser
from benchmarks.mechanisms.page import PAGE, Row, render_page
from benchmarks.mechanisms.scanners import SCANNERS, scanner_python, verdict_on
from model_store.serialization.trust import inspect_pickle
from tests.unit.model_store.serialization.mechanisms import MECHANISMS
from tests.unit.model_store.serialization.number_mechanisms import NUMBERS, content_of, twin_of


@dataclass(frozen=True)
class _Pair:
    """A mechanism with its two files."""

    family: str
    name: str
    rule: str
    bad: bytes
    twin: bytes


def main() -> int:
    """Scans both files of each mechanism and writes the page."""
    parser = make_parser("benchmarks.mechanisms", __doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page goes (docs/mechanisms.md)")
    options = parser.parse_args()
    pythons = [scanner_python(scanner) for scanner in SCANNERS]
    with tempfile.TemporaryDirectory(prefix="mechanisms-") as work:
        canary = Path(work) / "canary"
        rows = [_row(pair, canary, pythons) for pair in _pairs(f"touch {canary}")]
    options.output.write_text(render_page(rows, platform.python_version()), encoding="utf-8")
    print(f"{len(rows)} mechanisms; {options.output}")
    return 0


def _pairs(command: str) -> Iterator[_Pair]:
    for each in MECHANISMS:
        yield _Pair(each.family, each.name, each.rule, each.bad(command), each.good)
    for numbers in NUMBERS:
        yield _Pair(numbers.family, numbers.name, numbers.rule, content_of(numbers), twin_of(numbers))


def _row(pair: _Pair, canary: Path, pythons: list[Path]) -> Row:
    """Writes the two files of a mechanism and scans them with the rules and each scanner.

    Args:
        pair: the mechanism.
        canary: a file that the command of a bad file would create.
        pythons: the scanners' Pythons, in the order of SCANNERS.

    Raises:
        SystemExit: our inspection gives another verdict than the mechanism says, or a scanner has run the file.
    """
    bad, twin = canary.with_name("bad.pkl"), canary.with_name("twin.pkl")
    bad.write_bytes(pair.bad)
    twin.write_bytes(pair.twin)
    if _our_rule(bad) != pair.rule or _our_rule(twin) is not None:
        raise SystemExit(f"error: {pair.name}: inspection gives {_our_rule(bad)} and {_our_rule(twin)} for the twin")
    verdicts = tuple(
        (verdict_on(bad, scanner, python), verdict_on(twin, scanner, python))
        for scanner, python in zip(SCANNERS, pythons, strict=True)
    )
    if canary.exists():
        raise SystemExit(f"error: {pair.name}: the code in the file has run")
    sys.stderr.write(f"{pair.name}: {verdicts}\n")
    return Row(pair.family, pair.name, pair.rule, verdicts)


def _our_rule(file: Path) -> str | None:
    """The rule that refuses a file at inspection."""
    with file.open("rb") as opened:
        refused = inspect_pickle(opened)["refused"]
    return refused["rule"] if refused else None


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Those of libraries about the models that are trained here.
    sys.exit(main())
