"""How many files a plain run goes through, and that CONTRIBUTING's numbered way names files that it enters."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from made import REPOSITORY, clean_environment

MOST_FILES, MOST_STOPS = (
    114,
    15,
)  # 72 before runs wrote a page (27), looked for marks and at features (9), at small images (2), and at millions (3)
FUNCTION = 1  # CO_OPTIMIZED: a frame of a function, not of a module or class body

COUNT = f"""
import json, sys, threading
entered = set()
def look(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & {FUNCTION} and code.co_filename.startswith(sys.argv[1]):
        entered.add(code.co_filename[len(sys.argv[1]):])
import comp
sys.setprofile(look); threading.setprofile(look)
comp.run("digits", folds=2, quick=True)
sys.setprofile(None)
print(json.dumps(sorted(entered)))
"""


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of ``comp/`` with a function that a quick run of digits calls, by path within it."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, f"{REPOSITORY / 'comp'}/"],
        cwd=tmp_path_factory.mktemp("way"),
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def stops() -> list[str]:
    """The numbered way of the data in CONTRIBUTING: a stop a string."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(r"^\d+\. (`[^\n]*(?:\n   [^\n]*)*)", text[text.index("## The way of the data") :], re.M)


@pytest.mark.slow
def test_a_quick_run_goes_through_few_files(entered: set[str]) -> None:
    assert len(entered) <= MOST_FILES, sorted(entered)


@pytest.mark.slow
def test_the_way_in_contributing_is_the_way_that_is_taken(entered: set[str]) -> None:
    every = stops()
    assert 10 <= len(every) <= MOST_STOPS
    for stop in every:
        first = re.search(r"`([a-z_/]+\.py)`", stop)
        assert first is not None, stop
        assert (REPOSITORY / "comp" / first.group(1)).is_file()
        assert first.group(1) in entered or first.group(1).startswith("cli/"), stop
