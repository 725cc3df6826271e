"""A competition: the facts of its competition.toml and the adapter beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from comp.config import ConfigTable, validate
from comp.data.archives import STREAMS, SUFFIXES
from comp.data.competitions.adapter import Adapter, import_adapter
from comp.data.images.raw_tree import RawTree
from comp.errors import InputError, RawDataError, RecipeError
from comp.files import read_toml

if TYPE_CHECKING:
    from comp.data.images.source import ImageSource
    from comp.data.labels import LabelMap
    from comp.data.manifest import Manifest
    from comp.metrics import Metric


def _require_inside(path: str) -> None:
    """ValueError for what is no path or glob relative to the raw folder."""
    parts = path.split("/")
    wrong = not path or path.startswith("/") or ".." in parts or any(len(part) > 255 for part in parts)
    if wrong or any(ord(sign) < 32 for sign in path) or any("**" in part and part != "**" for part in parts):
        raise ValueError("a path or glob is relative to the raw folder, and stays in it")


class Layout(ConfigTable):
    """What the raw folder must hold: ``required`` are paths or globs; ``train`` and ``test`` globs of images.

    ``archives`` are the files of the download that may lie there instead, as they came; ``ignore`` are globs of
    images that are known and left out.
    """

    required: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    train: str = ""
    test: str = ""
    ignore: tuple[str, ...] = ()
    needs_data: bool = True

    @field_validator("required", "archives", "ignore", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("required", "archives", "train", "test", "ignore")
    @classmethod
    def _of_the_raw_folder(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for path in (value,) if isinstance(value, str) else value:
            if path or not isinstance(value, str):
                _require_inside(path)
        return value


class TemplateFacts(ConfigTable):
    """The sample submission: its file in the raw folder (or "made"), its id and target columns, and what the target is.

    ``decimals`` are those of written probabilities (``probs``); ``k`` how many classes a row of ``topk`` names, best
    first, with a space between them.
    """

    file: str = "made"
    id: str = "id"
    target: str | tuple[str, ...] = "label"
    kind: Literal["index", "label", "probs", "topk"] = "label"
    decimals: int = Field(8, ge=1, le=12)
    k: int = Field(5, ge=1, le=10_000)

    @field_validator("file")
    @classmethod
    def _of_the_raw_folder(cls, value: str) -> str:
        _require_inside(value)
        return value

    @field_validator("target", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class CheckFacts(ConfigTable):
    """``allow``: checks whose errors become warnings here, each with its reason."""

    allow: dict[str, str] = Field(default_factory=dict)


class CompetitionConfig(ConfigTable):
    """Everything in a competition.toml."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    title: str
    url: str = ""
    metric: str = Field("accuracy", description="by name, or adapter:function")
    metric_direction: Literal["max", "min"] = Field("max", description="of adapter:function")
    metric_input: Literal["probs", "index"] = Field(
        "probs", description="what adapter:function judges: probabilities, or the answered class indices"
    )
    metric_classes: Literal["present", "all"] = Field(
        "present",
        description="a macro average is over the classes that rows have or answers name, or over all of the label map",
    )
    classes: tuple[str, ...] | Literal["discover"] = "discover"
    score_scale: float = Field(1.0, gt=0)
    kaggle: str = ""
    public_share: float | None = Field(
        None, gt=0, le=1, description="part of the test rows that the public leaderboard is of"
    )
    pairs: Literal["filename", "position"] = "filename"
    order: Literal["natural", "text", "array", "table"] = "natural"
    layout: Layout = Layout()
    template: TemplateFacts = TemplateFacts()
    check: CheckFacts = CheckFacts()
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the adapter's functions"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def read_facts(path: Path) -> CompetitionConfig:
    """Reads a competition.toml; every mistake in it is told at once, with its dotted path."""
    return validate(CompetitionConfig, read_facts_table(path), f"{path}")


def read_facts_table(path: Path) -> dict[str, Any]:
    """A competition.toml as the table that it is, not yet judged.

    Raises
    ------
    InputError
        If it is no readable TOML.
    """
    return read_toml(path, "competition.toml")


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
    def adapter(self) -> Adapter:
        return import_adapter(self.file("adapter.py"), self.slug, self.facts.options)

    @property
    def direction(self) -> str:
        """Which end of the metric is better, "max" or "min"; known without the adapter's code."""
        from comp.metrics import metric_by_name

        if self.facts.metric.startswith("adapter:"):
            return self.facts.metric_direction
        return metric_by_name(self.facts.metric).direction

    @property
    def metric(self) -> Metric:
        from comp.metrics import metric_by_name, own_metric

        facts = self.facts
        if not facts.metric.startswith("adapter:"):
            return metric_by_name(facts.metric, facts.metric_classes == "all")
        if facts.metric_classes == "all":
            value = f'metric_classes = "all" beside metric = {facts.metric!r}'
            raise RecipeError(
                "metric_classes is for the macro averages of comp", value, "drop metric_classes"
            )
        name = facts.metric.removeprefix("adapter:")
        if not self.adapter.has(name):
            value = f"{self.file('adapter.py')} has no function {name!r}"
            raise InputError('metric = "adapter:function" names one of the adapter\'s', value, "define it")
        function = self.adapter.function(name)
        return own_metric(name, function, facts.metric_direction, facts.metric_input)

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
        self.require_layout(raw)
        manifest = self.tidied(self.adapter.read(raw), raw)
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

        if self.facts.layout.needs_data and not raw.is_dir():
            remedy = f"`comp data {self.slug}` says what goes where; or name the folder with --data"
            raise RawDataError("the rows to predict must be there", f"{raw} is not a folder", remedy)
        try:
            found = self.adapter.read_test(raw)
        except (InputError, OSError) as error:
            if self.adapter.has("read_test") or not self.missing(raw):
                raise
            value = f"{self.file('adapter.py')} has no read_test(raw), and its read says: {error}"
            remedy = (
                "complete the folder, or define read_test: the test rows of a folder without its train part"
            )
            raise RawDataError("the rows to predict must be readable alone", value, remedy) from error
        if not len(found.test):
            value = f"{raw} has no test images"
            raise RawDataError("there must be rows to predict", value, f"see `comp data {self.slug}`")
        return without_test_labels(replace(found, table=found.test))

    def tidied(self, manifest: Manifest, raw: Path) -> Manifest:
        """The manifest with labels as the label map spells them (stray spaces, a BOM and case do not count), and test
        rows without any.
        """
        from comp.data.labels import tidy_labels, without_test_labels

        return tidy_labels(without_test_labels(manifest), self.classes(raw))

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
        remedy = f"`comp data {self.slug}` says what goes where; or name the folder with --data"
        if not raw.is_dir():
            raise RawDataError(f"the raw data of {self.slug} must be there", f"{raw} is not a folder", remedy)
        missing = self.missing(raw)
        if missing:
            from comp.data.images.source import describe_folder

            value = f"{raw} lacks {', '.join(missing)}; it holds {describe_folder(raw)}"
            raise RawDataError(f"the raw folder must be laid out as {self.slug}", value, remedy)

    def source(self, raw: Path) -> ImageSource:
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
        if not callable(getattr(given, "load", None)):
            value = f"{file}: source(raw) gave {type(given).__name__}"
            raise InputError(
                "a source has load(path)", value, "return an ArraySource, a RawTree, or your own"
            )
        return AdapterSource(given, file)

    def label_map(self, manifest: Manifest, raw: Path | None = None) -> LabelMap:
        """The label map of the facts, else of the raw folder, else the one discovered in the training rows."""
        from comp.data.labels import LabelMap

        stated = (
            self.facts.classes if self.facts.classes != "discover" else self.classes(raw) if raw else None
        )
        if stated is None:
            return LabelMap.discover(label for label in manifest.train["label"] if label)
        return LabelMap(stated)


def _exists(raw: Path, pattern: str) -> bool:
    if any(c in pattern for c in "*?["):
        return next(raw.glob(pattern), None) is not None
    target = raw / pattern
    return target.is_dir() and any(target.iterdir()) if pattern.endswith("/") else target.exists()


def _in_archive(raw: Path, pattern: str) -> bool:
    """Whether a zip there holds what the layout requires, or a tar of its name, which is only looked into by ``read``."""
    top = pattern.strip("/").split("/", 1)[0]
    if any((raw / f"{top}{suffix}").is_file() for suffix in (*SUFFIXES, *STREAMS) if suffix != ".zip"):
        return True
    if not raw.is_dir() or not any(raw.glob("*.[zZ][iI][pP]")):
        return False
    tree = RawTree(raw)
    if any(c in pattern for c in "*?["):
        return bool(tree.glob(pattern))
    return any(
        path.startswith(pattern) if pattern.endswith("/") else path == pattern for path in tree.archived
    )
