"""The tables of a recipe, each a frozen value that says what its keys mean."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class RecipeTable(BaseModel):
    """A table of a recipe: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HeadConfig(RecipeTable):
    """The classifier on the backbone's features: linear, or with one hidden layer."""

    hidden: int | None = Field(None, ge=1, description="units of a hidden layer (ReLU); none by default")
    dropout: float = Field(0.0, ge=0, lt=1, description="before each linear layer")


class ModelConfig(RecipeTable):
    """The network and its preprocessing; what is not set comes from the model's own configuration."""

    name: str = "mobilenetv2_100"
    kwargs: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")
    weights: str = Field(
        "default", description='"default", "none", a path to .safetensors or .pth, or "run:RUN"'
    )
    size: int | None = Field(None, ge=8, le=4096, description="side of the square input, pixels")
    mean: list[float] | None = Field(None, min_length=3, max_length=3)
    std: list[float] | None = Field(None, min_length=3, max_length=3)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    fit: Literal["crop", "squash", "pad"] = Field("crop", description="how an image becomes a square")
    crop_pct: float | None = Field(None, gt=0, le=1)
    stem: Literal["own", "small"] = Field(
        "own", description='"small": a first convolution of 3x3 and stride 1, no pooling, for tiny images'
    )
    head: HeadConfig = HeadConfig()
    freeze_bn: bool | None = Field(None, description="BatchNorm keeps its statistics; by default in finetune")

    @field_validator("std")
    @classmethod
    def _positive(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("std must be above zero")
        return value


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


class LossConfig(RecipeTable):
    """What is minimised."""

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    gamma: float = Field(2.0, ge=0, description="focal: how much less sure answers count (Lin et al. 2017)")


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
