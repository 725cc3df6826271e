"""What a preset may try: backbones whose weights can be had, and the recipe of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from comp.config import apply_override, whole_number
from comp.data.competitions.competition import Competition
from comp.errors import CompError, InputError
from comp.files import read_toml
from comp.models.ladder import Backbone, allowed, weights_at_hand
from comp.models.weights import SUFFIXES, sidecar_preprocess
from comp.pipelines.request import model_mistakes, recipe_file
from comp.recipe import NAMED, Recipe, from_table, laid_table
from comp.workspace import Workspace

KINDS = Path(__file__).with_name("kinds.toml")
PIXELS = "pixels"
STEP = 32  # pixels; sizes are multiples of it
_KEPT = ("tta", "tta_mean", "seed", "fold_seed", "device", "threads", "deterministic", "save_minutes", "jobs")


@dataclass(frozen=True)
class Candidate:
    """Something to train: its name, which is unique in a preset, its recipe, the backbone that it is of (empty for the
    competition's own recipe), and of a probe how many times as large its images are, and whether it is one that was made without TTA
    before; and the file of pseudo-labels that it is trained with.
    """

    name: str
    recipe: Recipe
    backbone: str = ""
    grow: float = 1.0
    with_tta: bool = False
    pseudo: Path | None = None


@dataclass(frozen=True)
class Source:
    """A competition's own recipe, and what ``overrides`` lay over every recipe of a preset."""

    competition: Competition
    table: dict[str, Any]
    overrides: tuple[str, ...]
    seed: int | None = None
    where: str = ""
    own: bool = True  # the competition has a recipe
    device: str = "cpu"  # that the recipes will train on

    @classmethod
    def of(cls, competition: Competition, overrides: Sequence[str], seed: int | None) -> Source:
        """The source of a competition.

        Raises
        ------
        InputError
            For an override that would take a candidate its backbone.
        """
        for text in overrides:
            key = _key(text)
            if key.startswith("model.") and key.rpartition(".")[2] in ("name", "weights", "kwargs"):
                value = f"`overrides=[{text!r}]`"
                raise InputError("a preset chooses backbones", value, '`backbones=["NAME"]` names them')
        path = recipe_file(competition, None)
        table, _ = laid_table(path if path.is_file() else None, [])
        if isinstance(table.get("model"), list):
            table["model"] = table["model"][0]
        if isinstance(table.get("model"), str):
            table["model"] = {"name": table["model"]}
        return cls(competition, table, tuple(overrides), seed, str(path), path.is_file())

    @property
    def epochs(self) -> int | None:
        """The epochs that the overrides ask for."""
        told = [text.partition("=")[2].strip() for text in self.overrides if _key(text) == "epochs"]
        return whole_number(told[-1]) if told else None

    def recipe(self, table: Mapping[str, Any], name: str) -> Recipe:
        """A candidate's recipe, with the overrides and the seed over it; the epochs of one in stages are its stages'."""
        own = deepcopy(dict(table))
        staged = "stages" in own and self.epochs is not None
        laid = [text for text in self.overrides if not (staged and _key(text) == "epochs")]
        for text in (*laid, *([f"seed={self.seed}"] if self.seed is not None else [])):
            apply_override(own, text, NAMED[1:])
        return from_table(own, f"the recipe of {name}", model_mistakes(self.competition))

    @property
    def kept(self) -> dict[str, Any]:
        """Keys of the competition's recipe that every candidate has."""
        return {key: deepcopy(self.table[key]) for key in _KEPT if key in self.table}


def candidate_backbones(
    workspace: Workspace, named: Sequence[str], licence: str | None, device: str
) -> list[Backbone]:
    """The backbones to try, the cheapest first: those that were named, or of the ladder those that lie at hand.

    Raises
    ------
    InputError
        For a name that neither the ladder nor timm has.
    """
    known = {one.name: one for one in allowed("any")}
    folders = workspace.weight_folders()
    if named:
        return [known.get(name) or _unlisted(name) for name in dict.fromkeys(named)]
    found = [one for one in allowed(licence, device) if weights_at_hand(one.name, folders)]
    return found + [_unlisted(name) for name in _beside(folders, found)]


def _unlisted(name: str) -> Backbone:
    """A backbone of timm that the ladder does not have; what it costs is measured."""
    from comp.models.net import config_of, require_model

    require_model(name)
    size = int(config_of(name).get("input_size", (3, 224, 224))[-1])
    return Backbone(
        name=name,
        family="unlisted",
        size=size,
        gmacs=1.0,
        params=1.0,
        device="cpu",
        licence="unknown",
        known_for="named by hand",
    )


def _beside(folders: Sequence[Path], found: Sequence[Backbone]) -> list[str]:
    """Names of timm's architectures under which weights lie in a folder, with what their images were normalised by beside them."""
    from comp.models.timm_alone import timm

    known = {one.name for one in found}
    names = {
        path.name.removesuffix(path.suffix)
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in SUFFIXES and {"mean", "std"} <= set(sidecar_preprocess(path))
    }
    listed = {one.name for one in allowed("any")}  # those whose licence or device leaves them out
    return sorted(name for name in names - known - listed if timm.is_model(name) and "." not in name)


def weights_of(name: str, workspace: Workspace) -> str | None:
    """``model.weights`` of a backbone: its file where it lies in a folder under a name without a tag."""
    if "." in name:
        return None
    for folder in workspace.weight_folders():
        for suffix in SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return str(folder / f"{name}{suffix}")
    return None


def probe(
    source: Source, one: Backbone, workspace: Workspace, grow: float = 1.0, with_tta: bool = False
) -> Candidate:
    """A linear classifier on a backbone's frozen features: of the middle of an image at its own size, or of whole images,
    ``grow`` times as large; of images as they are, which is half the work, or under the recipe's views too. The memory layout is not
    measured: that takes longer than the wrong one would lose.
    """
    size = sized(one.size, grow)
    model: dict[str, Any] = {"name": one.name, "size": size, **_weights(one, workspace)}
    if grow != 1.0:
        model["crop_pct"] = 1.0
    table = {**source.kept, "channels_last": True, "mode": "probe", "model": model, **_balance(source)}
    if not with_tta:
        table["tta"] = ["identity"]
    name = f"probe {one.name} at {size}" + (", whole images" if grow != 1.0 else "")
    name += ", with TTA" if with_tta else ""
    return Candidate(name, source.recipe(table, name), one.name, grow, with_tta)


def pixels(source: Source) -> Candidate:
    """A linear classifier on the pixels of small images: what every data set can have in seconds."""
    model = {"name": PIXELS, "weights": "none", "size": 32, "fit": "squash", "crop_pct": 1.0}
    table = {**source.kept, "mode": "probe", "model": model, **_balance(source)}
    return Candidate("probe pixels at 16", source.recipe(table, "probe pixels"), PIXELS)


def own(source: Source) -> Candidate:
    """The competition's own recipe."""
    return Candidate("baseline", source.recipe(source.table, "baseline"))


def finetune(source: Source, one: Backbone, workspace: Workspace, epochs: int | None = None) -> Candidate:
    """A backbone that is trained on, as backbones of its kind are, with the transform of the competition's recipe."""
    kind = kind_of(one.family)
    epochs = epochs or source.epochs or int(kind["epochs"])
    own = {} if source.table.get("mode") == "scratch" else deepcopy(source.table)
    table: dict[str, Any] = {**source.kept, **own, "mode": "finetune"}
    if "transform" in source.table:
        table["transform"] = deepcopy(source.table["transform"])
    before = table.pop("model", None)
    fit = {"fit": before["fit"]} if isinstance(before, dict) and "fit" in before else {}
    size = sized(one.size, float(kind["judge"]))
    table["model"] = {"name": one.name, "size": size, "crop_pct": 1.0, **fit, **_weights(one, workspace)}
    table |= deepcopy(kind["recipe"])
    for key in ("stages", "epochs"):
        table.pop(key, None)
    blocks = _last_blocks(one.name, float(kind["on_cpu"])) if source.device == "cpu" else None
    table |= _course(kind, sized(one.size, float(kind["train"])), epochs, blocks)
    table.setdefault("regularize", {"label_smoothing": 0.1, "mixup": 0.2})
    name = f"finetune {one.name} at {size}, {epochs} epochs"
    return Candidate(name, source.recipe(table, name), one.name)


def _course(kind: Mapping[str, Any], side: int, epochs: int, blocks: int | None) -> dict[str, Any]:
    """The epochs of a kind: all alike, or most on small images and the last ones at the judged size; of all blocks, or the last
    so many.
    """
    part = {} if blocks is None else {"train": blocks}
    last = int(kind["last"])
    if not last or epochs <= last:
        return {"stages": [{"epochs": epochs, **part}]} if part else {"epochs": epochs}
    rates = kind["recipe"]["optimizer"]
    slower = {key: float(rates[key]) / 3 for key in ("lr", "head_lr")}
    return {"stages": [{"epochs": epochs - last, "size": side, **part}, {"epochs": last, **slower, **part}]}


@cache
def _last_blocks(name: str, share: float) -> int | None:
    """How many blocks a share of a backbone's are; None where it does not know the order of its layers."""
    import torch

    from comp.models.timm_alone import timm
    from comp.training.optim import layer_groups

    with torch.device("meta"):
        backbone = timm.create_model(name, pretrained=False, num_classes=0)
    try:
        return max(1, round(share * len(layer_groups(backbone))))
    except CompError:
        return None


def reseeded(candidate: Candidate, seed: int) -> Candidate:
    """The same with another seed."""
    recipe = candidate.recipe.model_copy(update={"seed": seed})
    return replace(candidate, name=f"{candidate.name}, seed {seed}", recipe=recipe)


def with_pseudo_labels(candidate: Candidate, path: Path) -> Candidate:
    """The same, trained on pseudo-labelled test rows too."""
    return replace(candidate, name=f"{candidate.name}, pseudo-labels", pseudo=path)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def kind_of(family: str) -> dict[str, Any]:
    """How a family is fine-tuned."""
    kinds = _kinds()
    return next((kind for kind in kinds.values() if family in kind["families"]), kinds["conv"])


@cache
def _kinds() -> dict[str, Any]:
    return read_toml(KINDS, "the recipes by kind of backbone")


def sized(size: int, grow: float) -> int:
    """A side in pixels that networks take: the size itself, or grown to the nearest multiple of 32."""
    return size if grow == 1.0 else max(STEP, round(size * grow / STEP) * STEP)


def _weights(one: Backbone, workspace: Workspace) -> dict[str, str]:
    path = weights_of(one.name, workspace)
    return {} if path is None else {"weights": path}


def _balance(source: Source) -> dict[str, Any]:
    """Class weights, where the competition's recipe has them."""
    balance = source.table.get("balance")
    name = balance if isinstance(balance, str) else (balance or {}).get("name")
    return {"balance": {"name": "weights"}} if name == "weights" else {}
