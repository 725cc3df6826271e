"""The facts of a competition: what a competition.toml may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from comp.config import ConfigTable
from comp.files import read_toml


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


def read_facts_table(path: Path) -> dict[str, Any]:
    """A competition.toml as the table that it is, not yet judged.

    Raises
    ------
    InputError
        If it is no readable TOML.
    """
    return read_toml(path, "competition.toml")
