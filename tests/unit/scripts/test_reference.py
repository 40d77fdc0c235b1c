"""The pages of docs/reference/ are what the code says."""

import pytest

from scripts.write_reference import PAGES
from tests.checkout import SOURCE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_make_reference_writes(name: str) -> None:
    written = (SOURCE / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: make reference"
