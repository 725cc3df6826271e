"""The notebook of a notebooks-only competition, as nbformat 4, from its text in ``notebook.py.txt``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

TEXT = Path(__file__).parent / "notebook.py.txt"

# What prediction imports, besides the standard library; Kaggle's image has them all.
MODULES = (
    "PIL",
    "accelerate",
    "cv2",
    "numpy",
    "pandas",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
)


def notebook(words: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    """The notebook: ``words`` go into its headings, ``settings`` are the names that its first cell gives values to."""
    text = TEXT.read_text(encoding="utf-8")
    lines = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    for word, value in (words | {"settings": lines}).items():
        text = text.replace("{" + word + "}", value)
    parts = re.split(r"^# %%( \[markdown\])?\n", text, flags=re.MULTILINE)[1:]
    cells = [_cell(n, parts[2 * n], parts[2 * n + 1].strip("\n")) for n in range(len(parts) // 2)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def _cell(n: int, mark: str | None, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"id": f"cell-{n}", "metadata": {}, "source": source}
    if mark:
        plain = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
        return cell | {"cell_type": "markdown", "source": plain}
    return cell | {"cell_type": "code", "execution_count": None, "outputs": []}
