"""What `coco` of [data] in a competition.toml stands for: a table, its columns and its boxes."""

from __future__ import annotations

from typing import Any

_FIXED = {"box": ("bbox",), "box_format": "xywh", "box_unit": "pixels", "box_of": ("width", "height")}
_USUAL = {"id": "annotation_id", "label": "category_name"}


def with_coco(table: Any) -> Any:
    """[data] with all that `coco` and `test_coco` stand for; itself where they are not there.

    Raises
    ------
    ValueError
        Where a key says something else than they do.
    """
    if not isinstance(table, dict) or not (table.get("coco") or table.get("test_coco")):
        return table
    coco, test_coco = table.get("coco"), table.get("test_coco")
    if not isinstance(coco or "", str) or not isinstance(test_coco or "", str):
        return table  # whose type is refused
    if not coco:
        raise ValueError("test_coco goes with coco, the annotations of the labelled images: add `coco`")
    fixed = {"table": coco, **_FIXED, **({"test_table": test_coco} if test_coco else {})}
    for key, value in fixed.items():
        given = table.get(key, value)
        given = (given,) if key == "box" and isinstance(given, str) else given
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise ValueError(f"coco says what {key} is: drop {key}, or coco")
    shapes = [key for key in ("onehot", "labels", "pattern") if table.get(key)]
    usual = {"id": _USUAL["id"]} if shapes else _USUAL
    return {**usual, **table, **fixed}
