"""Warm starts: fold k begins from the fold k of an earlier run, which never saw the rows that it holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from comp.data.folds import Folds
from comp.data.labels import LabelMap
from comp.errors import InputError, WeightsError
from comp.models.checkpoint import Sidecar, read_sidecar, read_tensors
from comp.models.weights import StateDict
from comp.recipe import ModelConfig, Recipe
from comp.runs.contents import fitted_beside, folds_of, require_fold, require_held_out, require_of_fold
from comp.runs.run import Run, find_run, require_checkpoints
from comp.workspace import Workspace


@dataclass(frozen=True)
class WarmStart:
    """The checkpoints that the folds of one model start from.

    ``of`` is the earlier run and ``run`` its id, ``name`` what a resolved recipe calls them ("run:ID", or "run:ID/model-1"
    where that run has several models), ``folder`` holds the fold folders, ``folds`` are those of that run.
    """

    of: Run
    name: str
    folder: Path
    folds: Folds

    @property
    def run(self) -> str:
        return self.of.id

    def file(self, k: int) -> Path:
        """The tensors of fold k."""
        return self.folder / f"fold-{k}" / "model.safetensors"

    @cached_property
    def whole(self) -> list[int]:
        """The folds whose checkpoint is there, of a fold that was finished."""
        folds = range(self.folds.k)
        return [
            k for k in folds if self.file(k).is_file() and (self.file(k).parent / "result.json").is_file()
        ]

    def require(self, folds: Sequence[int]) -> None:
        """WeightsError naming the checkpoints that are missing."""
        missing = [f"{self.folder.name}/fold-{k}" for k in folds if k not in self.whole]
        if missing or not self.whole:
            value = f"{self.run} lacks {', '.join(missing) or 'every checkpoint'}"
            remedy = f"`comp run SLUG --resume {self.run}` trains them, or `only={list(self.whole)}`"
            raise WeightsError("a warm start needs the checkpoint of every fold", value, remedy)

    def require_written(self, folds: Sequence[int]) -> None:
        """As ``require``, and InputError naming a file of theirs that is not what the earlier run wrote."""
        self.require(folds)
        for k in folds:
            require_fold(self.of, self.file(k).parent)
            require_of_fold(self.file(k).parent, ["model.json", "model.safetensors"])

    @cached_property
    def sidecar(self) -> Sidecar:
        """What the checkpoints say of themselves, by the first that is there."""
        self.require(())
        require_fold(self.of, self.file(self.whole[0]).parent)
        return read_sidecar(self.file(self.whole[0]).parent)

    def part(self, wanted: ModelConfig) -> ModelConfig:
        """The model with the preprocessing of the checkpoints wherever the recipe leaves it open, without weights of
        its own.

        Raises
        ------
        WeightsError
            If the recipe names another network than the checkpoints are of.
        """
        theirs, ours = _network(self.sidecar.model), _network(wanted)
        differing = [key for key in theirs if theirs[key] != ours[key]]
        if differing:
            value = ", ".join(f"{key} = {ours[key]!r} and not {theirs[key]!r}" for key in differing)
            raise WeightsError(f"a warm start keeps the network of {self.run}", value, "set them as there")
        own = self.sidecar.preprocess.as_json()
        open_ = [key for key in own if key == "fit" and "fit" not in wanted.model_fields_set]
        open_ += [key for key in own if key != "fit" and getattr(wanted, key) is None]
        plain = {key: list(own[key]) if isinstance(own[key], tuple) else own[key] for key in open_}
        return wanted.model_copy(update={**plain, "weights": "none"})

    def weights(self, k: int, labels: LabelMap) -> StateDict:
        """The tensors of fold k; without its classifier where its label map is another."""
        self.require([k])
        require_fold(self.of, self.file(k).parent)
        tensors, sidecar = read_tensors(self.file(k).parent)
        if sidecar.labels == labels:
            return tensors
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}

    def fitted(self, k: int) -> set[str]:
        """The contents of the rows that the checkpoint of fold k was ever fitted on, as far as they are known."""
        if self.file(k).is_file():
            require_fold(self.of, self.file(k).parent)
        return fitted_beside(self.file(k))


def _network(part: ModelConfig) -> dict[str, Any]:
    """What decides the tensors of a model, whatever the size of its input."""
    return {
        "model.name": part.name,
        "model.kwargs": part.kwargs,
        "model.stem": part.stem,
        "model.pool": part.pool,
        "model.head.hidden": part.head.hidden,
        "model.head.scale": part.head.scale,
        "model.head.centres": part.head.centres,
    }


def warm_start(recipe: Recipe, n: int, models: int, workspace: Workspace, slug: str) -> WarmStart:
    """The checkpoints that model ``n`` of ``models`` starts from, by the run that its recipe names.

    Raises
    ------
    InputError
        If there is no such run, it is of another competition, or has no finished fold.
    """
    assert recipe.start_run is not None, "asked only where a recipe names a run"
    name, _, which = recipe.start_run.partition("/")
    run = find_run(workspace, name)
    require_checkpoints(run)
    require_held_out(run)  # what it was fitted on, every fold would be scored on
    if run.slug != slug:
        raise InputError(
            "a warm start stays within a competition",
            f"{run.id} is of {run.slug}",
            f"model.weights = one of its files, runs/{run.id}/fold-0/model.safetensors",
        )
    found = resolve_warm_start(run, which, n, models)
    found.require(())
    return found


def resolve_warm_start(run: Run, which: str, n: int, models: int) -> WarmStart:
    """The checkpoints of a run that model ``n`` of ``models`` starts from.

    A run of one model serves any; of as many models, model n serves model n; ``which`` ("model-1") names one.

    Raises
    ------
    InputError
        If it cannot be told which model is meant, or the run has no folds.
    """
    several = sorted(path.name for path in run.folder.glob("model-*") if path.is_dir())
    chosen = which or (f"model-{n}" if len(several) == models else "")
    if (several and chosen not in several) or (which and not several):
        value = f"{run.id} has {', '.join(several) or 'one model'}" + (
            f", and not {which!r}" if which else ""
        )
        raise InputError(
            "a warm start names one of several models",
            value,
            f'`overrides=["model.weights=run:{run.id}' + (f"/{several[0]}" if several else "") + '"]`',
        )
    name = f"run:{run.id}" + (f"/{chosen}" if several else "")
    folder = run.folder / chosen if several else run.folder
    if not all((run.folder / name).is_file() for name in ("folds.csv", "folds.json")):
        raise InputError(
            "a warm start needs a run with folds", f"{run.id} has none", "start from a trained run"
        )
    return WarmStart(run, name, folder, folds_of(run))
