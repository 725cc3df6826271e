"""The page of two submissions: names and answers of any letters are text, and a long list is cut and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.data.images.raw_tree import RawTree
from comp.report.comparison_html import MOST_ROWS, render
from comp.submission.comparison import Comparison, Difference
from gallery import clean_gallery
from html_page import Page

SCRIPT, BREAKOUT = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'


def comparison(rows: int, one: str, other: str) -> Comparison:
    differing = [Difference(f"{other}{n}", n + 2, one, other) for n in range(rows)]
    return Comparison((SCRIPT, BREAKOUT), SCRIPT, "label", rows, 0.0, differing, {(one, other): rows})


@pytest.mark.parametrize(("one", "other"), [(SCRIPT, BREAKOUT), (BREAKOUT, SCRIPT)])
def test_names_and_answers_are_text_and_never_markup(tmp_path: Path, one: str, other: str) -> None:
    gallery = clean_gallery(tmp_path / "raw", per_class=4, tests=4)
    found = comparison(2, one, other)
    paths = {found.differing[0].id: "train/a0.png"}
    text = render(found, paths, RawTree(gallery.raw), {SCRIPT: BREAKOUT})
    page = Page(text)
    assert page.scripts == 1, "that of the page itself"
    assert "<img src=x" not in text
    assert len(page.images) == 1
    assert found.differing[0].id + ", row 2" in page.captions
    assert "&lt;script&gt;alert(1)" in text
    assert found.differing[1].id not in text, "it is escaped"
    assert "no image" in text


def test_a_long_list_is_cut_and_says_so(tmp_path: Path) -> None:
    gallery = clean_gallery(tmp_path / "raw", per_class=4, tests=4)
    text = render(comparison(MOST_ROWS + 7, "cat", "owl"), {}, RawTree(gallery.raw), {})
    assert text.count("<figure>") == MOST_ROWS
    assert "and 7 more rows that differ" in text
    assert "more rows" not in render(comparison(3, "cat", "owl"), {}, RawTree(gallery.raw), {})
