"""What a competition states: its competition.toml, and the code of its adapter."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from comp.config import ConfigTable
from comp.data.competitions.array_facts import ArrayFacts
from comp.data.competitions.data_facts import DataFacts, as_glob, require_inside
from comp.data.task import TaskName
from comp.errors import CompError, InputError, shortened
from comp.files import read_toml

if TYPE_CHECKING:
    from comp.data.images.source import ImageSource
    from comp.data.manifest import Manifest


class Layout(ConfigTable):
    """What the raw folder must hold: ``required`` are paths or globs; ``train`` and ``test`` globs of images.

    ``archives`` are the files of the download that may lie there instead, as they came; ``ignore`` are globs of
    images that are known and left out.
    """

    required: tuple[str, ...] = Field(
        (), description="paths or globs that must be there; by [data] its files"
    )
    archives: tuple[str, ...] = Field((), description="files of the download that may lie there instead")
    train: str = Field("", description="a glob of the labelled images; by [data] its images")
    test: str = Field("", description="a glob of the images to predict; by [data] its test_images")
    ignore: tuple[str, ...] = Field((), description="globs of images that are known and left out")
    needs_data: bool = Field(True, description="false where the images come with a package")

    @field_validator("required", "archives", "ignore", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("required", "archives", "train", "test", "ignore")
    @classmethod
    def _of_the_raw_folder(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for path in (value,) if isinstance(value, str) else value:
            if path or not isinstance(value, str):
                require_inside(path)
        return value


TemplateKind = Literal["index", "label", "prob", "probs", "topk", "labels", "number"]


class TemplateFacts(ConfigTable):
    """The sample submission: its file in the raw folder (or "made"), its id and target columns, and what the target is.

    ``kind`` is the class index (``index``), its name (``label``), the probability of one class (``prob``: of
    ``positive``), a probability for each class (``probs``), the ``k`` likeliest names, best first (``topk``), every
    name that applies (``labels``, ``empty`` where none does), or a number a target column (``number``). ``separator``
    stands between the names of one cell. ``decimals`` are those of written probabilities and numbers; with 0 a
    probability is written as 0 or 1.
    """

    file: str = Field(
        "made", description="the sample submission in the raw folder, or made from the rows to predict"
    )
    id: str = Field("id", description="its column of ids")
    target: str | tuple[str, ...] = Field("label", description='its answer columns; "*" is all but the id')
    kind: TemplateKind = Field(
        "label",
        description="class index, class name, probability of one class, of each class, the k likeliest names, every name that applies, or numbers",
    )
    positive: str = Field("", description="the class whose probability a `prob` template asks for")
    separator: str = Field(" ", description="between the names of a cell of `topk` and `labels`")
    empty: str = Field("", description="the cell of a `labels` template where no class applies")
    decimals: int = Field(8, ge=0, le=12, description="of written probabilities and numbers")
    k: int = Field(5, ge=1, le=10_000, description="names of a cell of `topk`")

    @field_validator("file")
    @classmethod
    def _of_the_raw_folder(cls, value: str) -> str:
        require_inside(value)
        return value

    @field_validator("target", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class FoldFacts(ConfigTable):
    """How rows are dealt to folds: what is done about classes with fewer rows or groups than there are folds.

    ``error`` refuses them, ``pool`` lets them only train, ``spread`` deals them as far as they go, with a warning.
    """

    rare: Literal["error", "pool", "spread"] = Field(
        "error",
        description="classes smaller than the folds: refused, kept in training only, or dealt as far as they go",
    )


class PostFacts(ConfigTable):
    """What is done to the predictions of a group's rows together, wherever predictions are made.

    ``group`` is ``mean`` or ``max`` of each column over the rows of a group, or ``rank`` within it (0 to 1).
    """

    group: Literal["none", "mean", "max", "rank"] = Field(
        "none", description="of the predictions of a group's rows: their mean, maximum, or rank within it"
    )
    function: str = Field(
        "", pattern=r"^(adapter:\w+)?$", description="adapter:function(probs, groups) instead"
    )

    @property
    def is_asked(self) -> bool:
        return self.group != "none" or bool(self.function)


class CheckFacts(ConfigTable):
    """``allow``: checks whose errors become warnings here, each with its reason."""

    allow: dict[str, str] = Field(
        default_factory=dict, description="checks whose errors become warnings here, each with its reason"
    )


class KaggleFacts(ConfigTable):
    """A competition's name on Kaggle; and, where it is submitted by a notebook that is run again on rows that nobody has
    seen, how many these are and how long the notebook may take. ``kaggle = "NAME"`` alone is its ``slug``.
    """

    slug: str = Field("", description='the competition\'s name on Kaggle; `kaggle = "NAME"` for short')
    hidden_test: bool = Field(
        False,
        description="true where a notebook is run again on rows that nobody has seen: the visible ones only prove the format",
    )
    hidden_rows: int | None = Field(None, ge=1, description="about how many rows those are, by its page")
    gpu_hours: float = Field(9.0, gt=0, description="how long the notebook may run with a GPU")
    cpu_hours: float = Field(9.0, gt=0, description="how long it may run without one")

    @model_validator(mode="after")
    def _rows_are_hidden(self) -> KaggleFacts:
        if self.hidden_rows is not None and not self.hidden_test:
            raise ValueError("hidden_rows are of hidden_test = true")
        return self


def _kaggle_table(value: Any) -> Any:
    """The short form, a name alone, as the table that it stands for."""
    return {"slug": value} if isinstance(value, str) else value


class CompetitionConfig(ConfigTable):
    """Everything in a competition.toml."""

    slug: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100, description="lower-case letters, digits and hyphens"
    )
    title: str = Field(description="one line for people")
    url: str = Field("", description="the competition's page")
    task: TaskName = Field("single-label", description="what is asked of an image")
    range: tuple[float, float] | None = Field(
        None, description="the lowest and highest number of a regression; predictions are clipped to it"
    )
    metric: str = Field("accuracy", description="by name, or adapter:function")
    metric_direction: Literal["max", "min"] = Field("max", description="of adapter:function")
    metric_input: Literal["probs", "index"] = Field(
        "probs", description="what adapter:function judges: probabilities, or the answered class indices"
    )
    metric_classes: Literal["present", "all"] = Field(
        "present",
        description="a macro average is over the classes that rows have or answers name, or over all of the label map",
    )
    classes: tuple[str, ...] | Literal["discover"] = Field(
        "discover",
        description="class names in index order; or those of the labelled rows, numbers as numbers",
    )
    unknown: str = Field(
        "",
        description="the answer for rows of classes that training does not have, such as `new_whale`; training rows with this label never train",
    )
    unknown_classes: int = Field(
        0,
        ge=0,
        description="so many of the rarest classes are held out whole, each in one fold, to learn when to answer `unknown`",
    )
    score_scale: float = Field(1.0, gt=0, description="100 where the site shows per cents")
    kaggle: KaggleFacts = KaggleFacts()
    public_share: float | None = Field(
        None, gt=0, le=1, description="part of the test rows that the public leaderboard is of"
    )
    pairs: Literal["filename", "position"] = Field(
        "filename", description="an id of the template is its file's name, or row i is the i-th file"
    )
    order: Literal["natural", "text", "array", "table"] = Field(
        "natural",
        description="of the files, by position: 2 before 10, as text, as an array or a table has them",
    )
    layout: Layout = Layout()
    template: TemplateFacts = TemplateFacts()
    folds: FoldFacts = FoldFacts()
    post: PostFacts = PostFacts()
    check: CheckFacts = CheckFacts()
    data: DataFacts | None = Field(
        None, description="what the raw folder holds; without it an adapter.py reads it"
    )
    images: ArrayFacts | None = Field(
        None, description="images that are not photographs of 8 bits, and their one scale"
    )
    unsure: tuple[str, ...] = Field(
        (),
        description="keys that were guessed from a raw folder; a run names them until they are taken out here",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the adapter's functions"
    )

    @property
    def pool(self) -> str:
        """What the predictions of several images of a row come to."""
        return self.data.pool if self.data is not None else "mean"

    @property
    def has_boxes(self) -> bool:
        """Whether rows are of boxes of images, or of tiles."""
        return bool(self.boxes)

    @property
    def boxes(self) -> str:
        """What is seen of an image beside its box; empty where rows are of whole images."""
        return self.data.parts if self.data is not None else ""

    @field_validator("classes", "range", "unsure", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("kaggle", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return _kaggle_table(value)

    @model_validator(mode="after")
    def _layout_of_data(self) -> CompetitionConfig:
        """What [layout] leaves out and [data] says: the files and folders that must be there, the globs of images."""
        if self.data is None:
            return self
        stated = self.layout.model_fields_set
        derived = {
            "required": self.data.required(self.template.file),
            "train": as_glob(self.data.images),
            "test": as_glob(self.data.test_images or self.data.images),
        }
        more = {key: value for key, value in derived.items() if key not in stated}
        object.__setattr__(self, "layout", self.layout.model_copy(update=more))
        return self

    @field_validator("range")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("a range is [lowest, highest]")
        return value

    @model_validator(mode="after")
    def _boxes_of_files(self) -> CompetitionConfig:
        if self.has_boxes and self.images is not None and self.images.columns:
            raise ValueError("boxes are of images in files, [images] columns has them in a table: drop one")
        if self.data is not None and self.data.box and self.pairs == "position":
            raise ValueError('rows of boxes are named by a table: pairs = "filename"')
        return self

    @model_validator(mode="after")
    def _unknown_of_classes(self) -> CompetitionConfig:
        if self.unknown_classes and not self.unknown:
            raise ValueError("unknown_classes are answered with unknown; name that class too")
        if self.unknown and self.task != "single-label":
            raise ValueError(f"unknown is a class of task = 'single-label', and the task is {self.task!r}")
        if self.unknown and self.template.kind in ("prob", "probs"):
            raise ValueError(f"unknown is an answer, and a template of kind {self.template.kind!r} has none")
        return self

    @model_validator(mode="after")
    def _range_of_numbers(self) -> CompetitionConfig:
        if self.range is not None and self.task != "regression":
            raise ValueError(f"range is of the numbers of task = 'regression', and the task is {self.task!r}")
        return self


def read_facts_table(path: Path) -> dict[str, Any]:
    """A competition.toml as the table that it is, not yet judged.

    Raises
    ------
    InputError
        If it is no readable TOML.
    """
    table = read_toml(path, "competition.toml")
    if "kaggle" in table:  # a name alone must not be lost where a table is laid over it
        table["kaggle"] = _kaggle_table(table["kaggle"])
    return table


REQUIRED = ("read", "sample")  # of an adapter.py without [data]
OPTIONAL = ("read_test", "source", "classes", "answers", "download", "coarse")


class Adapter:
    """What an ``adapter.py`` defines, with the competition's options filled in.

    ``read(raw)`` gives the file layout and the labels in the order of the source; ``sample(raw, seed)`` writes a
    small made-up raw folder in exactly the real layout. These may be absent: ``read_test(raw)``, the rows to predict
    of a folder without its train part, where ``read`` needs that; ``source(raw)``, where the images' bytes come from
    if not from files; ``classes(raw)``, the class names in index order where the raw folder
    states them; ``answers(raw)``, test id → label where the competition publishes them; ``download(raw)``.

    It is pickled as its file, ``slug`` and ``options``: where it is unpickled the file is imported again.
    """

    def __init__(
        self, module: ModuleType, options: Mapping[str, Any], slug: str, required: Sequence[str] = REQUIRED
    ) -> None:
        self._module = module
        self._slug = slug
        self._required = tuple(required)
        self._options = options
        self.file = str(module.__file__)
        taken = {
            name
            for function in (*REQUIRED, *OPTIONAL)
            if self.has(function)
            for name in self._parameters(function)
        }
        unknown = sorted(set(options) - taken)
        if unknown:
            value = f"{', '.join(unknown)}; it takes {', '.join(sorted(taken - {'raw', 'seed'})) or 'none'}"
            raise InputError("[options] are what the adapter takes", value, "correct competition.toml")

    def __reduce__(self) -> tuple[Any, ...]:
        return import_adapter, (Path(self.file).absolute(), self._slug, dict(self._options), self._required)

    def has(self, name: str) -> bool:
        """Whether the adapter defines a function of that name."""
        return callable(getattr(self._module, name, None))

    def read(self, raw: Path) -> Manifest:
        """The manifest, with every cell known to be a text; InputError names the row and the value of another."""
        return self._manifest("read", raw)

    def read_test(self, raw: Path) -> Manifest:
        """The rows to predict, of a folder whose train part may be absent."""
        return self._manifest("read_test" if self.has("read_test") else "read", raw)

    def sample(self, raw: Path, seed: int) -> None:
        self._call("sample", raw, seed)

    def source(self, raw: Path) -> ImageSource:
        found = self._call("source", raw)
        if not callable(getattr(found, "load", None)):
            raise self._refused("source", "gives where images come from: an object with load(path)", found)
        return cast("ImageSource", found)

    def classes(self, raw: Path) -> tuple[str, ...]:
        found = self._call("classes", raw)
        if isinstance(found, str) or not isinstance(found, Iterable):
            raise self._refused("classes", "gives the class names in index order", found)
        names = tuple(found)
        for index, name in enumerate(names):
            if not isinstance(name, str):
                raise self._refused("classes", "gives texts", name, f"class {index}")
        return tuple(map(str, names))

    def answers(self, raw: Path) -> dict[str, str]:
        """The labels of the test rows, by id; `comp score` alone may ask."""
        found = self._call("answers", raw)
        if not isinstance(found, Mapping):
            raise self._refused("answers", "gives a dict, test id to label", found)
        for sample, label in found.items():
            if not isinstance(sample, str) or not isinstance(label, str):
                raise self._refused("answers", "gives texts, test id to label", (sample, label))
        return {str(sample): str(label) for sample, label in found.items()}

    def download(self, raw: Path) -> None:
        self._call("download", raw)

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the adapter by its name, such as its own metric; pickled as the adapter and that name."""
        return _Named(self, name)

    def named(self, name: str) -> Callable[..., Any]:
        """The same as its module has it."""
        found: Callable[..., Any] = getattr(self._module, name)
        return found

    def _manifest(self, name: str, raw: Path) -> Manifest:
        from comp.data.manifest import Manifest, sound

        found = self._call(name, raw)
        if not isinstance(found, Manifest) or not hasattr(found.table, "columns"):
            raise self._refused(name, "gives a Manifest: `Manifest.from_samples([Sample(…), …])`", found)
        notes: object = found.notes
        if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
            raise self._refused(name, "gives a Manifest whose notes are texts", notes)
        return Manifest(sound(found.table, f"{self.file}, {name}()"), tuple(notes))

    def _refused(self, name: str, rule: str, value: object, where: str = "") -> InputError:
        told = f"{type(value).__name__} {shortened(repr(value), 200)}"
        at = f"{self.file}, {name}()" + (f", {where}" if where else "")
        return InputError(f"{name}(raw) of an adapter {rule}", f"{at}: {told}", "correct the adapter")

    def _parameters(self, name: str) -> list[str]:
        try:
            return list(inspect.signature(getattr(self._module, name)).parameters)
        except (TypeError, ValueError) as error:  # something built in, say
            raise InputError(
                "an adapter defines functions", f"{self.file}: {name}: {error}", "define it"
            ) from error

    def _call(self, name: str, *arguments: object) -> Any:
        """What a function of the adapter gives; InputError, with the line, for whatever it raises that is no error of ours."""
        taken = set(self._parameters(name))
        options = {key: value for key, value in self._options.items() if key in taken}
        try:
            return getattr(self._module, name)(*arguments, **options)
        except (CompError, MemoryError):
            raise
        except Exception as error:
            lines = [
                at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == self.file
            ]
            where = f"{self.file}, line {lines[-1]}" if lines else self.file
            value = f"{where}, {name}(): {type(error).__name__}: {error}"
            raise InputError(
                "an adapter must read the raw folder without errors", value, "correct it"
            ) from error


@dataclass(frozen=True)
class _Named:
    """A function of an adapter that any process can take: the module of an adapter has no name to import it by."""

    adapter: Adapter
    name: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.adapter.named(self.name)(*arguments, **named)


def import_adapter(
    path: Path, slug: str, options: Mapping[str, Any], required: Sequence[str] = REQUIRED
) -> Adapter:
    """Imports an adapter.py; ``required`` are the functions that it must define.

    Raises
    ------
    InputError
        If it is not there, does not import, lacks a required function, or does not take the options.
    """
    name = f"comp_adapter_{slug.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(
            "a competition needs [data] in its competition.toml, or an adapter.py",
            f"{path} is not there",
            "`comp new SLUG` scaffolds one",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with warnings.catch_warnings():
            # Python hides those of imported modules, and old paths go with the next release
            warnings.filterwarnings("default", r"comp\.", DeprecationWarning)
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(
            "adapter.py must import", f"{path}: {type(error).__name__}: {error}", "correct the adapter"
        ) from error
    for needed in required:
        if not callable(getattr(module, needed, None)):
            raise InputError(
                "an adapter defines read(raw) and sample(raw, seed)",
                f"{path} lacks {needed}",
                "add it, or state [data] in competition.toml",
            )
    return Adapter(module, options, slug, required)
