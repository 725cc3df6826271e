"""A raw folder as a notebook meets it when it is run again: other test rows, which nobody has seen, and no train folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from comp.data.competitions.competition import Competition
from comp.data.csv_table import Table, parse_table
from comp.data.dataset import load_template
from comp.data.images.decode import decode
from comp.data.images.raw_tree import RawTree
from comp.data.several_images import require_one_image
from comp.errors import ImageError, InputError
from comp.files import write_bytes

BROKEN = 1  # of the hidden images
LARGEST = 200 << 20  # bytes of a table that is looked at for test ids
_RULE = "a rehearsal makes hidden rows in the layout of the visible ones"


@dataclass(frozen=True)
class HiddenRows:
    """What was made: how many rows, the ids of those whose image is broken, and what all images take when they are decoded."""

    rows: int
    broken: tuple[str, ...]
    decoded: int


def write_hidden(
    competition: Competition, raw: Path, target: Path, rows: int, broken: int = BROKEN
) -> HiddenRows:
    """Writes a raw folder with ``rows`` test rows that show training images, under ids that the visible test lacks,
    ``broken`` of them broken; the tables of test rows ask for them. Nothing of the train part goes along.

    Raises
    ------
    InputError
        Where the visible rows do not say how: images in arrays or shards, or paths without their ids.
    """
    if rows < 3:
        raise InputError("a rehearsal is of 3 rows or more", f"got {rows}", "for example 1000")
    if not competition.facts.layout.needs_data:
        raise InputError(
            _RULE, f"{competition.slug} has no files", "rehearse a competition that has image files"
        )
    if competition.facts.has_boxes:
        value = f"[data] of {competition.slug} makes rows of boxes or tiles"
        raise InputError("a rehearsal is of whole images", value, "try the notebook on such rows by hand")
    manifest = competition.read(raw)
    require_one_image(manifest, "a rehearsal is")
    source = competition.source(raw)
    visible = [
        (str(i), str(path)) for i, path in zip(manifest.test["id"], manifest.test["path"], strict=True)
    ]
    if not visible:
        raise InputError(_RULE, f"{raw} shows no test row", "put one there, as the competition's page has it")
    by_position = competition.facts.pairs == "position"
    names = [_named(n, *visible[0], by_position) for n in range(rows)]
    images = list(manifest.train["path"])
    decoded, torn = 0, tuple(names[n][0] for n in range(rows // 2, rows // 2 + broken))
    for n, (name, path) in enumerate(names):
        content = source.load(images[n % len(images)])
        if not isinstance(content, bytes):
            raise InputError(_RULE, f"{images[0]} lies in an array", "try the notebook on such rows by hand")
        if n < len(images):
            decoded += _size(content, path) * len(range(n, rows, len(images)))
        _write(target / path, content[: len(content) // 2] if name in torn else content)
    _write_tables(raw, target, [i for i, _ in visible], names, visible[0][1])
    _require_read(competition, target, rows)
    return HiddenRows(rows, torn, decoded)


def _named(n: int, name: str, path: str, by_position: bool) -> tuple[str, str]:
    """The id and the path of hidden row n, after those of a visible one."""
    place = PurePosixPath(path)
    if by_position:
        return str(n), str(place.with_name(f"{n:07}{place.suffix}"))
    suffix = place.suffix if name.endswith(place.suffix) else ""
    stem = name.removesuffix(suffix)
    new = str(90_000_000 + n) if stem.isdigit() else f"hidden{n:07}"
    if stem not in path:
        value = f"the id {name!r} is not in its path {path!r}"
        raise InputError(_RULE, value, "try the notebook on such rows by hand")
    head, _, tail = path.rpartition(stem)
    return f"{new}{suffix}", f"{head.replace(stem, new)}{new}{tail}"


def _size(content: bytes, path: str) -> int:
    try:
        return int(decode(content, path).nbytes)
    except ImageError:
        return 0


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_tables(
    raw: Path, target: Path, visible: Sequence[str], names: Sequence[tuple[str, str]], path: str
) -> None:
    """Every table of the raw folder that lists the visible test rows, the template too, with the hidden ones instead."""
    tree = RawTree(raw)
    for file in tree.glob("*.csv"):
        try:
            table = parse_table(tree.read(file), file)
        except InputError:
            continue
        column = _id_column(table, visible)
        if column is not None:
            first = next(list(row) for row in table.rows if row[column] in visible)
            rows = [_as_row(first, column, visible[0], path, *named) for named in names]
            text = replace(table, name=file).text(rows)
            write_bytes(_made(target / file), text.encode(table.encoding))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _id_column(table: Table, visible: Sequence[str]) -> int | None:
    """The column that has all visible ids, and little else: a table of the test rows."""
    wanted = set(visible)
    for column in range(len(table.header)):
        cells = [row[column] for row in table.rows if column < len(row)]
        if wanted <= set(cells) and len(cells) <= 2 * len(wanted) + 8:
            return column
    return None


def _as_row(first: list[str], column: int, visible: str, old: str, name: str, path: str) -> list[str]:
    """A row for a hidden image, after that of a visible one: its id, and its path where the row has that."""
    names = {old: path, PurePosixPath(old).name: PurePosixPath(path).name}
    if not visible.isdigit():  # a number may be an answer as well
        names[visible] = name
    row = [names.get(cell, cell) for cell in first]
    row[column] = name
    return row


def _require_read(competition: Competition, target: Path, rows: int) -> None:
    """InputError where the competition does not read what was written as so many rows with a template."""
    found = competition.read_test(target)
    template = load_template(competition, target, found)
    if len(found.test) != rows or len(template.ids) != rows:
        value = f"{rows} rows were written; {len(found.test)} are read, and the template asks for {len(template.ids)}"
        raise InputError(_RULE, value, "try the notebook on such rows by hand")


def read_only(folder: Path) -> dict[str, tuple[int, int]]:
    """Takes the right to write away below a folder; each file's size and time, by which a change shows."""
    for place, _, files in os.walk(folder):
        for name in files:
            os.chmod(os.path.join(place, name), 0o444)
        os.chmod(place, 0o555)
    return listing(folder)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder, by its path."""
    facts = ((path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (one.st_size, one.st_mtime_ns) for path, one in facts}


def remove(folder: Path) -> None:
    """Removes a folder, also one that nobody may write to."""
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)
    shutil.rmtree(folder, ignore_errors=True)
