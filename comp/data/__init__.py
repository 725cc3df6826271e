"""From a raw folder to rows and pixels; what adapters import is named here.

``from comp.data import Manifest, Sample, RawTree, read_table`` is all that an adapter needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "ArraySource",
    "Folds",
    "LabelMap",
    "Manifest",
    "Predictions",
    "RawTree",
    "Sample",
    "Table",
    "fetch",
    "in_order",
    "is_image_name",
    "natural_key",
    "nfc",
    "parse_table",
    "read_table",
]

if TYPE_CHECKING:
    from comp.data.csv_table import Table, in_order, parse_table, read_table
    from comp.data.download import fetch
    from comp.data.folds import Folds
    from comp.data.images.raw_tree import RawTree, is_image_name, natural_key, nfc
    from comp.data.images.source import ArraySource
    from comp.data.labels import LabelMap
    from comp.data.manifest import Manifest, Sample
    from comp.data.predictions import Predictions

_HOMES = {
    "ArraySource": "comp.data.images.source",
    "Folds": "comp.data.folds",
    "LabelMap": "comp.data.labels",
    "Manifest": "comp.data.manifest",
    "Predictions": "comp.data.predictions",
    "RawTree": "comp.data.images.raw_tree",
    "Sample": "comp.data.manifest",
    "Table": "comp.data.csv_table",
    "fetch": "comp.data.download",
    "in_order": "comp.data.csv_table",
    "is_image_name": "comp.data.images.raw_tree",
    "natural_key": "comp.data.images.raw_tree",
    "nfc": "comp.data.images.raw_tree",
    "parse_table": "comp.data.csv_table",
    "read_table": "comp.data.csv_table",
}


def __getattr__(name: str) -> Any:
    """What adapters need, imported when it is first used, so that looking around stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'comp.data' has no attribute {name!r}")
