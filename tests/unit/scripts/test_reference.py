"""The pages of docs/reference/ are what the code says."""

import pytest

from scripts.write_reference import PAGES
from tests.checkout import SOURCE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_make_reference_writes(name: str) -> None:
    written = (SOURCE / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: make reference"


def test_a_code_that_one_program_returns_is_that_programs_alone() -> None:
    rows = {row.split(" | ")[1].strip("`"): row.split(" | ")[3] for row in PAGES["exit-codes.md"]().splitlines()[5:]}
    assert rows["INCOMPLETE"] == "`manage_models.py`"
    assert rows["BREACHED"] == rows["UNFIT"] == "`deploy_model.py`"
