"""COCO's json as the table of its boxes: a row for each annotation, held to what a table of rows needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from comp.data.competitions.tables import table_of
from comp.data.csv_table import Table
from comp.data.images.raw_tree import RawTree
from comp.errors import InputError, RawDataError, shortened
from comp.files import Unreadable, parse_json

_LEFT_OUT = ("segmentation", "keypoints", "iscrowd")  # of an annotation: long, or the same in every row
Record = Mapping[str, Any]


def read_coco(tree: RawTree, name: str, key: str, labelled: bool) -> tuple[Table, int]:
    """The annotations of a COCO file as a table, a row each in the order of the file, and how many images have none.

    Columns are ``annotation_id``, those of its image (``image_id``, ``file_name``, ``width`` …), its own (``bbox`` …) and,
    where rows are ``labelled``, ``category_id`` and ``category_name``.

    Raises
    ------
    InputError
        Naming file and annotation: for what is no COCO json, an id that is missing or comes twice, an image without
        ``file_name``, an annotation of an unknown image or category, without a ``bbox`` of four numbers, or of a crowd.
    """
    document = _document(tree, name, key)
    images = _by_id(document["images"], name, "image")
    files: dict[str, str] = {}
    for image_id, image in images.items():
        file = image.get("file_name")
        if not isinstance(file, str) or not file:
            raise _refused("an image of a COCO file has a file_name", name, "image", image_id, image)
        if files.setdefault(file, image_id) != image_id:
            value = f"{name}: {file!r} is that of {files[file]} and {image_id}"
            raise InputError("an image of a COCO file has a file_name of its own", value, "drop one")
    categories = _by_id(document.get("categories", []), name, "category") if labelled else {}
    rows = [
        _row(annotation_id, one, images, categories if labelled else None, name)
        for annotation_id, one in _by_id(document["annotations"], name, "annotation").items()
    ]
    if not rows:
        value = f"competition.toml: [data] {key} = {name!r} has no annotations"
        raise InputError("rows of boxes are annotations", value, "restore the file, or name another table")
    return table_of(name, rows), len(images) - len({row["image_id"] for row in rows})


def _document(tree: RawTree, name: str, key: str) -> dict[str, Any]:
    if not tree.has(name):
        value = f"competition.toml: [data] {key} = {name!r} is not in {tree.raw}"
        raise RawDataError("COCO's json must be in the raw folder", value, f"correct {key}, or add the file")
    try:
        document = parse_json(tree.read(name))
    except Unreadable as error:
        raise InputError("COCO's json must be readable", f"{name}: {error}", "restore the file") from error
    lists = ("images", "annotations", "categories")
    found = document if isinstance(document, dict) else {}
    lacks = [one for one in lists[:2] if one not in found]
    lacks += [one for one in lists if one in found and not isinstance(found[one], list)]
    if lacks:
        value = (
            f"{name} has no list of {lacks[0]}: {type(document).__name__} {shortened(repr(document), 100)}"
        )
        rule = "COCO's json has lists of images, annotations and categories"
        raise InputError(rule, value, f"correct {key}, or give a table and box in [data]")
    return found


def _by_id(records: Sequence[Any], name: str, kind: str) -> dict[str, Record]:
    """Records by their id, in their order."""
    by_id: dict[str, Record] = {}
    for number, record in enumerate(records, start=1):
        own = record.get("id") if isinstance(record, dict) else None
        if isinstance(own, bool) or not isinstance(own, int | str) or own == "":
            value = f"{name}, {kind} {number}: {shortened(repr(record), 100)}"
            raise InputError(f"each {kind} of a COCO file has an id", value, "restore the file")
        if str(own) in by_id:
            value = f"{name}: {own!r} comes twice"
            raise InputError(f"an id of a COCO file is one {kind}'s", value, "drop one, or number them anew")
        by_id[str(own)] = record
    return by_id


def _row(
    annotation_id: str,
    one: Record,
    images: Mapping[str, Record],
    categories: Mapping[str, Record] | None,
    name: str,
) -> dict[str, Any]:
    """The cells of an annotation; ``categories`` None where rows have no label."""
    image = images.get(str(one.get("image_id")))
    if image is None:
        raise _refused("an annotation names an image of its file", name, "annotation", annotation_id, one)
    if one.get("iscrowd"):
        raise _refused(
            "an annotation is of one thing, not of a crowd", name, "annotation", annotation_id, one
        )
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise _refused("an annotation has a bbox of four numbers", name, "annotation", annotation_id, one)
    row = {"annotation_id": annotation_id, "image_id": str(one["image_id"]), "bbox": box}
    row |= {key: value for key, value in image.items() if key not in ("id", *row)}
    own = {key: value for key, value in one.items() if key not in row and key not in ("id", *_LEFT_OUT)}
    row |= {key: value for key, value in own.items() if not key.startswith("category")}
    if categories is None:
        return row
    category = categories.get(str(one.get("category_id")))
    if category is None or not str(category.get("name") or "").strip():
        rule = "an annotation names a category of its file, which has a name"
        raise _refused(rule, name, "annotation", annotation_id, one)
    return row | {"category_id": str(one["category_id"]), "category_name": str(category["name"])}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refused(rule: str, name: str, kind: str, own: str, record: Record) -> InputError:
    shown = {key: value for key, value in record.items() if key not in _LEFT_OUT[:2]}
    value = f"{name}, {kind} {own}: {shortened(repr(shown), 120)}"
    return InputError(rule, value, f"correct the file, or take that {kind} out")
