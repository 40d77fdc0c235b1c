"""docs/mechanisms.md names every mechanism of the tests with its family and its rule, and no other."""

from benchmarks.mechanisms.page import PAGE, VERDICTS, render_summary, rows_in
from benchmarks.mechanisms.scanners import SCANNERS
from tests.unit.model_store.serialization.mechanisms import MECHANISMS
from tests.unit.model_store.serialization.number_mechanisms import NUMBERS

_ROWS = rows_in(PAGE.read_text(encoding="utf-8"))


def test_the_page_names_every_mechanism_with_its_family_and_rule() -> None:
    known = [(each.family, each.name, each.rule) for each in MECHANISMS]
    known += [(numbers.family, numbers.name, numbers.rule) for numbers in NUMBERS]
    assert len(set(known)) == len(known)
    assert sorted(known) == sorted((row.family, row.name, row.rule) for row in _ROWS), (
        "docs/mechanisms.md is stale; python -m benchmarks.mechanisms writes it"
    )


def test_every_scanner_has_a_verdict_on_both_files_of_every_mechanism() -> None:
    for row in _ROWS:
        assert len(row.verdicts) == len(SCANNERS), row.name
        assert {verdict for pair in row.verdicts for verdict in pair} <= set(VERDICTS), row.name


def test_the_summary_counts_the_rows_below_it() -> None:
    assert render_summary(_ROWS) in PAGE.read_text(encoding="utf-8")
