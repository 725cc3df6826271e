"""What a preset was asked for, and the folder that it works in."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comp.config import Shape, read_shaped
from comp.errors import InputError, UnknownName
from comp.files import make_folder, write_json
from comp.runs import run as runs
from comp.workspace import Workspace

PRESETS = ("fast", "good", "best")
FOLDER, ORDER = "presets", "order.json"
_ID = re.compile(r"preset-\d{8}-\d{6}-[0-9a-f]{4}")
NOT_BESIDE = {
    "recipe": "a preset makes its own recipes: `overrides` narrows them",
    "quick": '`preset="fast"` is the quick one',
    "only": "a preset trains all folds: run the recipe of one of its runs with `only`",
    "pseudo": "run the recipe of one of its runs with `pseudo`",
    "ensemble": "a preset blends what it trained",
    "refit": "refit one of its runs, once it is done",
}


class _Order(Shape):
    preset: str
    slug: str
    given: dict[str, Any]


@dataclass(frozen=True)
class PresetOrder:
    """A preset, and the arguments of its command as JSON has them: the same words give the same candidates."""

    preset: str
    slug: str
    given: dict[str, Any]
    folder: Path

    @property
    def id(self) -> str:
        """What ``resume`` takes."""
        return self.folder.name


def require_preset(preset: str, beside: dict[str, Any]) -> None:
    """Refuses an unknown preset, and arguments ``beside`` it that it takes no part of."""
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    for name, remedy in NOT_BESIDE.items():
        if beside.get(name):
            value = f"`{name}` came with `preset={preset!r}`"
            raise InputError("a preset decides what is trained", value, remedy)


def require_known(others: dict[str, Any]) -> None:
    """TypeError for an argument that neither a preset nor a run takes."""
    unknown = sorted(set(others) - set(NOT_BESIDE))
    if unknown:
        raise TypeError(f"run_preset() got an unexpected keyword argument {unknown[0]!r}")


def is_preset(name: str | None) -> bool:
    """Whether ``resume`` names a preset, or a prefix of one."""
    return name is not None and name.startswith("preset-")


def new_order(workspace: Workspace, preset: str, slug: str, given: dict[str, Any]) -> PresetOrder:
    """An order with a folder of its own."""
    root = make_folder(workspace.root / FOLDER)
    while True:
        folder = root / f"preset-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
    write_json(folder / ORDER, {"preset": preset, "slug": slug, "given": given})
    return PresetOrder(preset, slug, given, folder)


def find_order(workspace: Workspace, name: str, slug: str) -> PresetOrder:
    """An order by its id or a prefix of it; ``latest`` is the newest of the competition.

    Raises
    ------
    UnknownName, InputError
        Where there is none or several, or it is of another competition.
    """
    known = _orders(workspace)
    if name == "latest":
        own = [folder for folder in known if _read(folder).slug == slug]
        fitting = own[-1:]
    else:
        same = [folder for folder in known if folder.name == name]
        fitting = same or [folder for folder in known if folder.name.startswith(name)]
    if not fitting:
        raise UnknownName("preset run", name, [folder.name for folder in known], "begin one: `preset`")
    if len(fitting) > 1:
        value = f"{name!r} fits {', '.join(folder.name for folder in fitting[:4])}"
        raise InputError("a prefix must fit one preset run", value, "write more of it")
    order = _read(fitting[0])
    if order.slug != slug:
        value = f"{fitting[0].name} is of {order.slug}"
        remedy = f"`comp run {order.slug} --resume {fitting[0].name}`"
        raise InputError("a preset run belongs to one competition", value, remedy)
    return PresetOrder(order.preset, order.slug, order.given, fitting[0])


def latest_is_preset(workspace: Workspace, slug: str) -> bool:
    """Whether the newest run of a competition is one of a preset, or a preset is newer than any run of it."""
    own = [folder for folder in _orders(workspace) if _read(folder).slug == slug]
    if not own:
        return False
    newest = runs.all_runs(workspace, slug)[:1]
    if not newest or newest[0].id[:15] < own[-1].name.removeprefix("preset-")[:15]:
        return True
    return newest[0].started.get("preset") == own[-1].name


def _orders(workspace: Workspace) -> list[Path]:
    root = workspace.root / FOLDER
    if not root.is_dir():
        return []
    return sorted(one for one in root.iterdir() if _ID.fullmatch(one.name) and (one / ORDER).is_file())


def _read(folder: Path) -> _Order:
    found: _Order = read_shaped(folder / ORDER, _Order, "begin another preset run: its finished runs stay")
    return found
