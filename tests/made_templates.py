"""Templates of every kind, for tests of what is written for them and what is judged by them."""

from __future__ import annotations

from comp.data.csv_table import Table
from comp.data.dataset import Template, from_table
from comp.data.labels import LabelMap

LABELS = LabelMap(("cat", "dog", "eel"))
KINDS = {
    "index": ("id", "label"),
    "label": ("id", "label"),
    "probs": ("id", "eel", "cat", "dog"),
    "topk": ("id", "label"),
}


def template_of(ids: list[str], kind: str, **manner: object) -> Template:
    header = KINDS[kind]
    rows = tuple((i, *["0"] * (len(header) - 1)) for i in ids)
    table = Table("sample.csv", header, rows, **manner)  # type: ignore[arg-type]
    return from_table(table, "id", "*" if kind == "probs" else "label", kind)
