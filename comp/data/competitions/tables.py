"""Tables of a raw folder in the forms that competitions ship them, as tables of texts."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from comp.data.csv_table import Table, flat_record, parse_table
from comp.data.images.raw_tree import RawTree
from comp.data.task import SEPARATOR
from comp.errors import InputError, RawDataError, near_names, shortened
from comp.files import Unreadable, parse_json

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_DELIMITERS = ",\t;|"


def read_any_table(tree: RawTree, name: str, key: str, without: Sequence[str] = ()) -> Table:
    """A table of the raw folder by its suffix; ``key`` of competition.toml is for errors, json's columns of ``without`` are
    left out (they hold images).

    A list in a json cell becomes its entries with ``|`` between, a nested table is spread over columns ``outer.inner``.
    COCO's json gives a row for each annotation with the columns of its image, its own (``id`` as ``annotation_id``) and
    those of its category (``category_name`` …); images without annotations have empty cells there.

    Raises
    ------
    InputError
        If it is not there, of no known form, or empty.
    """
    if not tree.has(name):
        tables = [path for path in tree.files if is_table(path)]
        near = near_names(name, tables) or sorted(tables, key=lambda path: path.count("/"))[:5]
        there = f"did you mean {' or '.join(near)}?" if near else "there is no table at all"
        value = f"competition.toml: [data] {key} = {name!r} is not in {tree.raw}; {there}"
        raise RawDataError(
            "a table of [data] must be in the raw folder", value, f"correct {key}, or add the file"
        )
    suffix = PurePosixPath(name).suffix.lower()
    content = tree.read(name)
    if suffix in (".csv", ".tsv", ".txt", ".data"):
        return parse_table(content, name, _delimiter(content, suffix))
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _of_json(content, name, without)
    if suffix == ".parquet":
        return _of_parquet(content, name)
    how = "; convert it: one image file a row, and a CSV of ids and labels" if suffix == ".bson" else ""
    value = (
        f"competition.toml: [data] {key} = {name!r}: {suffix or 'a name without suffix'} cannot be read{how}"
    )
    raise InputError(
        "a table is csv, tsv, json, jsonl or parquet", value, "name another table, or write an adapter.py"
    )


def is_table(path: str) -> bool:
    """Whether a file name is that of a table that can be read."""
    return path.lower().endswith(SUFFIXES) and not path.lower().endswith((".txt",))


def _delimiter(content: bytes, suffix: str) -> str:
    """What stands between cells: a tab in .tsv, else the sign that the first line has, a comma before others."""
    if suffix == ".tsv":
        return "\t"
    first = content.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("latin-1")
    return next((sign for sign in _DELIMITERS if sign in first), ",")


def _of_json(content: bytes, name: str, without: Sequence[str] = ()) -> Table:
    try:
        document = parse_json(content)
    except Unreadable as error:
        document = _json_lines(content, name, error)
    if isinstance(document, dict) and _is_coco(document):
        return _of_coco(document, name)
    if isinstance(document, dict):
        document = _records(document)
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document) or not document:
        value = f"{name}: {type(document).__name__} {shortened(repr(document), 100)}"
        rule = "a json table is a list of records, a table of columns, or COCO's images and annotations"
        raise InputError(rule, value, "convert it to CSV")
    if without:
        document = [{key: cell for key, cell in row.items() if key not in without} for row in document]
    return table_of(name, [flat_record(row) for row in document])


def _is_coco(document: Mapping[str, Any]) -> bool:
    """Whether a document has COCO's lists; that of rows to predict has images alone."""
    images, annotations = document.get("images"), document.get("annotations", [])
    return (
        isinstance(images, list)
        and isinstance(annotations, list)
        and all(isinstance(one, dict) for one in images)
    )


def _json_lines(content: bytes, name: str, whole: Unreadable) -> list[Any]:
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(parse_json(line))
        except Unreadable as error:
            told = f"{name}, line {number}: {error}" if rows else f"{name}: {whole}"
            raise InputError("a json table must be readable", told, "restore the file") from error
    return rows


def _records(document: Mapping[str, Any]) -> Any:
    """Rows of a json table of another make: columns side by side, an id with its label, or a list under one name."""
    values = list(document.values())
    lists = {key: value for key, value in document.items() if isinstance(value, list)}
    records = [key for key, rows in lists.items() if rows and all(isinstance(row, dict) for row in rows)]
    if len(records) == 1:
        return lists[records[0]]
    if values and len(lists) == len(values) and len({len(value) for value in lists.values()}) == 1:
        return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    if values and all(isinstance(value, dict) for value in values):
        columns = {str(place) for value in values for place in value}
        if len(values) < len(columns) and all(set(map(str, value)) == columns for value in values):
            return [
                {key: value[place] for key, value in document.items()} for place in values[0]
            ]  # pandas' own
        return [{"id": key, **value} for key, value in document.items()]
    if values and not any(isinstance(value, dict) for value in values):
        return [{"id": key, "label": value} for key, value in document.items()]
    return document


def _of_coco(document: Mapping[str, Any], name: str) -> Table:
    images = _by_id(document["images"], ("id", "image_id"), f"{name}, image")
    categories = _by_id(document.get("categories") or [], ("id", "category_id"), f"{name}, category")
    rows: list[dict[str, Any]] = []
    seen = set()
    for number, one in enumerate(document.get("annotations", []), start=1):
        image = images.get(str(one.get("image_id"))) if isinstance(one, dict) else None
        if image is None:
            value = f"{name}, annotation {number}: image_id {shortened(repr(one), 100)}"
            raise InputError("an annotation names an image of its file", value, "restore the file")
        seen.add(str(one["image_id"]))
        category = categories.get(str(one.get("category_id")), {})
        own = {"annotation_id" if key == "id" else key: value for key, value in one.items()}
        rest = {key: value for key, value in own.items() if key not in image and key != "image_id"}
        rows.append({**image, **rest, **{f"category_{key}": v for key, v in category.items() if key != "id"}})
    rows += [image for key, image in images.items() if key not in seen]
    return table_of(name, [flat_record(row) for row in rows])


def _by_id(records: Any, keys: Sequence[str], name: str) -> dict[str, dict[str, Any]]:
    by_id: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records, start=1):
        key = next((key for key in keys if isinstance(record, dict) and key in record), None)
        if key is None:
            value = f"{name} {number}: {shortened(repr(record), 100)}"
            raise InputError("each image and category of a COCO file has an id", value, "restore the file")
        by_id[str(record[key])] = record
    return by_id


def _of_parquet(content: bytes, name: str) -> Table:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except ImportError as error:
        value = f"{name}: pandas reads parquet with pyarrow, which is not installed"
        raise InputError(
            "a parquet table needs pyarrow", value, "install pyarrow, or convert it to CSV"
        ) from error
    except Exception as error:  # pyarrow's own
        raise InputError(
            "a parquet table must be readable", f"{name}: {error}", "restore the file"
        ) from error
    rows = frame.reset_index(drop=True).to_dict("records")
    return table_of(name, [flat_record({str(key): value for key, value in row.items()}) for row in rows])


def table_of(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Records as a table of texts; the columns are all keys that there are, in the order in which they come."""
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(name, header, tuple(tuple(as_cell(row.get(key)) for key in header) for row in rows))


def as_cell(value: Any) -> str:
    """A value as a cell that CSV would have it; a list has ``|`` between its entries."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if plain is None or (isinstance(plain, float) and math.isnan(plain)):
        return ""
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return str(int(plain))
    if isinstance(plain, Iterable) and not isinstance(plain, Mapping | bytes):
        return SEPARATOR.join(map(as_cell, plain))
    return json.dumps(plain) if isinstance(plain, int | float) else str(plain)
