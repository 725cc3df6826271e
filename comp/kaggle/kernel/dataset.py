"""The dataset that a notebook attaches: wheels, a run's checkpoints, and the competition's folder. It is flat, as Kaggle
takes folders only packed; ``files.json`` says where in a workspace each file belongs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comp.data.competitions.competition import Competition, built_in_folder
from comp.ensembling.kept_blend import LEARNED, save_blend
from comp.ensembling.nested_cv import FittedBlend
from comp.errors import InputError
from comp.files import read_json, sealed, sha256_of, write_json, write_text
from comp.inference.predict import control_table
from comp.kaggle.kernel.contents import Contents
from comp.kaggle.kernel.wheels import fetch_wheels, installed_wheel, is_left_over, own_wheel
from comp.recipe import Recipe, as_one
from comp.runs import run as runs
from comp.runs.contents import (
    DECISION_FILE,
    REFIT_FILE,
    VIEWS_FILE,
    judged_file,
    recipe_of,
    require_fold,
    require_of_fold,
)
from comp.runs.parts import Part

FILES = "files.json"
CARRIED = ("timm",)  # an older one may lack the run's model; a newer one in the image is left as it is
NEEDED = (
    VIEWS_FILE,
    DECISION_FILE,
    "oof.npz",
    REFIT_FILE,
)  # of a run's own files: what was chosen after training, and what a class prior comes from


@dataclass(frozen=True)
class Carried:
    """A file by its ``name`` in the dataset, its ``path`` in a workspace, and its size in bytes."""

    name: str
    path: str
    bytes: int


class Dataset:
    """A dataset's folder while it is filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Carried] = []
        self.wheels: dict[str, str] = {}
        self.wheel_bytes = 0

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def add_wheels(self, more: Sequence[str]) -> None:
        """The wheel of comp, of what it carries along, and ``more``: ``wheels`` has their versions by name."""
        made = [own_wheel(self.folder), *(installed_wheel(name, self.folder) for name in CARRIED)]
        for path in [*filter(None, made), *fetch_wheels(more, self.folder)]:
            name, version = path.name.split("-")[:2]
            self.wheels[name] = version
            self.wheel_bytes += path.stat().st_size

    def add(self, contents: Contents) -> None:
        """What a notebook predicts with."""
        for run in {part.run.id: part.run for part in contents.parts}.values():
            self._add_run(run, [part for part in contents.parts if part.run.id == run.id], contents.views)
        for name, (run, parts, learned) in contents.blends.items():
            self._add_blend(name, run, parts, learned)

    def _add_blend(self, name: str, run: runs.Run, parts: Sequence[str], learned: FittedBlend) -> None:
        """A blend of these parts as the run ``name``: what it learned, and nothing that it was learned on."""
        place = f"runs/{name}"
        target = self._target(f"{place}/{LEARNED}")
        save_blend(learned, target)
        files = {LEARNED: sha256_of(self._added(target, f"{place}/{LEARNED}"))}
        told = {**run.started, "mode": runs.ENSEMBLE, "parts": list(parts), "run": name}
        self._add_json(f"{place}/{runs.STARTED}", sealed({**told, "raw": "", "command": [], "files": files}))

    def _add_run(self, run: runs.Run, parts: Sequence[Part], views: Mapping[str, list[str]]) -> None:
        """What a prediction needs of a run, or of some of its models: its recipe, free to use what the machine has, and the
        folds' checkpoints. ``views`` are those of parts that lost their own, by name.

        No path of this machine goes along.
        """
        place = f"runs/{run.id}"
        recipe = as_one([_anywhere(r) for r in recipe_of(run).each])
        text = recipe.to_toml(f"run {run.id}, for any machine")
        files = {runs.RECIPE: sha256_of(self._add_text(f"{place}/{runs.RECIPE}", text))}
        for name in [*_needed(run), *(f"{part.model}/oof.npz" for part in parts if part.model)]:
            files[name] = sha256_of(self._add(run.checked(name), f"{place}/{name}"))
        for folder in dict.fromkeys(folder for part in parts for folder in part.folders):
            name = f"{folder.relative_to(run.folder).as_posix()}/{runs.RESULT}"
            files[name] = self._add_fold(run, folder, place)
        told = {**run.started, "run": run.id, "raw": "", "command": [], "files": files}
        told["views"] = {part.model: views[part.name] for part in parts if part.name in views}
        self._add_json(f"{place}/{runs.STARTED}", sealed(told))

    def _add_fold(self, run: runs.Run, folder: Path, place: str) -> str:
        """What a prediction needs of a fold; the SHA-256 of its result as it is here."""
        from comp.models.checkpoint import read_tensors

        inside = folder.relative_to(run.folder).as_posix()
        result = require_fold(run, folder)
        read_tensors(folder)  # its own SHA-256 is looked at there
        controls = [row.file for row in control_table(folder)]
        judged = judged_file(result)
        require_of_fold(folder, [judged])
        for name in ("model.safetensors", "control.json", judged, *controls):
            self._add(folder / name, f"{place}/{inside}/{name}")
        sidecar = read_json(folder / "model.json")
        sidecar["model"]["weights"] = _name(sidecar["model"].get("weights", "none"))
        written = self._add_json(f"{place}/{inside}/model.json", sidecar)
        if result.get("files") is not None:
            result["files"] = {**result["files"], "model.json": sha256_of(written)}
            result = sealed(result)
        return sha256_of(self._add_json(f"{place}/{inside}/{runs.RESULT}", result))

    def add_competition(self, competition: Competition) -> bool:
        """The competition's own folder, and that of the one it overlays, unless the wheel has them; whether it was needed."""
        found = False
        one: Competition | None = competition
        while one is not None:
            if not one.folder.resolve().is_relative_to(built_in_folder().resolve()):
                found = True
                for file in sorted(one.folder.rglob("*")):
                    inside = file.relative_to(one.folder)
                    if file.is_file() and not is_left_over(inside):
                        self._add(file, f"competitions/{one.folder.name}/{inside.as_posix()}")
            one = one.base
        return found

    def close(self) -> None:
        """Writes down where each file belongs."""
        write_json(self.folder / FILES, [asdict(file) for file in self.files])

    def _target(self, path: str) -> Path:
        """Where a workspace's file lies in the flat dataset."""
        target = self.folder / path.replace("/", "__")
        if target.exists():
            raise InputError("names must stay apart in a flat folder", path, "rename the file")
        return target

    def _add(self, source: Path, path: str) -> Path:
        """A file as it is: a second name for it where the file system can do that, so that checkpoints take no room."""
        target = self._target(path)
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)
        return self._added(target, path)

    def _add_json(self, path: str, value: Any) -> Path:
        target = self._target(path)
        write_json(target, value)
        return self._added(target, path)

    def _add_text(self, path: str, text: str) -> Path:
        target = self._target(path)
        write_text(target, text)
        return self._added(target, path)

    def _added(self, target: Path, path: str) -> Path:
        self.files.append(Carried(target.name, path, target.stat().st_size))
        return target


def _anywhere(recipe: Recipe) -> Recipe:
    """A recipe for whatever device and threads there are, that names what it started from without its folder."""
    part = recipe.model.model_copy(update={"weights": _name(recipe.model.weights)})
    return recipe.model_copy(update={"model": part, "device": "auto", "threads": None, "jobs": None})


def _name(weights: str) -> str:
    return weights if weights.startswith("run:") else Path(weights).name


def _needed(run: runs.Run) -> Iterator[str]:
    """The files of a run, beside its recipe and its folds, that a prediction may read."""
    return (name for name in NEEDED if run.has(name))
