"""Writes docs/example.ipynb and runs it, so that its outputs are those of this version: ``python docs/make_example.py``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CELLS = (
    "# From images to a submission in a notebook\n\nThe same verbs as on the command line. `digits` needs no download; "
    "`comp new NAME --from FOLDER` in a terminal (or `!comp new …` here) adds images of your own.",
    "import comp\n\ncomp.list_competitions()",
    "## Look for leaks first\n\nA check trains nothing. It shows what would make a score too good to be true.",
    'comp.check("digits")',
    "## Train and predict\n\nThe block below is live while the run works. Stop it at any time: finished folds are kept.",
    'result = comp.run("digits", folds=3, overrides={"epochs": 3})',
    "result",
    "## Look at the mistakes",
    "result.worst(5)",
    "result.curves().groupby('epoch')[['loss', 'valid_loss', 'valid_metric']].mean()",
    "## Go on\n\n`report.html` in the run's folder has everything else: confusions of every pair, likely wrong labels, curves, "
    "test images where folds disagree, and what to try next.",
    "comp.list_runs()",
)


def written(target: Path) -> None:
    """The notebook, executed in a fresh folder."""
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for n, text in enumerate(CELLS):
        is_code = text.startswith(("import", "comp.", "result"))
        cell = nbformat.v4.new_code_cell(text) if is_code else nbformat.v4.new_markdown_cell(text)
        cell["id"] = f"cell-{n}"
        book.cells.append(cell)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(book, target)


if __name__ == "__main__":
    written(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("example.ipynb"))
