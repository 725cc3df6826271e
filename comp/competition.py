"""A competition: the facts of its competition.toml and the adapter beside it."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from comp.errors import InputError, RawDataError, RecipeError

if TYPE_CHECKING:
    from comp.images.source import ImageSource
    from comp.labels import LabelMap
    from comp.manifest import Manifest
    from comp.metrics import Metric


Model = TypeVar("Model", bound=BaseModel)


class Facts(BaseModel):
    """Frozen, strict, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Layout(Facts):
    """What the raw folder must hold: ``required`` are paths or globs; ``train`` and ``test`` globs of images."""

    required: tuple[str, ...] = ()
    train: str = ""
    test: str = ""
    needs_data: bool = True

    @field_validator("required", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class TemplateFacts(Facts):
    """The sample submission: its file in the raw folder (or "made"), its id and target columns, and what the target is."""

    file: str = "made"
    id: str = "id"
    target: str | tuple[str, ...] = "label"
    kind: Literal["index", "label", "probs", "topk"] = "label"

    @field_validator("target", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class CheckFacts(Facts):
    """``allow``: checks whose errors become warnings here, each with its reason."""

    allow: dict[str, str] = Field(default_factory=dict)


class CompetitionFacts(Facts):
    """Everything in a competition.toml."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    url: str = ""
    metric: str = "accuracy"
    classes: tuple[str, ...] | Literal["discover"] = "discover"
    score_scale: float = 1.0
    kaggle: str = ""
    pairs: Literal["filename", "position"] = "filename"
    order: Literal["natural", "text", "array", "table"] = "natural"
    layout: Layout = Layout()
    template: TemplateFacts = TemplateFacts()
    check: CheckFacts = CheckFacts()

    @field_validator("classes", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Adapter(Protocol):
    """What ``adapter.py`` defines. ``source(raw)`` and ``download(raw)`` may be absent."""

    def read(self, raw: Path) -> Manifest:
        """The file layout and the labels, in the order of the source."""

    def sample(self, raw: Path, seed: int) -> None:
        """Writes a small made-up raw folder in exactly the real layout."""


class Competition:
    """The facts of a competition and its adapter, which is imported only when it is asked for."""

    def __init__(self, folder: Path, facts: CompetitionFacts) -> None:
        self.folder = folder
        self.facts = facts
        self._adapter: ModuleType | None = None

    @property
    def slug(self) -> str:
        return self.facts.slug

    @property
    def adapter(self) -> Adapter:
        if self._adapter is None:
            self._adapter = _import_adapter(self.folder / "adapter.py", self.slug)
        return cast(Adapter, self._adapter)

    @property
    def metric(self) -> Metric:
        from comp.metrics import metric_by_name

        return metric_by_name(self.facts.metric)

    def has_data(self, raw: Path) -> bool:
        """Whether everything that the layout requires is there."""
        return not self.missing(raw)

    def missing(self, raw: Path) -> list[str]:
        """What the layout requires and ``raw`` lacks."""
        if not self.facts.layout.needs_data:
            return []
        return [pattern for pattern in self.facts.layout.required if not _exists(raw, pattern)]

    def read(self, raw: Path) -> Manifest:
        """The manifest, once the raw folder is known to be this competition's.

        Raises
        ------
        RawDataError
            If the folder is missing, empty, or in another layout.
        """
        self.require_layout(raw)
        manifest = self.adapter.read(raw)
        if not len(manifest.train):
            value = f"{raw} has no training images"
            raise RawDataError("a competition needs labelled images", value, f"see `comp data {self.slug}` for the layout")
        return manifest

    def require_layout(self, raw: Path) -> None:
        """Refuses a raw folder that is missing, empty, or not in this competition's layout."""
        if not self.facts.layout.needs_data:
            return
        remedy = f"`comp data {self.slug}` says what goes where; or name the folder with --data"
        if not raw.is_dir():
            raise RawDataError(f"the raw data of {self.slug} must be there", f"{raw} is not a folder", remedy)
        missing = self.missing(raw)
        if missing:
            from comp.images.source import describe_folder

            value = f"{raw} lacks {', '.join(missing)}; it holds {describe_folder(raw)}"
            raise RawDataError(f"the raw folder must be laid out as {self.slug}", value, remedy)

    def source(self, raw: Path) -> ImageSource:
        """Where the images' bytes come from: the adapter's own source, else the files of the raw folder."""
        make = getattr(self.adapter, "source", None)
        if make is not None:
            return cast("ImageSource", make(raw))
        from comp.images.source import RawTree

        return RawTree(raw)

    def label_map(self, manifest: Manifest) -> LabelMap:
        """The label map of the facts, or the one discovered in the training rows."""
        from comp.labels import LabelMap

        if self.facts.classes == "discover":
            return LabelMap.discover(label for label in manifest.train["label"] if label)
        return LabelMap(self.facts.classes)


def read_facts(path: Path) -> CompetitionFacts:
    """Reads a competition.toml; every mistake in it is told at once, with its dotted path."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("competition.toml must be readable TOML", f"{path}: {error}", "correct the file") from error
    return validate(CompetitionFacts, table, f"{path}")


def validate(model: type[Model], table: dict[str, Any], name: str) -> Model:
    """A pydantic model from a TOML table; raises RecipeError with one line for each mistake."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise RecipeError(f"{name} has {error.error_count()} mistake(s)", "\n".join(_told(e) for e in error.errors()), "correct them") from None


def _told(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: no such key"
    return f"{path}: {error['msg'][:1].lower()}{error['msg'][1:]}, found {error['input']!r}"


def _exists(raw: Path, pattern: str) -> bool:
    if any(c in pattern for c in "*?["):
        return next(raw.glob(pattern), None) is not None
    target = raw / pattern
    return target.is_dir() and any(target.iterdir()) if pattern.endswith("/") else target.exists()


def _import_adapter(path: Path, slug: str) -> ModuleType:
    name = f"comp_adapter_{slug.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError("a competition needs an adapter.py", f"{path} is not there", "`comp new SLUG` scaffolds one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError("adapter.py must import", f"{path}: {type(error).__name__}: {error}", "correct the adapter") from error
    for needed in ("read", "sample"):
        if not callable(getattr(module, needed, None)):
            raise InputError("an adapter defines read(raw) and sample(raw, seed)", f"{path} lacks {needed}", "add it")
    return module
