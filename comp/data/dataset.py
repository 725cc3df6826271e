"""A competition's raw folder, read: rows, labels, images and the template (the sample submission) that a submission answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import TemplateFacts
from comp.data.competitions.sample import SAMPLE_MARK
from comp.data.corrected_labels import settled, with_corrections
from comp.data.csv_table import Table, number_of, parse_table, read_table
from comp.data.extra_rows import with_extra
from comp.data.images.boxes import with_files
from comp.data.images.raw_tree import RawTree, nfc, without_suffix
from comp.data.images.source import ImageSource
from comp.data.labels import LabelMap
from comp.data.limits import read_file
from comp.data.manifest import FEATURE, ORIGINAL, TRAINING, Manifest, feature_columns, soft_columns
from comp.data.open_set import with_unknown
from comp.data.several_images import by_row, has_several, require_pool
from comp.data.side_features import is_missing, with_side
from comp.data.task import Task
from comp.errors import InputError


def ids_apart(wanted: Sequence[str], given: Iterable[str], lacking: str, spare: str) -> str:
    """How two lists of ids differ, with how many and the first: "2 have no row, first 'a'; 1 is of no sample, first 'b'".

    ``lacking`` is said of ids of ``wanted`` alone, ``spare`` of those of ``given`` alone; empty where they have the same.
    """
    listed = list(given)
    known, asked = set(listed), set(wanted)
    sides = ((lacking, [i for i in wanted if i not in known]), (spare, [i for i in listed if i not in asked]))
    return "; ".join(f"{len(ids)} {said}, first {ids[0]!r}" for said, ids in sides if ids)


@dataclass(frozen=True)
class Template:
    """The rows that a submission must have.

    ``table`` is the sample submission as it stands; ``id_place`` and ``target_places`` are columns of it;
    ``kind`` says what the target is (see ``TemplateFacts``). ``sample_ids`` are the sample ids that the rows ask for, where the template spells them otherwise.
    """

    table: Table
    id_place: int
    target_places: tuple[int, ...]
    kind: str
    made: bool = False
    decimals: int = 8
    k: int = 5
    sample_ids: tuple[str, ...] = ()
    positive: str = ""
    separator: str = " "
    empty: str = ""
    bounds: tuple[float, float] | None = None  # of numbers, where the competition states some

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the rows, letter by letter, in the template's order."""
        return tuple(row[self.id_place] for row in self.table.rows)

    @property
    def samples(self) -> tuple[str, ...]:
        """The sample ids that the rows ask for, in the template's order."""
        return self.sample_ids or self.ids

    @property
    def id_column(self) -> str:
        return self.table.header[self.id_place]

    def require_rows(self) -> None:
        """InputError for a template that cannot be answered: no rows, an empty id, or one that comes twice."""
        name, ids = self.table.name, self.ids
        remedy = "restore the template; `template=FILE` names another where a command takes it"
        if not ids:
            raise InputError("a template asks for rows", f"{name} has none", remedy)
        if "" in ids:
            raise InputError(
                "a template's rows have ids", f"{name}, row {ids.index('') + 2} has none", remedy
            )
        twice, times = Counter(ids).most_common(1)[0]
        if times > 1:
            raise InputError("a template asks for an id once", f"{name} has {twice!r} {times} times", remedy)


def load_template(
    competition: Competition, raw: Path, manifest: Manifest, file: Path | None = None
) -> Template:
    """The template of a competition: its file in the raw folder (or in an archive there), ``file``, or one made from the test rows.

    Raises
    ------
    InputError
        If the file is missing, lacks the id or a target column, or spells ids so that one could mean several samples.
    """
    facts = competition.facts.template
    samples = list(manifest.test["id"])
    if facts.file == "made" and file is None:
        target = facts.target if isinstance(facts.target, str) else "label"
        template = made_template(samples, facts.id, target, facts.kind)
    else:
        table = read_table(file) if file else parse_table(RawTree(raw).read(facts.file), facts.file)
        template = _by_facts(table, facts, samples)
    return replace(
        template,
        decimals=facts.decimals,
        k=facts.k,
        positive=facts.positive,
        separator=facts.separator,
        empty=facts.empty,
        bounds=competition.facts.range,
    )


def _by_facts(table: Table, facts: TemplateFacts, samples: Sequence[str]) -> Template:
    found = from_table(table, facts.id, facts.target, facts.kind)
    sample_ids = tuple(match_ids(found.ids, samples, table.name))
    return replace(found, sample_ids=() if sample_ids == found.ids else sample_ids)


def match_ids(ids: Sequence[str], samples: Sequence[str], name: str) -> list[str]:
    """The sample that each id of a table means: its own, or the one that differs in an image's suffix or in Unicode form.

    Other spellings count only where every id finds its one sample by them; else the ids come back as they are, for
    the checks to say what is missing.

    Raises
    ------
    InputError
        If an id fits several samples, or two ids one; ``name`` is the table's.
    """
    known = set(samples)
    if known.issuperset(ids) or len(set(ids)) < len(ids):
        return list(ids)
    loosely: dict[str, list[str]] = {}
    for sample in known:
        loosely.setdefault(_loose(sample), []).append(sample)
    fitting = [
        [i] if i in known else sorted(s for s in loosely.get(_loose(i), ()) if _fits(i, s)) for i in ids
    ]
    if not all(fitting):
        return list(ids)
    remedy = "write the ids as the samples have them, suffix included"
    for one, fits in zip(ids, fitting, strict=True):
        if len(fits) > 1:
            value = f"{name}: {one!r} fits {', '.join(repr(f) for f in fits[:3])}"
            raise InputError("an id means one sample", value, remedy)
    found = [fits[0] for fits in fitting]
    twice, times = Counter(found).most_common(1)[0]
    if times > 1:
        both = [i for i, sample in zip(ids, found, strict=True) if sample == twice][:2]
        value = f"{name}: {both[0]!r} and {both[1]!r} both fit {twice!r}"
        raise InputError("an id means one sample", value, remedy)
    return found


def _loose(name: str) -> str:
    return nfc(without_suffix(name))


def _fits(one: str, other: str) -> bool:
    """Whether two spellings are equal, one of them perhaps without its suffix: ``a.jpg`` is not ``a.png``."""
    a, b = nfc(one), nfc(other)
    return a == b or without_suffix(a) == b or a == without_suffix(b)


def from_table(table: Table, id_column: str, target: str | tuple[str, ...], kind: str) -> Template:
    """A template from a table; probs with ``target = "*"`` means every column but the id."""
    id_place = table.place(id_column)
    if target == "*":
        places = tuple(i for i in range(len(table.header)) if i != id_place)
    else:
        places = tuple(table.place(name) for name in ([target] if isinstance(target, str) else target))
    if id_place in places or not places or len(set(places)) < len(places):
        value = f"{table.name}: id {id_column!r}, target {target!r}"
        raise InputError(
            "id and target must be different columns", value, "correct [template] in competition.toml"
        )
    table.require_once([id_place, *places])
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
        return read_file(path)
    except OSError as error:
        raise InputError(
            "the submission must exist", f"{path}: {error.strerror}", "`comp runs` names the CSV of each run"
        ) from error


@dataclass(frozen=True)
class Dataset:
    """What a raw folder holds: ``manifest`` its rows, ``template`` what is asked for, ``source`` the images by path."""

    competition: Competition
    raw: Path
    manifest: Manifest
    labels: LabelMap
    template: Template
    source: ImageSource

    @property
    def is_sample(self) -> bool:
        """Whether the raw folder was made up by ``comp data --sample``."""
        return (self.raw / SAMPLE_MARK).is_file()

    def with_manifest(self, manifest: Manifest) -> Dataset:
        """The same folder with other rows, or more known of them."""
        return replace(self, manifest=manifest)


def _with_other_labels_noted(manifest: Manifest, competition: Competition, raw: Path, file: Path) -> Manifest:
    """A manifest of a table with a note of how many of the labels that it is scored by are not the competition's."""
    try:
        known = competition.read(raw).train
    except Exception:  # it may be there because nothing else can be read
        return manifest
    task, rows = Task(competition.facts.task), manifest.train

    def same(one: str, other: str) -> bool:
        parts = [sorted(task.parts(label)) for label in (one, other)]
        values = [[number_of(part) for part in each] for each in parts]
        return parts[0] == parts[1] or (values[0] == values[1] and None not in values[0])

    stated = dict(zip(known["id"], known["label"], strict=True))
    pairs = zip(rows["id"], rows["label"], strict=True)
    others = [i for i, label in pairs if i in stated and not same(label, stated[i])]
    if not others:
        return manifest
    note = (
        f"{len(others)} of {len(rows)} labels of {file.name} are not the competition's, first of {others[0]!r}: "
        f"the score is by the file's; one that is only to train with keeps the other in {ORIGINAL}"
    )
    return replace(manifest, notes=(*manifest.notes, note))


def read_dataset(
    competition: Competition,
    raw: Path,
    manifest_file: Path | None = None,
    extra_file: Path | None = None,
    corrections: Mapping[str, str] | None = None,
) -> Dataset:
    """Reads a raw folder, or with ``manifest_file`` the rows of a table; ``extra_file`` has rows that only ever train,
    ``corrections`` are labels by id to train with, where the table has none of its own.

    Raises
    ------
    InputError
        For a raw folder in another layout, and for tables that are not what the competition's facts say.
    """
    task = Task(competition.facts.task)
    if manifest_file is None:
        manifest = competition.read(raw)
    else:
        competition.require_layout(raw)
        manifest = by_row(Manifest.read_csv(manifest_file))
        if soft_columns(manifest.table):
            from comp.data.soft_rows import settled_soft

            table, _ = settled_soft(manifest.table, task, str(manifest_file))
            manifest = replace(manifest, table=table)
        manifest = competition.tidied(manifest, raw)
        manifest = _with_other_labels_noted(manifest, competition, raw, manifest_file)
    if extra_file is not None:
        manifest = competition.tidied(with_extra(manifest, extra_file, task), raw)
    if corrections and TRAINING not in manifest.table:
        manifest = with_corrections(manifest, corrections)
    labels = competition.label_map(manifest, raw)
    if TRAINING in manifest.table:
        manifest = settled(manifest, labels, str(manifest_file or "the manifest"))
    if soft_columns(manifest.table):
        from comp.data.soft_rows import with_class_names

        manifest = with_class_names(manifest, labels)
    if labels.task.unknown:
        manifest = with_unknown(manifest, labels, competition.facts.unknown_classes)
    if has_several(manifest):
        require_pool(competition.facts.pool, labels)
    template = load_template(competition, raw, manifest)
    source = competition.source(raw)
    source = with_files(source) if len(manifest.extra) else source
    manifest = with_features(manifest, competition)
    if feature_columns(manifest.table.columns):
        source = with_side(source, manifest.table)
    return Dataset(competition, raw, manifest, labels, template, source)


def with_features(manifest: Manifest, competition: Competition) -> Manifest:
    """A manifest with a note of its side features; InputError where rows lack those that competition.toml asks for."""
    names = feature_columns(manifest.table.columns)
    asked = competition.facts.data.features if competition.facts.data else ()
    if asked and not names:
        value = f"[data] features = {list(asked)}; the manifest has no column {FEATURE}NAME"
        raise InputError("rows have the features that are asked for", value, "add the columns to it")
    if not names:
        return manifest
    if has_several(manifest):
        value = f"{len(names)} features beside rows of several images"
        raise InputError("features stand beside one image a row", value, "drop `features`, or `row`")
    missing = {name: int(manifest.table[name].fillna("").map(is_missing).sum()) for name in names}
    gaps = [
        f"{name.removeprefix(FEATURE)} is missing in {count:,} rows"
        for name, count in missing.items()
        if count
    ]
    told = f"{len(names)} side features" + (f": {', '.join(gaps[:4])}" if gaps else "")
    return replace(manifest, notes=(*manifest.notes, told))
