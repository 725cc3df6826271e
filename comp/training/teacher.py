"""The earlier run that folds learn from by ``distill``: fold k from its models of fold k, which never saw what fold k holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.data.folds import Folds, folds_sha256
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.errors import InputError
from comp.models.checkpoint import read_sidecar
from comp.recipe import DistillConfig
from comp.runs.contents import (
    fitted_beside,
    folds_of,
    recipe_of,
    require_fold,
    require_of_fold,
    with_chosen_views,
)
from comp.runs.run import ENSEMBLE, Run, find_run, require_checkpoints
from comp.workspace import Workspace


@dataclass(frozen=True)
class Teacher:
    """The models that folds learn from, which all count alike.

    ``config`` is the recipe's table with the whole id of the run. ``models`` are the folders that hold fold folders, each
    with the run that it is of; ``folds`` are those of these runs. ``views`` are those that rows are answered by: identity,
    and hflip where the runs have it. ``selected`` says that something of them was chosen on OOF rows.
    """

    config: DistillConfig
    models: tuple[tuple[Run, Path], ...]
    folds: Folds
    views: tuple[str, ...]
    selected: bool

    def checkpoints(self, k: int) -> list[Path]:
        """The folders of fold k's models.

        Raises
        ------
        InputError
            For one that is missing, or not what its run wrote.
        """
        found = [(run, folder / f"fold-{k}") for run, folder in self.models]
        for run, folder in found:
            if not all((folder / name).is_file() for name in ("result.json", "model.safetensors")):
                value = f"{run.id} lacks {folder.relative_to(run.folder).as_posix()}"
                remedy = (
                    f"`comp run {run.slug} --resume {run.id}` trains it, or train other folds with `only`"
                )
                raise InputError("a fold learns from a teacher's models of that fold", value, remedy)
            require_fold(run, folder)
            require_of_fold(folder, ["model.json", "model.safetensors"])
        return [folder for _, folder in found]

    def require_fitting(
        self, slug: str, manifest: Manifest, folds: Folds, labels: LabelMap, only: Sequence[int]
    ) -> None:
        """Refuses a teacher of other rows, folds or classes, one that lacks a fold of ``only``, and one that was ever
        fitted on what such a fold holds out: its answers would carry the labels of held-out rows into training.

        Raises
        ------
        InputError
            Naming what differs.
        """
        name = self.config.run
        other = "train rows" if self.folds.fingerprint != folds.fingerprint else "folds"
        if folds_sha256(self.folds) != folds_sha256(folds) or other == "train rows":
            remedy = (
                f"`comp run {slug} --folds runs/{self.models[0][0].id}/folds.csv`, on the data of that run"
            )
            value = f"{name} is of other {other}"
            raise InputError("a teacher has the folds that learn from it", value, remedy)
        train = manifest.train
        fold = folds.of(train["id"])
        for k in only:
            for folder in self.checkpoints(k):
                if read_sidecar(folder).labels != labels:
                    value = f"{folder} has another label map"
                    raise InputError("a teacher answers the same classes", value, "train it again")
                held_out = train[fold == k]
                seen = fitted_beside(folder / "model.safetensors") if "content" in train else set()
                leaked = [
                    i
                    for i, content in zip(held_out["id"], held_out.get("content", []), strict=False)
                    if content in seen
                ]
                if leaked:
                    value = f"{folder} was fitted on {len(leaked)} rows that fold {k} holds out, first {leaked[0]!r}"
                    remedy = "learn from a run whose fold never saw them"
                    raise InputError("a teacher never saw what its fold holds out", value, remedy)


def find_teacher(config: DistillConfig, workspace: Workspace, slug: str) -> Teacher:
    """The models that a recipe's ``distill`` names.

    Raises
    ------
    InputError
        If there is no such run, it is of another competition, has no checkpoints or folds, or is a blend in which parts do
        not count alike or have other folds.
    """
    name, _, which = config.run.partition("/")
    run = find_run(workspace, name)
    if run.slug != slug:
        value = f"{run.id} is of {run.slug}"
        raise InputError("a teacher is of the same competition", value, "`comp runs` shows them all")
    models = _models(workspace, run, which)
    folds = [folds_of(one) for one, _ in models]
    for (one, _), own in zip(models, folds, strict=True):
        if folds_sha256(own) != folds_sha256(folds[0]) or own.fingerprint != folds[0].fingerprint:
            value = f"{one.id} has other folds than {models[0][0].id}"
            raise InputError("a teacher's models share their folds", value, "name one of its parts")
    recipes = [with_chosen_views(recipe_of(one), one) for one, _ in models]
    mirrored = all("hflip" in recipe.each[0].views for recipe in recipes)
    whole = run.id + (f"/{which}" if which else "")
    return Teacher(
        config.model_copy(update={"run": whole}),
        tuple(models),
        folds[0],
        ("identity", "hflip") if mirrored else ("identity",),
        any(_selected(one) for one, _ in models),
    )


def _models(workspace: Workspace, run: Run, which: str) -> list[tuple[Run, Path]]:
    """The folders with the fold folders of a run's models, or of those of its parts."""
    if run.started.get("mode") == ENSEMBLE and not which:
        method = str((run.record.get("ensemble") or {}).get("method", "unknown"))
        if method != "mean":
            value = f"{run.id} is a blend by {method!r}"
            remedy = f'name a part, or blend with `method="mean"`: {", ".join(run.started.get("parts", []))}'
            raise InputError("a teacher's models count alike", value, remedy)
        parts = [part.partition("/") for part in run.started["parts"]]
        return [one for part, _, of in parts for one in _models(workspace, find_run(workspace, part), of)]
    require_checkpoints(run)
    several = {path.name: path for path in sorted(run.folder.glob("model-*")) if path.is_dir()}
    if which and which not in several:
        value = f"{run.id} has {', '.join(several) or 'one model'}, and not {which!r}"
        raise InputError(
            "a teacher is a run, or a model of one", value, f'`overrides=["distill.run={run.id}"]`'
        )
    if not all((run.folder / name).is_file() for name in ("folds.csv", "folds.json")):
        raise InputError("a teacher has folds", f"{run.id} has none", "name a trained run")
    chosen = [several[which]] if which else list(several.values()) or [run.folder]
    return [(run, folder) for folder in chosen]


def _selected(run: Run) -> bool:
    """Whether something of a run was chosen on its OOF rows, as far as it tells."""
    told = (run.record or run.partial).get("oof") or {}
    asked = any(one.checkpoint == "best" or one.stop or one.chooses_views for one in recipe_of(run).each)
    return bool(asked or told.get("selected_on_oof"))
