"""The pages in a real browser: nothing leaves them, they sort, zoom and change their colours on a phone and a wide screen,
and axe-core finds nothing that shuts people out.

They need Debian's chromium; without one they are skipped, except on CI, which installs it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comp.report.run_report.page import render
from made import probe, run_comp, write_shapes
from made_report import doubts_of, epochs_of, made_data, made_rows, other_run

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")
WIDTHS = (390, 1400)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI has a chromium: apt-get install chromium"
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def shown(browser: Any, path: Path, width: int, scheme: str = "light") -> Iterator[Any]:
    """A page from disk; fails where it says an error or asks for anything outside."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, faults = context.new_page(), []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("data:", "file:")) else faults.append(asked.url),
    )
    page.goto(path.as_uri())
    for part in page.query_selector_all("details.part"):
        part.evaluate("part => { part.open = true }")
    page.wait_for_timeout(100)
    yield page
    assert faults == []
    context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind: of a real run with a blend beside it, of all runs, of a check, of two submissions, of a study, and one that
    was made, with doubted labels and curves.
    """
    root = tmp_path_factory.mktemp("pages")
    write_shapes(root)
    sets = [word for text in probe(root) for word in ("--set", text)]
    csvs = []
    for seed in (1, 2):
        done = run_comp(root, "run", "shapes", "--folds", 3, *sets, "--seed", seed, "--json")
        assert done.code == 0, done.err
        csvs.append(done.json["submission"])
    found = {"run": root / done.json["report"], "all": root / "report.html"}
    found["check"], found["compare"] = root / "check.html", root / "compare.html"
    for arguments in (
        ("report", done.json["run"]),
        ("report", "--all"),
        ("check", "shapes", "--html", found["check"]),
        ("compare", *csvs, "--html", found["compare"]),
    ):
        done = run_comp(root, *arguments)
        assert done.code in (0, 1), done.err
    done = run_comp(root, "tune", "shapes", "--folds", 3, "--trials", 12, *sets, "--json")
    assert done.code == 0, done.err
    found["study"] = root / done.json["report"]
    oof = made_rows(7, 200)
    suspected = np.arange(200) < 4
    made = made_data(
        oof,
        doubts=doubts_of(np.arange(200.0), suspected, (oof.truth + 1) % 7),
        epochs=[epochs_of([1.0, 0.6, 0.5, 0.55, 0.7, 0.9], [0.5, 0.7, 0.8, 0.8, 0.79, 0.78])] * 3,
        others=[other_run(oof)],
    )
    found["made"] = root / "made.html"
    found["made"].write_text(render(made), "utf-8")
    found["many"] = root / "many.html"
    found["many"].write_text(render(made_data(made_rows(257, 900))), "utf-8")
    return found


KINDS = ("run", "all", "check", "compare", "made", "many", "study")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_its_screen_and_asks_for_nothing(
    browser: Any, pages: dict[str, Path], kind: str, width: int
) -> None:
    with shown(browser, pages[kind], width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for image in page.query_selector_all("main img"):
            assert image.evaluate("image => image.complete && image.naturalWidth > 0")
            assert image.get_attribute("alt")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_sorts_by_the_head_that_is_pressed(browser: Any, pages: dict[str, Path], width: int) -> None:
    cells = "[...document.querySelectorAll('#classes tbody tr')].map(row => row.cells[1].textContent)"
    with shown(browser, pages["made"], width) as page:
        head = page.query_selector("#classes th:nth-child(2) button")
        head.click()
        falling = [int(text) for text in page.evaluate(cells)]
        assert falling == sorted(falling, reverse=True)
        head.click()
        rising = [int(text) for text in page.evaluate(cells)]
        assert rising == sorted(falling)
        assert page.get_attribute("#classes th:nth-child(2)", "aria-sort") == "ascending"


@pytest.mark.parametrize("width", WIDTHS)
def test_an_image_opens_large_and_the_next_one_after_it(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    with shown(browser, pages["made"], width) as page:
        page.click("#mistakes button.zoom >> nth=0")
        assert page.evaluate("document.getElementById('box').open")
        first = page.inner_text("#box .what")
        assert first.startswith("i")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#box .what") != first
        page.click("#box .close")
        assert not page.evaluate("document.getElementById('box').open")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["made", "many"])
def test_a_cell_of_the_confusion_matrix_opens_its_images(
    browser: Any, pages: dict[str, Path], width: int, kind: str
) -> None:
    with shown(browser, pages[kind], width) as page:
        page.click("button[data-cell] >> nth=0")
        assert page.evaluate("document.getElementById('box').open")
        assert page.evaluate("document.querySelector('#box img').naturalWidth") > 0
        page.click("#box .close")
        page.focus("canvas")
        before = page.inner_text("#cell")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#cell") != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_change_and_stay(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with shown(browser, pages["run"], 1400, scheme) as page:
        before = page.evaluate(paper)
        page.click("button.theme")
        after = page.evaluate(paper)
        assert before != after
        page.reload()
        assert page.evaluate(paper) == after


def test_two_runs_are_compared_as_they_are_chosen(browser: Any, pages: dict[str, Path]) -> None:
    with shown(browser, pages["all"], 1400) as page:
        assert "seed" in page.inner_text("form.two tbody")
        first = page.input_value("form.two select[name=first]")
        page.select_option("form.two select[name=second]", first)
        assert "seed" not in page.inner_text("form.two tbody")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_serious_violation(browser: Any, pages: dict[str, Path], kind: str, scheme: str) -> None:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    with shown(browser, pages[kind], 1400, scheme) as page:
        page.evaluate(axe)
        judged = page.evaluate("axe.run()")
        assert len(judged["passes"]) > 10, "axe looked at the page"
        found = judged["violations"]
        grave = [
            (one["id"], one["nodes"][0]["html"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert grave == []


@pytest.mark.real
@pytest.mark.parametrize("slug", ["art-classification", "caltech-256"])
def test_a_run_on_real_images_has_a_page_that_fits(browser: Any, workspace: Path, slug: str) -> None:
    data = Path(os.environ.get("COMP_REAL_DATA") or "/nowhere") / slug
    if not data.is_dir():
        pytest.skip("COMP_REAL_DATA names no folder with it")
    few = ("--quick", "--set", "model.weights=none", "--set", "model.size=64")
    done = run_comp(workspace, "run", slug, "--data", data, *few, "--json")
    assert done.code == 0, done.err
    page = workspace / done.json["report"]
    assert page.stat().st_size < 15e6
    for width in WIDTHS:
        with shown(browser, page, width) as opened:
            assert opened.evaluate("document.documentElement.scrollWidth") <= width
