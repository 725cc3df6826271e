"""The recipe: hyper-parameters as a TOML document, strict, with every mistake told at once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from comp.competition import validate
from comp.errors import InputError, RecipeError

VIEWS = ("identity", "hflip")  # what inference/views.py can do
VIEW_SETS = {"none": ["identity"], "hflip": ["identity", "hflip"]}
OPTIMIZERS = ("adamw", "adam", "nadam", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")


class Part(BaseModel):
    """A table of a recipe: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelPart(Part):
    """The network and its preprocessing; what is not set comes from the model's own configuration."""

    name: str = "mobilenetv2_100"
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")
    weights: str = Field("default", description='"default", "none", or a path to .safetensors or .pth')
    size: int | None = Field(None, ge=8, le=4096, description="side of the square input, pixels")
    mean: list[float] | None = Field(None, min_length=3, max_length=3)
    std: list[float] | None = Field(None, min_length=3, max_length=3)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    fit: Literal["crop", "squash", "pad"] = Field("crop", description="how a picture becomes a square")
    crop_pct: float | None = Field(None, gt=0, le=1)
    dropout: float = Field(0.0, ge=0, lt=1, description="before the classifier")
    freeze_bn: bool | None = Field(None, description="BatchNorm keeps its statistics; by default in finetune")

    @field_validator("std")
    @classmethod
    def _positive(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("std must be above zero")
        return value


class OptimizerPart(Part):
    """How weights are moved."""

    name: Literal["adamw", "adam", "nadam", "sgd"] = "adamw"
    lr: float = Field(3e-4, gt=0, description="of the backbone; of everything in scratch")
    head_lr: float | None = Field(
        None, gt=0, description="of the classifier; lr, or in finetune without head_start ten times lr"
    )
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    clip: float | None = Field(None, gt=0, description="largest gradient norm")


class SchedulePart(Part):
    """How the learning rate runs over all steps."""

    name: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warmup: float = Field(0.25, ge=0, lt=1, description="share of all steps in which the rate rises")


class RegularizePart(Part):
    """What keeps a network from learning its rows by heart."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)


class ProbePart(Part):
    """The linear classifier on frozen features, solved to its optimum."""

    l2: float = Field(
        0.1, gt=0, description="mean loss + l2 / 2 times squared weights, on standardised features"
    )


class Recipe(Part):
    """Everything that decides a run beside its data.

    Raises RecipeError (through ``load``) with one line for every mistake, each with its dotted path.
    """

    mode: Literal["scratch", "probe", "finetune"] = "finetune"
    epochs: int = Field(5, ge=1, description="passes over the training rows; probe has none, it solves")
    seed: int = Field(0, ge=0, lt=2**31)
    fold_seed: int = Field(
        0, ge=0, lt=2**31, description="of the folds; apart from seed, so that runs compare"
    )
    model: ModelPart = ModelPart()
    head_start: bool = Field(
        True, description="finetune begins from the solved linear classifier, as probe ends"
    )
    transform: str | list[dict[str, Any]] = Field(
        "light", description="a named policy, or albumentations by name"
    )
    batch: int = Field(32, ge=2, le=65536)
    optimizer: OptimizerPart = OptimizerPart()
    schedule: SchedulePart = SchedulePart()
    regularize: RegularizePart = RegularizePart()
    probe: ProbePart = ProbePart()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    deterministic: bool = Field(False, description="the same bits twice on CUDA too, slower")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(None, ge=1, description="of the CPU; all cores by default")
    save_minutes: float = Field(5.0, ge=0, description="between saves within an epoch; each epoch saves too")
    tta: list[str] = Field(
        default_factory=lambda: ["identity", "hflip"], description="views, averaged after softmax"
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, table: Any) -> Any:
        """``optimizer = "sgd"`` means ``optimizer.name = "sgd"``; likewise model and schedule; tta by set name."""
        if not isinstance(table, dict):
            return table
        table = dict(table)
        for key in ("model", "optimizer", "schedule"):
            if isinstance(table.get(key), str):
                table[key] = {"name": table[key]}
        if isinstance(table.get("tta"), str):
            table["tta"] = VIEW_SETS.get(table["tta"], [table["tta"]])
        return table

    @field_validator("tta")
    @classmethod
    def _known_views(cls, views: list[str]) -> list[str]:
        unknown = [v for v in views if v not in VIEWS]
        if unknown:
            raise ValueError(
                f"unknown view {unknown[0]!r}; there is: {', '.join(VIEWS)}; sets: {', '.join(VIEW_SETS)}"
            )
        if not views or len(set(views)) != len(views):
            raise ValueError("name one view or more, each once")
        return views

    @model_validator(mode="after")
    def _scratch_has_no_weights(self) -> Recipe:
        if self.mode == "scratch" and self.model.weights not in ("default", "none"):
            raise ValueError(
                'mode = "scratch" starts from nothing; drop model.weights or choose mode = "finetune"'
            )
        return self

    def as_table(self) -> dict[str, Any]:
        """The recipe as a TOML table, without unset keys."""
        table: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return table

    def to_toml(self, header: str = "") -> str:
        """The recipe as a TOML document that ``load`` reads back."""
        import tomli_w

        head = "".join(f"# {line}\n" for line in header.splitlines())
        return head + str(tomli_w.dumps(self.as_table()))


def load(
    path: Path | None,
    overrides: Sequence[str] = (),
    also: Callable[[dict[str, Any]], list[str]] = lambda table: [],
) -> Recipe:
    """Reads a recipe and lays ``--set key=value`` overrides over it.

    Parameters
    ----------
    path : Path or None
        A TOML file; None starts from the defaults.
    overrides : sequence of str
        ``dotted.key=value``; the value is TOML, a bare word a string.
    also : callable
        Looks at the laid table too and returns further mistakes, ``"dotted.path: what is wrong"``, so that those
        which only a heavy library can see (no such model) are told together with the others.

    Raises
    ------
    RecipeError
        With one line for every mistake.
    """
    table = _read_toml(path) if path is not None else {}
    for override in overrides:
        _lay(table, override)
    name = (str(path) if path is not None else "the recipe") + (" with --set" if overrides else "")
    further = also(table)
    try:
        recipe = validate(Recipe, table, name)
    except RecipeError as error:
        raise _told(name, [*error.value.splitlines(), *further]) from None
    if further:
        raise _told(name, further)
    return recipe


def _told(name: str, mistakes: list[str]) -> RecipeError:
    return RecipeError(
        f"{name} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}",
        "\n".join(mistakes),
        "correct them",
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError("the recipe must exist", f"{path} is not there", "check --recipe") from error
    except IsADirectoryError as error:
        raise InputError("a recipe is a TOML file", f"{path} is a folder", "check --recipe") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("a recipe must be readable TOML", f"{path}: {error}", "correct the file") from error


def _lay(table: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not sign or not all(parts):
        raise InputError("--set takes key=value", repr(override), "for example --set optimizer.lr=3e-4")
    here = table
    for part in parts[:-1]:
        below = here.get(part)
        if isinstance(below, str):  # the shorthand model = "name"
            below = {"name": below}
        here[part] = dict(below) if isinstance(below, dict) else {}
        here = here[part]
    value, known = _toml_value(text.strip()), here.get(parts[-1])
    if parts in (["optimizer"], ["schedule"]) and isinstance(value, str) and isinstance(known, dict):
        here[parts[-1]] = {
            **known,
            "name": value,
        }  # another optimizer keeps its rate; another model keeps nothing
    else:
        here[parts[-1]] = value


def _toml_value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str, list, dict)) else text
