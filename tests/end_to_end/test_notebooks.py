"""Notebooks: the example of the docs in a real kernel, and the stop button."""

from __future__ import annotations

import os
import runpy
import signal
import time
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager

from made import REPOSITORY, clean_environment

pytestmark = pytest.mark.slow
MOST_LINES = 60


def lines_of(output: Any) -> int:
    """How many lines of text an output has where HTML is not shown."""
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return len(str(text).splitlines())


def where_it_stands(manager: KernelManager, stacks: Path) -> str:
    """What a kernel that says nothing does: the stacks of its threads, or that it is gone."""
    if not manager.is_alive():
        return "the kernel is gone"
    manager.signal_kernel(signal.SIGUSR1)
    time.sleep(1)
    return stacks.read_text()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example as it runs now."""
    target = tmp_path_factory.mktemp("example") / "example.ipynb"
    runpy.run_path(str(REPOSITORY / "docs" / "make_example.py"))["written"](target)
    return nbformat.read(target, 4)


def test_the_example_has_tables_pictures_and_few_lines(book: Any) -> None:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert sum(map(lines_of, outputs)) < MOST_LINES
    pages = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("<table" in page for page in pages)
    assert any("data:image" in page and "<svg" in page for page in pages)
    assert not [output for output in outputs if output.output_type in ("stream", "error")], (
        "no wall, no warning"
    )


def test_the_example_in_the_docs_is_of_these_cells(book: Any) -> None:
    kept = nbformat.read(REPOSITORY / "docs" / "example.ipynb", 4)
    assert [cell.source for cell in kept.cells] == [cell.source for cell in book.cells]
    assert [bool(cell.get("outputs")) for cell in kept.cells] == [
        bool(cell.get("outputs")) for cell in book.cells
    ]


def test_the_stop_button_ends_in_one_sentence_and_the_run_goes_on(tmp_path: Path) -> None:
    stacks = tmp_path / "stacks.txt"
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, **clean_environment()})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute(
            f"import faulthandler, signal\nfaulthandler.register(signal.SIGUSR1, open({str(stacks)!r}, 'w'))"
        )
        asked = client.execute("import comp\ncomp.run('digits', folds=3, overrides={'epochs': 40})")
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/fold-0/history.csv")) and time.monotonic() < deadline:
            time.sleep(0.2)
        manager.interrupt_kernel()
        error = None
        while error is None:
            try:
                message = client.get_iopub_msg(timeout=60)
            except Empty:
                pytest.fail(f"nothing for a minute: {where_it_stands(manager, stacks)}")
            if message["parent_header"].get("msg_id") == asked and message["msg_type"] == "error":
                error = message["content"]
        (run,) = tmp_path.glob("runs/*")
        assert error["traceback"] == [
            f"Interrupted. Finished folds are kept; this goes on: comp.run('digits', resume={run.name!r})"
        ]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
