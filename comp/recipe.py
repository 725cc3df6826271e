"""The recipe: hyper-parameters as a TOML document, strict, with every mistake told at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from comp import events
from comp.config import apply_override, deep_merge, not_finite, validate
from comp.errors import RecipeError
from comp.files import read_toml
from comp.recipe_tables import LossConfig, RecipeTable, refuse_arcface, with_arcface
from comp.views import AUTO, require_views, views_named


class HeadConfig(RecipeTable):
    """The classifier on the backbone's features: linear, or with one hidden layer; by angles where it has a ``scale``."""

    hidden: int | None = Field(
        None,
        ge=1,
        description='units of a hidden layer (ReLU), with loss = "arcface" of a linear embedding; none by default',
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="before each linear layer")
    scale: float | None = Field(
        None, gt=0, le=1000, description='loss = "arcface": what cosines are multiplied by; 30 where unset'
    )
    centres: int | None = Field(
        None,
        ge=1,
        le=64,
        description='loss = "arcface": centres of a class, of which the nearest counts (Deng et al. 2020); 1 where unset',
    )


class ModelConfig(RecipeTable):
    """The network and its preprocessing; what is not set comes from the model's own configuration."""

    name: str = "mobilenetv2_100"
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")
    weights: str = Field("default", description='"default", "none", a path to .safetensors, .pth, "run:RUN"')
    size: int | None = Field(None, ge=8, le=4096, description="side of the square input, pixels")
    mean: list[float] | None = Field(None, min_length=2, max_length=64)
    std: list[float] | None = Field(None, min_length=2, max_length=64)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    fit: Literal["crop", "squash", "pad"] = Field("crop", description="how an image becomes a square")
    crop_pct: float | None = Field(None, gt=0, le=1)
    stem: Literal["own", "small"] = Field(
        "own", description='"small": a first convolution of 3x3 and stride 1, no pooling, for tiny images'
    )
    pool: Literal["gem"] | None = Field(
        None,
        description='"gem": the generalised mean of places, its power learned; the model\'s own where unset',
    )
    head: HeadConfig = HeadConfig()
    freeze_bn: bool | None = Field(None, description="BatchNorm keeps its statistics; by default in finetune")

    @field_validator("std")
    @classmethod
    def _positive(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("std must be above zero")
        return value

    @property
    def channels(self) -> int:
        """How many channels the network reads: a mean each, three where none are said."""
        return len(self.mean or (0, 0, 0))


class OptimizerConfig(RecipeTable):
    """How weights are moved: adamw, adam, nadam and sgd are torch's, any other name is timm's."""

    name: str = "adamw"
    lr: float = Field(3e-4, gt=0, description="of the backbone; of everything in scratch")
    head_lr: float | None = Field(
        None, gt=0, description="of the classifier; lr, or in finetune without head_start ten times lr"
    )
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="each layer's rate is this times that of the layer above it"
    )
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of those that have one (sgd, muon …)")
    clip: float | None = Field(None, gt=0, description="largest gradient norm")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="further arguments of the optimizer")


class ScheduleConfig(RecipeTable):
    """How the learning rate runs over the steps of a stage."""

    name: Literal["onecycle", "cosine", "constant", "plateau"] = "onecycle"
    warmup: float = Field(0.25, ge=0, lt=1, description="share of the steps in which the rate rises")
    factor: float = Field(0.1, gt=0, lt=1, description="plateau: what the rate is multiplied by")
    patience: int = Field(2, ge=0, description="plateau: epochs without a lower held-out loss before that")


class RegularizeConfig(RecipeTable):
    """What keeps a network from learning its rows by heart."""

    label_smoothing: float = Field(0.1, ge=0, lt=1)
    mixup: float = Field(
        0.0, ge=0, description="alpha of the Beta distribution (Zhang et al. 2018); 0 is off"
    )
    cutmix: float = Field(0.0, ge=0, description="alpha of the Beta distribution (Yun et al. 2019); 0 is off")
    mix_share: float = Field(1.0, ge=0, le=1, description="share of the batches that are mixed")
    mix_until: float = Field(1.0, ge=0, le=1, description="share of the epochs after which mixing ends")
    erasing: float = Field(
        0.0, ge=0, le=1, description="share of images with a rectangle erased (Zhong et al. 2020)"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay a step of the moving average of weights that is kept"
    )


class ProbeConfig(RecipeTable):
    """The linear classifier on frozen features, solved to its optimum."""

    l2: float = Field(
        0.1, gt=0, description="mean loss + l2 / 2 times squared weights, on standardised features"
    )


class StageConfig(RecipeTable):
    """Some epochs in which a part of the network is trained, with a schedule of their own."""

    epochs: int = Field(1, ge=1)
    train: Literal["head", "all"] | int = Field(
        "all", description='"head", "all", or the last so many blocks of the backbone with the head'
    )
    lr: float | None = Field(None, gt=0, description="instead of optimizer.lr")
    head_lr: float | None = Field(None, gt=0, description="instead of optimizer.head_lr")
    size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="pixels the network trains on in this stage; it is judged at model.size",
    )
    rows: Literal["both", "extra", "train"] = Field(
        "both", description='"train": the competition\'s own rows, "extra": extra rows and pseudo-labels'
    )


class DistillConfig(RecipeTable):
    """Learning from an earlier run too (Hinton et al. 2015): fold k from the answers of that run's fold k."""

    run: str = Field(
        min_length=1, description="an earlier run on the same rows and folds, or a plain mean of such"
    )
    weight: float = Field(0.5, gt=0, le=1, description="share of the loss that its answers have")
    temperature: float = Field(1.0, gt=0, le=100, description="above 1 its answers are softened")


class StopConfig(RecipeTable):
    """Early stopping, by the held-out metric of each epoch; it sets selected_on_oof."""

    patience: int = Field(5, ge=1, description="epochs without a better score before training ends")


class BalanceConfig(RecipeTable):
    """What is done about classes with few rows, in training rows only."""

    name: Literal["none", "weights", "sampler", "copies"] = "none"
    per_class: int | None = Field(
        None, ge=1, description="copies: rows of each class after copying; by default the largest class's"
    )
    classes: Literal["all", "minority"] = Field(
        "minority",
        description='copies: "minority" fills classes up to per_class, "all" adds per_class to each',
    )
    transform: str | list[dict[str, Any]] = Field(
        "no-colour", description="copies: the policy they are made with"
    )
    keep: bool = Field(False, description="copies: write them to the run folder, for looking at")

    @model_validator(mode="after")
    def _only_copies(self) -> BalanceConfig:
        extra = self.model_fields_set & {"per_class", "classes", "transform", "keep"}
        if self.name != "copies" and any(
            getattr(self, key) != getattr(BalanceConfig(), key) for key in extra
        ):
            raise ValueError(f'{", ".join(sorted(extra))} only with name = "copies"')
        return self


NAMED = ("model", "optimizer", "schedule", "loss", "balance")  # tables that a bare name stands for
SEARCH = "search"  # the table that `comp tune` reads; a run takes the recipe without it
COMMON = (
    "fold_seed",
    "device",
    "threads",
    "jobs",
    "processes",
    "deterministic",
    "tta",
    "tta_mean",
    "save_minutes",
)


class Recipe(RecipeTable):
    """Everything that decides a run beside its data; RecipeError (through ``load``) has a line for every mistake."""

    mode: Literal["scratch", "probe", "finetune"] = "finetune"
    epochs: int = Field(5, ge=1, description="passes over the training rows; probe has none, it solves")
    seed: int = Field(0, ge=0, lt=2**31)
    fold_seed: int = Field(
        0, ge=0, lt=2**31, description="of the folds; apart from seed, so that runs compare"
    )
    model: ModelConfig = ModelConfig()
    head_start: bool = Field(
        True, description="finetune begins from the solved linear classifier, as probe ends"
    )
    transform: str | list[dict[str, Any]] = Field(
        "light", description="a named policy, or albumentations by name"
    )
    batch: int = Field(32, ge=2, le=65536, description="rows a step")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in, for want of memory")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    stages: list[StageConfig] | None = Field(
        None, min_length=1, description="training in stages, one after the other; epochs is then their sum"
    )
    loss: LossConfig = LossConfig()
    balance: BalanceConfig = BalanceConfig()
    regularize: RegularizeConfig = RegularizeConfig()
    checkpoint: Literal["last", "best"] = Field(
        "last", description='which epoch is kept; "best" by the held-out metric sets selected_on_oof'
    )
    stop: StopConfig | None = Field(None, description="early stopping; off by default")
    probe: ProbeConfig = ProbeConfig()
    distill: DistillConfig | None = Field(None, description="learn from an earlier run; off by default")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | None = Field(None, description="memory layout; by measuring where unset")
    compile: bool | None = Field(
        None, description="training steps through torch.compile; by measuring on CUDA where unset, else off"
    )
    fold_norms: bool | None = Field(
        None,
        description="training computes BatchNorm that stays within its convolution; by measuring on CUDA where unset, else on",
    )
    deterministic: bool = Field(False, description="the same bits twice on CUDA too, slower")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(None, ge=1, le=256, description="of the CPU; unset: all, or fewer if faster")
    processes: int | None = Field(
        None, ge=1, le=64, description="processes that train one fold together, a GPU each"
    )
    jobs: int | None = Field(
        None, ge=1, le=64, description="folds at once: on a CPU each on one thread; unset: one, or one a GPU"
    )
    save_minutes: float = Field(
        5.0, ge=0, description="at most between saves; epochs save too where that costs little"
    )
    tta: list[str] = Field(
        default_factory=lambda: ["identity", "hflip"],
        description='views or the name of a set, averaged after softmax; "auto" chooses a set on OOF rows, among those named after it',
    )
    tta_mean: Literal["arithmetic", "geometric"] = Field("arithmetic", description="how views are averaged")

    members: tuple[Recipe, ...] = Field(
        (), description="the recipes of several [[model]] tables, whose predictions are averaged"
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, table: Any) -> Any:
        """``optimizer = "sgd"`` means ``optimizer.name = "sgd"``, likewise other NAMED tables; tta by set name."""
        if not isinstance(table, dict):
            return table
        table = dict(table)
        for key in NAMED:
            if isinstance(table.get(key), str):
                table[key] = {"name": table[key]}
        if isinstance(table.get("stages"), list) and "epochs" not in table:
            table["epochs"] = (
                sum(s.get("epochs", 1) if isinstance(s, dict) else 0 for s in table["stages"]) or 1
            )
        if isinstance(table.get("tta"), str):
            table["tta"] = views_named(table["tta"])
        return with_arcface(table)

    @field_validator("tta")
    @classmethod
    def _known_views(cls, views: list[str]) -> list[str]:
        return require_views(views)

    @model_validator(mode="after")
    def _arcface_is_possible(self) -> Recipe:
        refuse_arcface(self)
        return self

    @model_validator(mode="after")
    def _scratch_has_no_weights(self) -> Recipe:
        if self.mode == "scratch" and self.model.weights not in ("default", "none"):
            raise ValueError(
                'mode = "scratch" starts from nothing; drop model.weights or choose mode = "finetune"'
            )
        return self

    @model_validator(mode="after")
    def _stages_are_the_epochs(self) -> Recipe:
        if self.stages is not None and sum(stage.epochs for stage in self.stages) != self.epochs:
            raise ValueError("epochs is the sum of the stages' epochs; drop it")
        if self.stages is not None and self.mode == "probe":
            raise ValueError('mode = "probe" has no stages; drop them or choose mode = "finetune"')
        return self

    @model_validator(mode="after")
    def _probe_solves(self) -> Recipe:
        if self.mode == "probe" and (self.jobs or 1) > 1:
            raise ValueError('mode = "probe" computes features once for all folds; drop jobs')
        if self.mode == "probe" and (self.processes or 1) > 1:
            raise ValueError('mode = "probe" solves its classifier; drop processes')
        if self.mode == "probe" and self.model.head.hidden is not None:
            raise ValueError('mode = "probe" solves a linear classifier; drop model.head.hidden')
        if self.mode == "probe" and self.balance.name in ("sampler", "copies"):
            raise ValueError('mode = "probe" solves over each row once; balance it with "weights"')
        if self.mode == "probe" and self.distill is not None:
            raise ValueError('mode = "probe" solves for labels; drop distill or choose mode = "finetune"')
        return self

    @property
    def chooses_views(self) -> bool:
        """Whether the views are chosen on OOF rows, once all folds are trained."""
        return self.tta[0] == AUTO

    @property
    def views(self) -> list[str]:
        """The views that rows are predicted by; identity alone while they are still to be chosen."""
        return ["identity"] if self.chooses_views else self.tta

    def with_views(self, views: Sequence[str]) -> Recipe:
        """The recipe with these views instead."""
        return self.model_copy(update={"tta": list(views)})

    @property
    def start_run(self) -> str | None:
        """The run that training starts from, RUN or RUN/MODEL of ``model.weights = "run:RUN"``; None elsewhere."""
        name = self.model.weights
        return name.removeprefix("run:") if self.mode != "scratch" and name.startswith("run:") else None

    @property
    def each(self) -> tuple[Recipe, ...]:
        """The recipes of the models that are trained: the members, or this one."""
        return self.members or (self,)

    def as_table(self) -> dict[str, Any]:
        """The recipe as a TOML table that ``load`` reads back, without unset keys."""
        tables = [one.model_dump(mode="json", exclude_none=True, exclude={"members"}) for one in self.each]
        if not self.members:
            return tables[0]
        first, *others = tables
        shared = {
            key: value
            for key, value in first.items()
            if key != "model" and all(table.get(key) == value for table in others)
        }
        entries = [
            {**table["model"], **{key: v for key, v in table.items() if key != "model" and key not in shared}}
            for table in tables
        ]
        return {**shared, "model": entries}

    def to_toml(self, header: str = "") -> str:
        """The recipe as a TOML document that ``load`` reads back."""
        import tomli_w

        head = "".join(f"# {line}\n" for line in header.splitlines())
        return head + str(tomli_w.dumps(self.as_table()))


def as_one(recipes: Sequence[Recipe]) -> Recipe:
    """The recipes of one model or several as the recipe of their run."""
    first = recipes[0].model_copy(update={"members": ()})
    return first if len(recipes) == 1 else first.model_copy(update={"members": tuple(recipes)})


def load(
    path: Path | None,
    overrides: Sequence[str] = (),
    also: Callable[[dict[str, Any]], list[str]] = lambda table: [],
) -> Recipe:
    """Reads a recipe and lays ``key=value`` overrides over it.

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
    table, search = laid_table(path, overrides)
    if search is not None:
        events.log(f"  [{SEARCH}] of {path} is for `comp tune`: the recipe is taken as it stands")
    name = (str(path) if path is not None else "the recipe") + (" with `overrides`" if overrides else "")
    return from_table(table, name, also)


def laid_table(path: Path | None, overrides: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """The table of a recipe's file with ``overrides`` over it, and its [search] apart, None where it has none."""
    table = read_toml(path, "a recipe") if path is not None else {}
    search = table.pop(SEARCH, None)
    for override in overrides:
        apply_override(table, override, NAMED[1:])
        if override.partition("=")[0].strip() == "stages":
            table.pop("epochs", None)  # those of the file were for its own stages, or for none
    return table, search


def from_table(table: dict[str, Any], name: str, also: Callable[[dict[str, Any]], list[str]]) -> Recipe:
    """The recipe that a table says, ``name`` in errors; RecipeError and ``also`` as in ``load``."""
    further = also(table)
    recipe, mistakes = _read(table)
    further += [] if mistakes else not_finite(table)
    if recipe is None or further:
        raise _told(name, [*mistakes, *further])
    return recipe


def member_tables(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of each model that a recipe's table names: what its [[model]] says laid over what all share."""
    entries = table.get("model")
    if not isinstance(entries, list):
        return [table]
    shared = {key: value for key, value in table.items() if key != "model"}
    found = []
    for entry in entries:
        entry = _without_shorthand(entry) if isinstance(entry, dict) else {"name": entry}
        own = {key: value for key, value in entry.items() if key not in ModelConfig.model_fields}
        model = {key: value for key, value in entry.items() if key in ModelConfig.model_fields}
        found.append({**deep_merge(_without_shorthand(shared), own), "model": model})
    return found


def _read(table: dict[str, Any]) -> tuple[Recipe | None, list[str]]:
    """The recipe of a table, or every mistake in it."""
    if not isinstance(table.get("model"), list):
        return _validated(table)
    mistakes: list[str] = []
    _, general = _validated({key: value for key, value in table.items() if key != "model"})
    members = []
    for n, (entry, one) in enumerate(zip(table["model"], member_tables(table), strict=True)):
        shared = sorted(set(COMMON) & set(entry if isinstance(entry, dict) else ()))
        mistakes += [f"model.{n}.{key}: is one for all models; set it at the top" for key in shared]
        recipe, wrong = _validated(one)
        mistakes += [f"model.{n}.{told.removeprefix('model.')}" for told in wrong if told not in general]
        members.append(recipe)
    mistakes = general + mistakes
    whole = tuple(recipe for recipe in members if recipe is not None)
    if mistakes or not whole:
        return None, mistakes or ["model: name one model or more"]
    return as_one(whole), []


def _validated(table: dict[str, Any]) -> tuple[Recipe | None, list[str]]:
    try:
        return validate(Recipe, table, ""), []
    except RecipeError as error:
        return None, error.value.splitlines()


def _without_shorthand(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {"name": value} if key in NAMED and isinstance(value, str) else value
        for key, value in table.items()
    }


def _told(name: str, mistakes: list[str]) -> RecipeError:
    return RecipeError(
        f"{name} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}",
        "\n".join(mistakes),
        "correct them",
    )


def derive_seed(seed: int, *parts: object) -> int:
    """A 31-bit seed for a named purpose: the same for the same parts, on every machine and in any order of use."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
