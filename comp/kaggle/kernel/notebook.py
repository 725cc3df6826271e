"""The notebook of a notebooks-only competition, as nbformat 4, from its text in ``notebook.py.txt``."""

from __future__ import annotations

import re
from typing import Any

from comp._version import PACKAGE

TEXT = PACKAGE / "kaggle" / "kernel" / "notebook.py.txt"

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
    "timm",
    "torch",
    "torchvision",
)


def notebook(words: dict[str, str], settings: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    """The notebook.

    Parameters
    ----------
    words : dict
        What goes into the text: title, run, about, version.
    settings : dict
        The names that the first code cell gives values to, each with a remark.
    """
    text = TEXT.read_text(encoding="utf-8")
    lines = [f"{name} = {value!r}  # {remark}" for name, (value, remark) in settings.items()]
    for word, value in (words | {"settings": "\n".join(lines), "modules": " ".join(MODULES)}).items():
        text = text.replace(f"<<{word}>>", value)
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
