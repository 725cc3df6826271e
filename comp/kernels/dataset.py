"""The dataset that a notebook attaches: wheels, a run's checkpoints, and the competition's folder. It is flat, as Kaggle
takes folders only packed; ``files.json`` says where in a workspace each file belongs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comp import runs
from comp.competition import Competition
from comp.errors import InputError
from comp.kernels.wheels import fetch_wheels, installed_wheel, is_left_over, own_wheel
from comp.recipe import Recipe, as_one, load
from comp.registry import built_in_folder
from comp.workspace import read_json, write_json, write_text

FILES = "files.json"
CARRIED = ("timm",)  # an older one may lack the run's model; a newer one in the image is left as it is
NOT_NEEDED = (runs.STARTED, runs.RECORD, "findings.json", "folds.json")  # of a run's own JSON files
OF_A_FOLD = ("model.safetensors", "model.json", "control.json", "result.json", "oof.npz")


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

    def add_run(self, one: runs.Run, folders: Sequence[Path]) -> None:
        """What a prediction needs of a run: its recipe, free to use what the machine has, and the folds' checkpoints.

        No path of this machine goes along.
        """
        place = f"runs/{one.id}"
        recipe = load(one.folder / "recipe.toml")
        text = as_one([_anywhere(r) for r in recipe.each]).to_toml(f"run {one.id}, for any machine")
        self._add_text(f"{place}/recipe.toml", text)
        self._add_json(f"{place}/{runs.STARTED}", {**one.started, "raw": "", "command": []})
        for file in _needed(one.folder, folders):
            path = f"{place}/{file.relative_to(one.folder).as_posix()}"
            if file.name == "model.json":
                sidecar = read_json(file)
                sidecar["model"]["weights"] = _name(sidecar["model"].get("weights", "none"))
                self._add_json(path, sidecar)
            else:
                self._add(file, path)

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

    def _add(self, source: Path, path: str) -> None:
        """A file as it is: a second name for it where the file system can do that, so that checkpoints take no room."""
        target = self._target(path)
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)
        self._added(target, path)

    def _add_json(self, path: str, value: Any) -> None:
        target = self._target(path)
        write_json(target, value)
        self._added(target, path)

    def _add_text(self, path: str, text: str) -> None:
        target = self._target(path)
        write_text(target, text)
        self._added(target, path)

    def _added(self, target: Path, path: str) -> None:
        self.files.append(Carried(target.name, path, target.stat().st_size))


def _anywhere(recipe: Recipe) -> Recipe:
    """A recipe for whatever device and threads there are, that names what it started from without its folder."""
    part = recipe.model.model_copy(update={"weights": _name(recipe.model.weights)})
    return recipe.model_copy(update={"model": part, "device": "auto", "threads": None, "jobs": None})


def _name(weights: str) -> str:
    return weights if weights.startswith("run:") else Path(weights).name


def _needed(run: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """The files of a run that a prediction may read: checkpoints, control rows, the OOF rows that a prior comes from, and
    what was chosen after training.
    """
    yield from (path for path in sorted(run.glob("*.json")) if path.name not in NOT_NEEDED)
    if (run / "oof.npz").is_file():
        yield run / "oof.npz"
    for folder in folders:
        yield from (folder / name for name in OF_A_FOLD if (folder / name).is_file())
        yield from sorted((folder / "control").glob("*"))
