"""A made-up raw folder in the layout that a competition's facts state, small enough to try everything on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from comp.data.competitions.data_facts import PLACEHOLDER, DataFacts, JoinedColumn
from comp.data.competitions.made_paths import made_label, path_of_label
from comp.data.images.raw_tree import is_image_name, without_suffix
from comp.errors import InputError
from comp.files import write_bytes, write_text

if TYPE_CHECKING:
    import numpy as np

    from comp.data.competitions.facts import CompetitionConfig

TEST_ROWS = 30
SIDE = 64
_COCO = ("category_id", "category_name")
Row = dict[str, Any]


def write_made(facts: CompetitionConfig, data: DataFacts, raw: Path, seed: int) -> None:
    """Writes images, tables and the template that ``facts`` describe; the same seed writes the same bytes.

    Raises
    ------
    InputError
        For facts that nothing can be made up for: a pattern whose paths cannot be guessed, a table in parquet.
    """
    import numpy as np

    if data.has_rows:
        value = f"[data] row of {facts.slug} makes one answer of several images"
        raise InputError("a sample is made up of rows of one image", value, "download the data")
    Made(facts, data, raw, np.random.default_rng(seed)).write()


@dataclass
class Made:
    """Rows with their images, made up by a generator and written one by one."""

    facts: CompetitionConfig
    data: DataFacts
    raw: Path
    rng: np.random.Generator
    joined: list[tuple[str, str]] = field(default_factory=list)  # id and group for the table of groups

    def write(self) -> None:
        classes = self._classes()
        train = self._train_rows(classes)
        tests = [self._row("test", n, self._names(classes, n), classes) for n in range(TEST_ROWS)]
        self._write_shards(train, tests)
        if self.data.table:
            self._write_table(self.data.table, [row["cells"] for row in train], labelled=True)
        if self.data.test_table and self.data.test_table != self.data.table:
            self._write_table(self.data.test_table, [row["cells"] for row in tests], labelled=False)
        group = self.data.group
        if isinstance(group, JoinedColumn) and group.table not in (self.data.table, self.data.test_table):
            self._write_rows(group.table, [{group.key: i, group.column: g} for i, g in self.joined])
        if self.facts.template.file != "made":
            self._write_template([row["id"] for row in tests], classes)

    def _write_shards(self, train: Sequence[Row], tests: Sequence[Row]) -> None:
        """Nothing: each image was written as its row was made."""

    def _classes(self) -> list[str]:
        """The class names: those of the facts, else a few that fit the kind of answer; targets of a regression."""
        facts, template = self.facts, self.facts.template
        label = self.data.label
        if facts.task == "regression":
            return list(label) if isinstance(label, tuple) else [label or str(template.target)]
        if facts.classes != "discover":
            return list(facts.classes)
        if isinstance(self.data.onehot, tuple) and self.data.onehot:
            return list(self.data.onehot)
        if isinstance(template.target, tuple) and template.kind == "probs":
            return list(template.target)
        if self.data.pattern and "?P<label>" in self.data.pattern:
            return list(dict.fromkeys(made_label(self.data.pattern, n) for n in range(3)))
        if template.kind == "prob":
            positive = template.positive or "1"
            return ["0", positive] if positive.isdigit() else [f"not_{positive}", positive]
        if template.kind == "index" or facts.task == "ordinal" or label == "category_id":
            return ["0", "1", "2"]
        return ["ash", "birch", "cedar"]

    def _names(self, classes: Sequence[str], n: int) -> list[str]:
        """The classes of row n, or its numbers: row after row each class is the first one."""
        if self.facts.task == "regression":
            low, high = self.facts.range or (0.0, 1.0)
            return [f"{low + (high - low) * float(v):.4g}" for v in self.rng.random(len(classes))]
        first = classes[n % len(classes)]
        if self.facts.task != "multi-label":
            return [first]
        others = [name for name in classes if name != first and self.rng.random() < 0.5 / len(classes)]
        return sorted([first, *others])

    def _train_rows(self, classes: Sequence[str]) -> list[Row]:
        each = 1 if self.facts.task == "regression" else len(classes)
        total = max(36, each * (12 if each <= 12 else 6))
        return [self._row("train", n, self._names(classes, n), classes) for n in range(total)]

    def _row(self, split: str, n: int, names: list[str], classes: Sequence[str]) -> Row:
        """One row with its image written: its id, and its cells by column."""
        data = self.data
        pattern = data.train_pattern if split == "train" else data.test_pattern
        pattern = "images/{id}.jpg" if pattern == "**/*" else pattern
        position = split == "test" and self.facts.pairs == "position"
        name = str(n + 1) if position else f"{int(self.rng.integers(1 << 40)):010x}"
        if data.pattern and split == "train" and "*" in pattern:
            path = path_of_label(data.pattern, pattern, names[0] if names else "", n)
        else:
            path = _filled(pattern, name, names[0] if names and split == "train" else "0", n)
        stated = is_image_name(pattern)
        plain = PurePosixPath(path).name if "*" in pattern else f"{name}{'' if stated else '.jpg'}"
        cells = self._cells(split, n, plain, names, classes)
        columns = [column for column in PLACEHOLDER.findall(pattern) if column not in ("id", *cells)]
        for column in columns:  # without {id} the last of them tells images apart
            alone = "{id}" not in pattern and column == columns[-1]
            cells[column] = f"{name}.jpg" if alone else f"{column}{n % 3}"
        path = PLACEHOLDER.sub(lambda found: self._part(found[1], name, cells, stated), path)
        self._draw(self.raw / (path if is_image_name(path) else f"{path}.jpg"), names, classes)
        return {"id": str(n) if position else plain, "cells": cells}

    def _part(self, column: str, name: str, cells: Mapping[str, str], stated: bool) -> str:
        if column == "id":
            return name if stated else f"{name}.jpg"
        return without_suffix(cells[column]) if stated else cells[column]

    def _cells(
        self, split: str, n: int, name: str, names: list[str], classes: Sequence[str]
    ) -> dict[str, str]:
        data, facts = self.data, self.facts
        cells = {self._id_column(): name}
        if data.onehot:
            cells.update({one: str(int(one in names)) for one in classes})
        elif data.labels:
            cells[data.labels] = data.separator.join(names) or facts.template.empty
        elif facts.task == "regression":
            cells.update(dict(zip(classes, names, strict=True)))
        elif "?P<label>" not in data.pattern and data.table:
            target = facts.template.target if isinstance(facts.template.target, str) else "label"
            column = data.label if isinstance(data.label, str) else data.label[0]
            cells[column or ("label" if target == "*" else target)] = names[0]
        each = len(classes) if facts.task != "regression" else 1
        group = f"{split}-{n % each}-{n // each // 2}"  # two rows of a class share one
        if isinstance(data.group, JoinedColumn):
            self.joined.append((name, group))
            if data.group.table in (data.table, data.test_table):
                cells[data.group.column] = group
        elif data.group:
            cells[data.group] = group
        return cells

    def _id_column(self) -> str:
        return self.data.id or self.facts.template.id or "id"

    def _write_table(self, name: str, rows: Sequence[Mapping[str, str]], labelled: bool) -> None:
        hidden = self._label_columns(rows)
        if not labelled:
            rows = [{key: cell for key, cell in row.items() if key not in hidden} for row in rows]
        if name.lower().endswith(".json") and set(hidden) & set(_COCO):
            self._write_coco(name, rows)
        else:
            self._write_rows(name, rows)

    def _label_columns(self, rows: Sequence[Mapping[str, str]]) -> set[str]:
        group = self.data.group.column if isinstance(self.data.group, JoinedColumn) else self.data.group
        kept = {self._id_column(), group, *PLACEHOLDER.findall(self.data.test_pattern)}
        return {name for name in rows[0] if name not in kept}

    def _write_rows(self, name: str, rows: Sequence[Mapping[str, str]]) -> None:
        path, suffix = self.raw / name, PurePosixPath(name).suffix.lower()
        if suffix == ".parquet":
            raise InputError(
                "a sample's tables are csv, tsv or json", name, "define sample(raw, seed) in an adapter.py"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".json":
            write_text(path, json.dumps(list(map(dict, rows))))
        elif suffix in (".jsonl", ".ndjson"):
            write_text(path, "".join(json.dumps(dict(row)) + "\n" for row in rows))
        else:
            text = io.StringIO()
            writer = csv.writer(text, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
            write_text(path, text.getvalue())

    def _write_coco(self, name: str, rows: Sequence[Mapping[str, str]]) -> None:
        (label,) = {*_COCO} & {*rows[0]} or {""}
        names = sorted({row[label] for row in rows}) if label else []
        images = [{"id": n, **{k: v for k, v in row.items() if k != label}} for n, row in enumerate(rows)]
        places = [names.index(row[label]) for row in rows] if label else []
        ids: list[Any] = [int(one) if one.isdigit() else n for n, one in enumerate(names)]
        document = {
            "images": images,
            "annotations": [
                {"id": n, "image_id": image["id"], "category_id": ids[place]}
                for n, (image, place) in enumerate(
                    zip(images, places, strict=False)
                )  # none of rows to predict
            ],
            "categories": [{"id": ids[n], "name": one} for n, one in enumerate(names)],
        }
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(document))

    def _write_template(self, ids: Sequence[str], classes: Sequence[str]) -> None:
        template = self.facts.template
        targets = list(template.target) if isinstance(template.target, tuple) else [template.target]
        if targets == ["*"]:
            targets = list(classes)
        cell = {
            "index": "0",
            "label": classes[0],
            "prob": "0.5",
            "probs": f"{1 / len(classes):.6f}",
            "topk": " ".join(classes[: template.k]),
            "labels": template.separator.join(classes[:2]),
            "number": f"{(self.facts.range or (0.0, 0.0))[0]:g}",
        }[template.kind]
        self._write_rows(template.file, [{template.id: i, **dict.fromkeys(targets, cell)} for i in ids])

    def _draw(self, path: Path, names: Sequence[str], classes: Sequence[str]) -> None:
        """An image whose classes can be seen: noise, and a coloured spot where each class has its own."""
        import numpy as np
        from PIL import Image

        pixels = self.rng.integers(0, 110, (8, 8, 3)).repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
        y, x = np.mgrid[0:SIDE, 0:SIDE]
        if self.facts.task == "regression":
            low, high = self.facts.range or (0.0, 1.0)
            share = [(float(name) - low) / (high - low) for name in names]
            spots = [(n, 4 + 20 * one) for n, one in enumerate(share)]
        else:
            spots = [(classes.index(name), 13.0) for name in names]
        for index, radius in spots:
            angle = 2.4 * index  # the golden angle: neighbours lie apart
            centre = (SIDE / 2 + 14 * np.cos(angle), SIDE / 2 + 14 * np.sin(angle))
            colour = np.roll([250, 130, 30], index) - self.rng.integers(0, 20, 3)
            pixels[np.hypot(y - centre[0], x - centre[1]) < radius] = colour
        content = io.BytesIO()
        kind = Image.registered_extensions().get(path.suffix.lower(), "JPEG")
        Image.fromarray(pixels.astype(np.uint8)).save(content, kind)
        self._write_image(path, content.getvalue())

    def _write_image(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def _filled(pattern: str, name: str, label: str, n: int) -> str:
    """A path of a pattern: its last ``*`` becomes the name, the one of the folder before it the label, others a number."""
    *folders, last = pattern.replace("**/", "").split("/")
    for place, part in enumerate(folders):
        above = label if place == len(folders) - 1 else str(n % 2)
        folders[place] = part.replace("*", above).replace("?", "0")
    last = last.removesuffix(".*") + (".jpg" if last.endswith(".*") else "")
    return "/".join([*folders, last.replace("*", name, 1).replace("*", "").replace("?", "0")])
