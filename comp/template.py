"""The template: the sample submission whose ids, order and manner a submission keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comp.competition import Competition
from comp.errors import InputError
from comp.images.tree import RawTree
from comp.manifest import Manifest
from comp.tables import Table, parse_table, read_table


@dataclass(frozen=True)
class Template:
    """The rows that a submission must have.

    ``table`` is the sample submission as it stands; ``id_place`` and ``target_places`` are columns of it;
    ``kind`` says what the target is: the class index, its name, or a probability for each class.
    """

    table: Table
    id_place: int
    target_places: tuple[int, ...]
    kind: str
    made: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the rows, letter by letter, in the template's order."""
        return tuple(row[self.id_place] for row in self.table.rows)

    @property
    def id_column(self) -> str:
        return self.table.header[self.id_place]


def load_template(
    competition: Competition, raw: Path, manifest: Manifest, file: Path | None = None
) -> Template:
    """The template of a competition: its file in the raw folder (or in an archive there), ``file``, or one made from the test rows.

    Raises
    ------
    InputError
        If the file is missing, or lacks the id or a target column.
    """
    facts = competition.facts.template
    if facts.file == "made" and file is None:
        target = facts.target if isinstance(facts.target, str) else "label"
        return made_template(list(manifest.test["id"]), facts.id, target, facts.kind)
    table = read_table(file) if file else parse_table(RawTree(raw).read(facts.file), facts.file)
    return from_table(table, facts.id, facts.target, facts.kind)


def from_table(table: Table, id_column: str, target: str | tuple[str, ...], kind: str) -> Template:
    """A template from a table; probs with ``target = "*"`` means every column but the id."""
    id_place = table.place(id_column)
    if target == "*":
        places = tuple(i for i in range(len(table.header)) if i != id_place)
    else:
        places = tuple(table.place(name) for name in ([target] if isinstance(target, str) else target))
    if id_place in places or not places:
        value = f"{table.name}: id {id_column!r}, target {target!r}"
        raise InputError(
            "id and target must be different columns", value, "correct [template] in competition.toml"
        )
    return Template(table, id_place, places, kind)


def made_template(ids: list[str], id_column: str, target: str, kind: str) -> Template:
    """The template of a competition without one: the test rows in the order of the manifest."""
    rows = tuple((sample, "") for sample in ids)
    table = Table("the made template", (id_column, target), rows)
    return Template(table, 0, (1,), kind, made=True)


def read_submission(path: Path) -> Table:
    """A submission file as a table of text cells."""
    return parse_table(_bytes(path), path.name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "the submission must exist", f"{path}: {error.strerror}", "`comp runs` names the CSV of each run"
        ) from error
