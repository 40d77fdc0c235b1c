"""The pages of docs/reference/ are what the code says."""

import pytest

from scripts.write_reference import PAGES
from tests.checkout import SOURCE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_make_reference_writes(name: str) -> None:
    written = (SOURCE / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: make reference"


def test_a_code_that_one_program_returns_is_that_programs_alone() -> None:
    cells = [row.split(" | ") for row in PAGES["exit-codes.md"]().splitlines() if row.startswith("| ")]
    rows = {cell[1].strip("`"): cell[3] for cell in cells}
    assert rows["INCOMPLETE"] == "`manage_models.py`"
    assert rows["BREACHED"] == "`manage_models.py`, `deploy_model.py`"
    assert rows["UNFIT"] == "`deploy_model.py`"
