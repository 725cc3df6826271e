"""The backbones that are worth a try, by cost: `ladder.toml`, and which of their weights are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from comp.config import validate
from comp.errors import InputError
from comp.files import read_toml
from comp.models.weights import SUFFIXES

DEVICES = ("cpu", "gpu", "big-gpu")
_FILE = Path(__file__).with_name("ladder.toml")


class Backbone(BaseModel):
    """One backbone: `size` in pixels, `gmacs` in 10^9 multiply-adds an image of that size, `params` in 10^6.

    `device` is the least that fine-tunes it in hours; `open` whether its licence lets a winner publish the weights under an
    open-source licence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str
    family: str
    size: int = Field(ge=32)
    gmacs: float = Field(gt=0)
    params: float = Field(gt=0)
    device: Literal["cpu", "gpu", "big-gpu"]
    licence: str
    open: bool = True
    known_for: str


class _Ladder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    backbone: list[Backbone]


@cache
def ladder() -> tuple[Backbone, ...]:
    """All backbones, the cheapest first."""
    found = validate(_Ladder, read_toml(_FILE, "the ladder of backbones"), str(_FILE)).backbone
    return tuple(sorted(found, key=lambda one: (one.gmacs, one.name)))


def allowed(licence: str | None = None, device: str = "big-gpu") -> list[Backbone]:
    """The backbones that a device of this kind (one of `DEVICES`) fine-tunes, the cheapest first.

    Without `licence` those alone that a winner may publish; "any" takes all, and a licence's name those under it.
    """
    every = ladder()
    names = sorted({one.licence for one in every})
    if licence not in (None, "any", *names):
        raise InputError("unknown licence", repr(licence), f"one of {', '.join(['any', *names])}")
    reach = DEVICES[: DEVICES.index(device) + 1]
    return [
        one
        for one in every
        if one.device in reach
        and (licence == "any" or (one.open if licence is None else one.licence == licence))
    ]


def weights_at_hand(name: str, folders: Sequence[Path]) -> str | None:
    """Where the weights of a timm model lie without a download: a file's path, or "hub cache"; None where they do not."""
    for folder in folders:
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return str(folder / f"{name}{suffix}")
    from huggingface_hub import try_to_load_from_cache

    from comp.models.timm_alone import timm

    known = timm.models.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        return None
    for file in ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors"):
        if isinstance(try_to_load_from_cache(known.hf_hub_id, file), str):
            return "hub cache"
    return None
