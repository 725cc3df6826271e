"""Tables of a recipe: what all of them have in common, and what is minimised, with what ``arcface`` asks of the others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCALE, CENTRES = 30.0, 1  # of a classifier by angles, where the recipe says neither
MARGIN, POWER = 0.3, 0.25
_OF_ARCFACE = ("margin", "margin_least", "margin_power")


class RecipeTable(BaseModel):
    """A table of a recipe: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LossConfig(RecipeTable):
    """What is minimised."""

    name: Literal[
        "cross_entropy",
        "focal",
        "arcface",
        "binary_cross_entropy",
        "binary_focal",
        "asymmetric",
        "mse",
        "l1",
    ] = Field(
        "cross_entropy",
        description=(
            "cross_entropy and focal become the binary ones of each column where a row may have several labels or "
            "is a number on its scale; arcface: classes by the angle between features and centres of classes (Deng "
            "et al. 2019); asymmetric: several labels (Ridnik et al. 2021); mse, l1: numbers"
        ),
    )
    gamma: float = Field(2.0, ge=0, description="focal: how much less sure answers count (Lin et al. 2017)")
    gamma_positive: float = Field(
        1.0, ge=0, description="asymmetric: how much less sure answers of labels that are there count"
    )
    gamma_negative: float = Field(
        4.0, ge=0, description="asymmetric: how much less sure answers of absent labels count"
    )
    shift: float = Field(
        0.05, ge=0, lt=1, description="asymmetric: absent labels below this probability do not count"
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=1.5,
        description="arcface: by what angle, in radians, a row is to be nearer to its own class; 0.3 where unset",
    )
    margin_least: float | None = Field(
        None,
        ge=0,
        le=1.5,
        description="arcface: the margin of the class with most rows; that with fewest has margin, and others lie between (Ha et al. 2020); unset: one margin for all",
    )
    margin_power: float | None = Field(
        None,
        gt=0,
        le=4,
        description="arcface: margins between follow a n ** -margin_power + b of n rows; 0.25 where unset",
    )


def with_arcface(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe's table with what ``loss = "arcface"`` decides where nothing is said of it: the classifier's scale and
    centres, the margin, and no solved classifier to begin from. Tables of other losses, and broken ones, as they are.
    """
    loss, model = table.get("loss"), table.get("model", {})
    if not isinstance(loss, dict) or loss.get("name") != "arcface" or not isinstance(model, dict):
        return table
    head = model.get("head", {})
    if not isinstance(head, dict):
        return table
    loss = {"margin": MARGIN, **loss}
    if "margin_least" in loss:
        loss = {"margin_power": POWER, **loss}
    model = {**model, "head": {"scale": SCALE, "centres": CENTRES, **head}}
    return {"head_start": False, **table, "loss": loss, "model": model}


def refuse_arcface(recipe: Any) -> None:
    """ValueError where a ``Recipe`` asks for something that ``arcface`` cannot give, or sets for another loss what is its own."""
    loss, head, mixing = recipe.loss, recipe.model.head, recipe.regularize
    if loss.name != "arcface":
        given = [f"loss.{key}" for key in _OF_ARCFACE if getattr(loss, key) is not None]
        given += [f"model.head.{key}" for key in ("scale", "centres") if getattr(head, key) is not None]
        if given:
            raise ValueError(f'{given[0]} only with loss = "arcface"')
        return
    if loss.margin_least is None and loss.margin_power is not None:
        raise ValueError("loss.margin_power is for margins that differ; set loss.margin_least, or drop it")
    if loss.margin_least is not None and loss.margin is not None and loss.margin_least > loss.margin:
        raise ValueError(f"loss.margin_least is at most loss.margin, which is {loss.margin}")
    if recipe.mode == "probe":
        raise ValueError('loss = "arcface" is trained; drop it, or choose mode = "finetune"')
    if recipe.head_start:
        raise ValueError('loss = "arcface" begins with centres of its own; drop head_start')
    if mixing.mixup or mixing.cutmix:
        name = "mixup" if mixing.mixup else "cutmix"
        raise ValueError(
            f'loss = "arcface" has a margin for one class a row; set regularize.{name} = 0, or another loss'
        )
    if recipe.distill is not None:
        raise ValueError('loss = "arcface" learns from labels; drop distill, or choose another loss')
