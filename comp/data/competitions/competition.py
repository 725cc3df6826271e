"""Competitions: one by its facts and adapter, and all that the workspace, this package and plug-ins have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp._version import PACKAGE
from comp.config import deep_merge, validate
from comp.data.archives import STREAMS, SUFFIXES, how_to_unpack, is_archive
from comp.data.competitions.facts import Adapter, CompetitionConfig, import_adapter, read_facts_table
from comp.data.competitions.facts_adapter import FactsAdapter
from comp.data.images.raw_tree import RawTree
from comp.data.task import Task
from comp.errors import InputError, RawDataError, RecipeError, UnknownName
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.data.images.source import ImageSource
    from comp.data.labels import LabelMap
    from comp.data.manifest import Manifest
    from comp.metrics import Metric


class Competition:
    """The facts of a competition and its adapter, which is imported only when it is asked for.

    ``base`` is the competition that this one overlays, if any: files that ``folder`` lacks are the base's.
    """

    def __init__(self, folder: Path, facts: CompetitionConfig, base: Competition | None = None) -> None:
        self.folder = folder
        self.facts = facts
        self.base = base

    @property
    def slug(self) -> str:
        return self.facts.slug

    @cached_property
    def adapter(self) -> Adapter | FactsAdapter:
        """What reads the raw folder: the code of adapter.py, or [data] with what an adapter.py beside it defines."""
        path = self.file("adapter.py")
        if self.facts.data is None:
            return import_adapter(path, self.slug, self.facts.options)
        code = import_adapter(path, self.slug, self.facts.options, ()) if path.is_file() else None
        if code is None and self.facts.options:
            value = f"{', '.join(self.facts.options)}: {path} is not there"
            raise InputError("[options] are what an adapter.py takes", value, "take [options] out")
        return FactsAdapter(self.facts, str(self.file("competition.toml")), code)

    @property
    def direction(self) -> str:
        """Which end of the metric is better, "max" or "min"; known without the adapter's code."""
        from comp.metrics import metric_by_name

        if self.facts.metric.startswith("adapter:"):
            return self.facts.metric_direction
        return metric_by_name(self.facts.metric, task=self.facts.task).direction

    @property
    def metric(self) -> Metric:
        from comp.metrics import metric_by_name, own_metric

        facts = self.facts
        if not facts.metric.startswith("adapter:"):
            return metric_by_name(facts.metric, facts.metric_classes == "all", facts.task)
        if facts.metric_classes == "all":
            value = f'metric_classes = "all" beside metric = {facts.metric!r}'
            raise RecipeError(
                "metric_classes is for the macro averages of comp", value, "drop metric_classes"
            )
        if facts.metric_input == "index" and facts.task in ("multi-label", "regression"):
            value = f'metric_input = "index" beside task = {facts.task!r}'
            raise RecipeError("only one class a row has an index", value, 'metric_input = "probs"')
        name = facts.metric.removeprefix("adapter:")
        if not self.adapter.has(name):
            value = f"{self.file('adapter.py')} has no function {name!r}"
            raise InputError('metric = "adapter:function" names one of the adapter\'s', value, "define it")
        function = self.adapter.function(name)
        return own_metric(name, function, facts.metric_direction, facts.metric_input, facts.task)

    def file(self, name: str) -> Path:
        """A file of the competition's folder, or of the one that it overlays."""
        own = self.folder / name
        return own if own.exists() or self.base is None else self.base.file(name)

    def has_data(self, raw: Path) -> bool:
        """Whether everything that the layout requires is there."""
        return not self.missing(raw)

    def missing(self, raw: Path) -> list[str]:
        """What the layout requires and ``raw`` lacks, on disk and in the archives that lie there."""
        if not self.facts.layout.needs_data:
            return []
        absent = [pattern for pattern in self.facts.layout.required if not _exists(raw, pattern)]
        return [pattern for pattern in absent if not _in_archive(raw, pattern)]

    def read(self, raw: Path) -> Manifest:
        """The manifest, once the raw folder is known to be this competition's; labels are tidied, and that is noted.

        Raises
        ------
        RawDataError
            If the folder is missing, empty, or in another layout.
        """
        from comp.data.several_images import by_row

        self.require_layout(raw)
        manifest = self.tidied(by_row(self.adapter.read(raw)), raw)
        if not len(manifest.train):
            value = f"{raw} has no training images"
            raise RawDataError(
                "a competition needs labelled images", value, f"see `comp data {self.slug}` for the layout"
            )
        return manifest

    def read_test(self, raw: Path) -> Manifest:
        """The rows to predict, of a raw folder whose train part may be absent (a competition with a hidden test set).

        Raises
        ------
        RawDataError
            If the folder is missing, holds no test images, or cannot be read without its train part.
        """
        from comp.data.labels import without_test_labels
        from comp.data.several_images import by_row

        if self.facts.layout.needs_data and not raw.is_dir():
            remedy = f"`comp data {self.slug}` says what goes where; or name the folder with `data=DIR`"
            raise RawDataError("the rows to predict must be there", f"{raw} is not a folder", remedy)
        try:
            found = self.adapter.read_test(raw)
        except (InputError, OSError) as error:
            if self.adapter.has("read_test") or not self.missing(raw):
                raise
            value = f"{self.file('adapter.py')} has no read_test(raw), and its read says: {error}"
            remedy = "complete the folder, or define read_test: its test rows without a train part"
            raise RawDataError("the rows to predict must be readable alone", value, remedy) from error
        if not len(found.test):
            value = f"{raw} has no test images"
            raise RawDataError("there must be rows to predict", value, f"see `comp data {self.slug}`")
        return without_test_labels(by_row(replace(found, table=found.test)))

    def tidied(self, manifest: Manifest, raw: Path) -> Manifest:
        """The manifest with labels as the label map spells them (stray spaces, a BOM and case do not count), and test
        rows without any.
        """
        from comp.data.labels import tidy_labels, without_test_labels

        return tidy_labels(without_test_labels(manifest), self.classes(raw), Task(self.facts.task))

    def classes(self, raw: Path) -> tuple[str, ...] | None:
        """The class names in index order, by the facts or the raw folder; None where they are found in the rows."""
        if self.facts.classes != "discover":
            return self.facts.classes
        return self.adapter.classes(raw) if self.adapter.has("classes") else None

    def states_order(self, raw: Path) -> bool:
        """Whether the order of the classes is stated: in competition.toml, or by the adapter in another order than a
        listing has.
        """
        from comp.data.labels import is_sorted

        if self.facts.classes != "discover":
            return True
        found = self.classes(raw)
        return found is not None and not is_sorted(found)

    def require_layout(self, raw: Path) -> None:
        """Refuses a raw folder that is missing, empty, or not in this competition's layout."""
        if not self.facts.layout.needs_data:
            return
        remedy = f"`comp data {self.slug}` says what goes where; or name the folder with `data=DIR`"
        if not raw.is_dir():
            raise RawDataError(f"the raw data of {self.slug} must be there", f"{raw} is not a folder", remedy)
        missing = self.missing(raw)
        if missing:
            if self.facts.data is not None:
                remedy += f"; if a file has another name, correct [data] in {self.file('competition.toml')}"
            from comp.data.images.source import describe_folder

            value = f"{raw} lacks {', '.join(missing)}; it holds {describe_folder(raw)}"
            packed = {path.name: how for path in sorted(raw.iterdir()) if (how := how_to_unpack(path.name))}
            if packed:
                value += f"; {', '.join(packed)} cannot be read as it is"
                remedy = "; ".join(packed.values())
            raise RawDataError(f"the raw folder must be laid out as {self.slug}", value, remedy)

    def source(self, raw: Path) -> ImageSource:
        """Where images come from, by the scale and the boxes that the facts state; raises as ``unscaled_source``."""
        if self.facts.images is None and not self.facts.has_boxes:
            return self.unscaled_source(raw)
        from comp.data.competitions.stated_source import stated_source

        return stated_source(self.facts, raw, self.unscaled_source, self.read)

    @property
    def channels(self) -> int | None:
        """How many channels a network reads of the images; None of photographs."""
        if self.facts.images is None:
            return None
        from comp.data.images.scale import pixel_channels

        return pixel_channels(self.facts.images.channels)

    def unscaled_source(self, raw: Path) -> ImageSource:
        """Where the images' bytes come from: the adapter's own source, else the files of the raw folder.

        Raises
        ------
        InputError
            If the adapter's ``source`` gives nothing with a ``load``.
        """
        if not self.adapter.has("source"):
            return RawTree(raw)
        from comp.data.images.source import AdapterSource

        given, file = self.adapter.source(raw), self.file("adapter.py")
        if type(given) is RawTree and given.raw == raw:
            return given
        if isinstance(self.adapter, FactsAdapter) and not self.adapter.codes("source"):
            return given  # from shards
        if not callable(getattr(given, "load", None)):
            value = f"{file}: source(raw) gave {type(given).__name__}"
            raise InputError(
                "a source has load(path)", value, "return an ArraySource, a RawTree, or your own"
            )
        return AdapterSource(given, self.adapter, raw)

    def label_map(self, manifest: Manifest, raw: Path | None = None) -> LabelMap:
        """The label map of the facts, else of the raw folder, else the one discovered in the training rows."""
        from comp.data.labels import LabelMap, regression_labels

        if self.facts.task == "regression":
            return regression_labels(self.target_columns, manifest.train, self.facts.range)
        task = Task(self.facts.task, unknown=self.facts.unknown)
        stated = (
            self.facts.classes if self.facts.classes != "discover" else self.classes(raw) if raw else None
        )
        if stated is None:
            stated = LabelMap.discover((label for label in manifest.train["label"] if label), task).names
        stated = (*stated, *({task.unknown} - {"", *stated}))
        last, places = self.facts.template.positive, self.facts.template.kind == "index"
        if last in stated and len(stated) == 2 and not places:  # metrics of two classes look at the second
            stated = (*(name for name in stated if name != last), last)
        return LabelMap(stated, task)

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns of numbers that a regression asks for, in the order of the numbers of a label."""
        facts = self.facts
        if facts.classes != "discover":
            return facts.classes
        return (facts.template.target,) if isinstance(facts.template.target, str) else facts.template.target


def _exists(raw: Path, pattern: str) -> bool:
    if any(c in pattern for c in "*?["):
        return next(raw.glob(pattern), None) is not None
    target = raw / pattern
    return target.is_dir() and any(target.iterdir()) if pattern.endswith("/") else target.exists()


def _in_archive(raw: Path, pattern: str) -> bool:
    """Whether an archive there holds what the layout requires; one of its own name is only looked into by ``read``."""
    top = pattern.strip("/").split("/", 1)[0]
    if any((raw / f"{top}{suffix}").is_file() for suffix in (*SUFFIXES, *STREAMS) if suffix != ".zip"):
        return True
    if not raw.is_dir() or not any(is_archive(path.name) for path in raw.iterdir()):
        return False
    tree = RawTree(raw)
    if any(c in pattern for c in "*?["):
        return bool(tree.glob(pattern))
    return any(
        path.startswith(pattern) if pattern.endswith("/") else path == pattern for path in tree.archived
    )


ENTRY_POINTS = "comp.competitions"
_NAMED = re.compile(r"""^\s*(slug|extends)\s*=\s*["']([^"'\r\n]{1,200})["']""", re.MULTILINE)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_LOOKED_AT = 1 << 16  # bytes of an unreadable file in which its slug is looked for


@dataclass(frozen=True)
class Broken:
    """A competition that cannot be used: its folder, the slugs that it may have been meant for, and its mistakes."""

    folder: Path
    slugs: tuple[str, ...]
    error: InputError

    def __str__(self) -> str:
        return f"{self.folder}: {'; '.join(str(self.error).splitlines())}"


@dataclass(frozen=True)
class Registry:
    """What there is: the ``competitions`` that can be used, by slug in alphabetical order, and the ``broken`` ones.

    No broken one stops another, but a slug that a broken one claims is not to be used either: an overlay that cannot be
    read may have changed the metric.
    """

    competitions: dict[str, Competition]
    broken: list[Broken] = field(default_factory=list)

    def get(self, slug: str) -> Competition:
        """The competition of a slug.

        Raises
        ------
        InputError
            The mistakes of a broken one of that slug; UnknownName, with near ones, where there is none.
        """
        if slug in self.competitions:
            return self.competitions[slug]
        for one in self.broken:
            if slug in one.slugs:
                raise one.error
        remedy = "`comp list` shows them all"
        if Path(slug).is_dir():
            remedy += f"; the folder of that name is ./{slug}"
        if self.broken:
            remedy += f"; {len(self.broken)} cannot be read, first {self.broken[0].folder}"
        raise UnknownName("competition", slug, self.competitions, remedy)


def built_in_folder() -> Path:
    """``comp/builtin`` in an installed wheel, ``competitions`` beside the package in a checkout."""
    inside = PACKAGE / "builtin"
    return inside if inside.is_dir() else PACKAGE.parent / "competitions"


def find_competitions(workspace: Workspace) -> Registry:
    """Every competition that can be found, the broken ones apart.

    A competition.toml with ``extends = "SLUG"`` is laid over the competition of that slug: under the same slug (or
    without one) it takes its place, under another it stands beside it. Folders that claim one slug are broken, all.
    """
    broken: list[Broken] = list(_broken_plugins())
    plain: list[Competition] = []
    overlays: list[tuple[Path, dict[str, Any]]] = []
    for folder in _folders(workspace):
        path = folder / "competition.toml"
        table: dict[str, Any] | None = None
        try:
            table = read_facts_table(path)
            if "extends" in table:
                overlays.append((folder, table))
            else:
                plain.append(Competition(folder, validate(CompetitionConfig, table, str(path))))
        except InputError as error:
            broken.append(Broken(folder, _claims(folder, table), error))
    bases, doubled = _each_once(plain)
    broken += doubled
    laid: list[Competition] = []
    for folder, table in overlays:
        try:
            laid.append(_overlay(folder, table, bases, broken))
        except InputError as error:
            broken.append(Broken(folder, _claims(folder, table), error))
    beside = [
        one for one in bases.values() if one not in [over.base for over in laid if over.slug == one.slug]
    ]
    usable, doubled = _each_once([*beside, *laid])
    broken += doubled
    refused = {slug for one in broken for slug in one.slugs}
    return Registry({slug: usable[slug] for slug in sorted(usable) if slug not in refused}, broken)


def sound_competitions(workspace: Workspace) -> dict[str, Competition]:
    """Every competition that can be used, by slug, in alphabetical order."""
    return find_competitions(workspace).competitions


SCAFFOLDS = PACKAGE / "data" / "competitions" / "scaffolds"  # its baseline.toml is one as it stands


def facts_beside_folds(slug: str, workspace: Workspace) -> Path:
    """Where the facts of a raw folder that was named instead of a competition are kept: with its folds, so that its runs
    can be asked later. No list shows them.
    """
    return workspace.folds(slug) / "competition.toml"


def find_competition(slug: str, workspace: Workspace) -> Competition:
    """The competition of that slug; InputError with its mistakes where it has some, UnknownName lists near ones."""
    registry = find_competitions(workspace)
    claimed = slug in registry.competitions or any(slug in one.slugs for one in registry.broken)
    if not claimed and _SLUG.fullmatch(slug):
        kept = facts_beside_folds(slug, workspace)
        if kept.is_file():
            return Competition(SCAFFOLDS, validate(CompetitionConfig, read_facts_table(kept), str(kept)))
    return registry.get(slug)


def _each_once(every: list[Competition]) -> tuple[dict[str, Competition], list[Broken]]:
    """The competitions whose slug no other claims, and those where others do."""
    claimed: dict[str, list[Competition]] = {}
    for one in every:
        claimed.setdefault(one.slug, []).append(one)
    single = {slug: same[0] for slug, same in claimed.items() if len(same) == 1}
    rule = "a slug names one competition"
    doubled = []
    for slug, same in claimed.items():
        if len(same) > 1:
            value = f"{slug!r} is claimed by {' and '.join(str(one.folder) for one in same)}"
            remedy = f'rename one of them, or lay it over the other: extends = "{slug}"'
            doubled.append(Broken(same[-1].folder, (slug,), InputError(rule, value, remedy)))
    return single, doubled


def _overlay(
    folder: Path, table: dict[str, Any], bases: dict[str, Competition], broken: list[Broken]
) -> Competition:
    path = folder / "competition.toml"
    name = table["extends"]
    remedy = f"correct `extends` in {path}"
    if not isinstance(name, str):
        raise InputError("extends names a competition", f"{path}: {name!r}", remedy)
    if name not in bases:
        for one in broken:
            if name in one.slugs:
                value = f"{path} extends {name!r}, which has mistakes of its own: {one.error}"
                raise InputError(
                    "an overlay needs the competition that it extends", value, "correct that first"
                )
        raise UnknownName(
            "competition to extend", name, bases, f"{remedy}; it names one that extends no other"
        )
    base = bases[name]
    over = {key: value for key, value in table.items() if key != "extends"}
    merged = deep_merge(read_facts_table(base.folder / "competition.toml"), over)
    return Competition(folder, validate(CompetitionConfig, merged, f"{path}"), base)


def _claims(folder: Path, table: dict[str, Any] | None) -> tuple[str, ...]:
    """The slugs that a broken competition.toml may have been meant for: what it says, as far as it can be read, or else
    the name of its folder.
    """
    by_folder = folder.name.replace("_", "-")
    if table is not None:
        slug = table.get("slug", table.get("extends"))
        if isinstance(slug, str) and _SLUG.fullmatch(slug):
            return (slug,)
        return (by_folder,)
    try:
        with (folder / "competition.toml").open("rb") as file:
            text = file.read(_LOOKED_AT).decode("utf-8", "replace")
    except OSError:
        return (by_folder,)
    said: dict[str, str] = dict(reversed(_NAMED.findall(text)))
    return tuple(dict.fromkeys((said.get("slug") or said.get("extends") or by_folder, by_folder)))


def _folders(workspace: Workspace) -> Iterator[Path]:
    """Every folder with a competition.toml, once (a checkout's own folder is a workspace's and the built-in one)."""
    seen: set[str] = set()
    for parent in (built_in_folder(), workspace.competitions, *_plugins()):
        for toml in sorted((*parent.glob("competition.toml"), *parent.glob("*/competition.toml"))):
            real = os.path.realpath(toml.parent)
            if real not in seen:
                seen.add(real)
                yield toml.parent


def _plugins() -> Iterator[Path]:
    """Folders of installed packages: an entry point names a package that is a competition folder or holds some."""
    for point in entry_points(group=ENTRY_POINTS):
        for place in _package(point.value) or ():
            yield Path(place)


def _broken_plugins() -> Iterator[Broken]:
    for point in entry_points(group=ENTRY_POINTS):
        if _package(point.value) is None:
            value = f"{point.name} = {point.value!r} is not a package that can be found"
            rule, remedy = (
                f"an entry point of {ENTRY_POINTS} names a package",
                "reinstall or remove the plug-in",
            )
            yield Broken(Path(point.value), (point.name,), InputError(rule, value, remedy))


def _package(name: str) -> list[str] | None:
    """The folders of a package, which is not imported; None where there is none of that name."""
    try:
        spec = find_spec(name.partition(":")[0])
    except Exception:  # of a package around it, which is
        return None
    return None if spec is None else list(spec.submodule_search_locations or ())
