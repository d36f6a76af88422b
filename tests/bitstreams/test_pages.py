"""The READMEs of the boards' folders."""

import pytest

from bitstreams import pages
from codesign.boards import BOARDS


@pytest.mark.parametrize("name", BOARDS)
def test_pages_are_up_to_date(name: str) -> None:
    text = pages.path(BOARDS[name]).read_text()
    assert pages.page(BOARDS[name], text) == text, "run python -m bitstreams.pages"


def test_a_page_needs_its_marks() -> None:
    with pytest.raises(ValueError, match="the page of kv260 needs the marks"):
        pages.page(BOARDS["kv260"], "# kv260\n")
