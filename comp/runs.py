"""Run folders and their records."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import __version__, console
from comp.errors import InputError, Refusal, UnknownName
from comp.workspace import Workspace, make_folder, read_json, write_json

if TYPE_CHECKING:
    from comp.checks.evidence import Evidence
    from comp.competition import CompetitionFacts
    from comp.manifest import Manifest
    from comp.recipe import Recipe

RECORD = "record.json"
STARTED = "started.json"
IMPORTED = "import"  # the mode of a run whose predictions come from elsewhere
ENSEMBLE = "ensemble"  # the mode of a blend of runs
_HEX = 0xFFFF  # the last number of a run id


@dataclass(frozen=True)
class Run:
    """A run folder; ``record`` is empty while the run is not finished."""

    folder: Path
    started: dict[str, Any]
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def slug(self) -> str:
        return str(self.started.get("slug", ""))

    @property
    def state(self) -> str:
        return "done" if self.record else "unfinished"

    @property
    def marks(self) -> list[str]:
        """Why a run is no full one: quick, sample, partial."""
        return list(self.started.get("marks", []))

    def summary(self) -> dict[str, Any]:
        """The line of this run in ``comp runs``."""
        return {
            "run": self.id,
            "slug": self.slug,
            "state": self.state,
            "marks": self.marks,
            "mode": self.started.get("mode"),
            "model": self.started.get("model"),
            "folds": self.started.get("folds"),
            "parent": self.started.get("parent"),
            "merged": self.started.get("merged", []),
            "pseudo": self.started.get("pseudo", {}).get("run"),
            "metric": self.record.get("metric", self.started.get("metric")),
            "oof": self.record.get("oof", {}).get("score"),
            "submission": self.record.get("submission"),
        }


def new_run(workspace: Workspace, started: dict[str, Any]) -> Run:
    """Makes a run folder, ``<yyyymmdd-hhmmss>-<4 hex>``, and writes down what was started.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.
    """
    make_folder(workspace.runs)
    while True:
        second = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        least = _after(workspace, second)
        if least > _HEX:
            time.sleep(0.05)  # this second is full
            continue
        folder = workspace.runs / f"{second}-{least + secrets.randbelow((_HEX - least) // 2 + 1):04x}"
        try:
            os.mkdir(folder)
            break
        except FileExistsError:
            continue
    write_json(folder / STARTED, started)
    return Run(folder, started, {})


def _after(workspace: Workspace, second: str) -> int:
    """The least number that sorts behind the runs of this second: the newest run is the last by name."""
    taken = [path.name.rpartition("-")[2] for path in workspace.runs.glob(f"{second}-????")]
    return max((int(name, 16) + 1 for name in taken if _is_hex(name)), default=0)


def _is_hex(name: str) -> bool:
    return set(name) <= set("0123456789abcdef")


def facts(
    competition: CompetitionFacts,
    evidence: Evidence,
    recipe: Recipe,
    marks: list[str],
    expected: float | None,
) -> dict[str, Any]:
    """What is written down when a run starts: enough to know it, find its data and resume it."""
    import torch

    told = facts_of_rows(competition, evidence.raw, evidence.k, evidence.manifest, marks)
    return {
        **told,
        "mode": recipe.mode,
        "model": ", ".join(one.model.name for one in recipe.each),
        "expected": expected,
        "recipe_sha256": recipe_sha256(recipe),
        "versions": {**told["versions"], "torch": str(torch.__version__)},
        "machine": machine(recipe.device),
    }


def facts_of_rows(
    competition: CompetitionFacts, raw: Path, k: int, manifest: Manifest, marks: list[str]
) -> dict[str, Any]:
    """What is written down of every run, whether or not it trains."""
    return {
        "slug": competition.slug,
        "started": _now(),
        "command": sys.argv[1:],
        "raw": str(raw),
        "folds": k,
        "metric": competition.metric,
        "marks": marks,
        "train_sha256": manifest.fingerprint("train"),
        "test_sha256": manifest.fingerprint("test"),
        "versions": {"comp": __version__, "python": platform.python_version()},
        "machine": machine(),
    }


def machine(device: str = "cpu") -> str:
    """The kind of this machine in words, with its GPU where that is the device that is used."""
    here = f"{platform.system()} {platform.machine()}"
    if device != "cuda":
        return here
    import torch

    # a merged run's recipe may name a device of other machines
    return f"{here}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else here


def say_what_differs(one: Run, device: str) -> None:
    """Says in which versions and on what machine a run began, where it goes on otherwise."""
    import torch

    now = {"comp": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    began = one.started.get("versions", {})
    lines = [
        f"{name} {began[name]}, now {now[name]}" for name in now if began.get(name, now[name]) != now[name]
    ]
    here = machine(device)
    if one.started.get("machine", here) != here:
        lines.append(f"{one.started['machine']}, now {here}")
    if lines:
        console.say(f"  {one.id} began with {'; '.join(lines)}: what is left may differ in the last digits")


def recipe_sha256(recipe: Recipe) -> str:
    """SHA-256 of a resolved recipe, whatever its comments, its layout, and the parts that memory left its batches."""
    from comp.recipe import as_one

    plain = as_one([one.model_copy(update={"accumulate": 1}) for one in recipe.each])
    return hashlib.sha256(plain.to_toml().encode()).hexdigest()


def finish(one: Run, result: dict[str, Any]) -> None:
    """Writes the record, after everything else: its presence says that the run is whole."""
    write_json(one.folder / RECORD, {**result, "ended": _now()})


def require_same_rows(one: Run, manifest: Manifest) -> None:
    """Refuses to go on with a run whose rows are no longer those it began with."""
    for split in ("train", "test"):
        if manifest.fingerprint(split) != one.started.get(f"{split}_sha256"):
            value = f"the {split} rows are no longer those that {one.id} began with"
            raise Refusal("a resumed run needs the same rows", value, "restore the data, or start a new run")


def require_kept(one: Run, now: dict[str, str | None], models: Path) -> None:
    """Refuses to go on with other folds, where what a fold has trained on would be scored as held out, and with another
    models.py, whose networks would be scored as one.
    """
    for key, file in (("folds_sha256", one.folder / "folds.csv"), ("models_sha256", models)):
        if one.started.get(key, now[key]) != now[key]:
            value = f"{file} is no longer what the run began with"
            raise Refusal(
                "a resumed run keeps its folds and networks", value, "restore it, or start a new run"
            )


def require_checkpoints(one: Run) -> None:
    """InputError for a run that has predictions alone: there is nothing to predict or train on with."""
    if one.started.get("mode") == ENSEMBLE:
        value = f"{one.id} is a blend of {', '.join(one.started.get('parts', []))}"
        remedy = f"do it with a part; the blend's submission is submissions/{one.slug}/{one.id}.csv"
        raise InputError("this needs checkpoints", value, remedy)
    if one.started.get("mode") == IMPORTED:
        value = f"{one.id} ({one.started.get('model')}) was imported: it has OOF and test predictions alone"
        remedy = f"`comp ensemble` blends it; its submission is submissions/{one.slug}/{one.id}.csv"
        raise InputError("this needs checkpoints", value, remedy)


def raw_folder(one: Run, workspace: Workspace) -> Path:
    """The raw folder that a run was made from, or the workspace's where it was made on another machine."""
    raw, here = Path(str(one.started["raw"])), workspace.raw(one.slug)
    return here if not raw.is_dir() and here.is_dir() else raw


def all_runs(workspace: Workspace, slug: str | None = None) -> list[Run]:
    """Every run, newest first; of one competition if asked."""
    if not workspace.runs.is_dir():
        return []
    found = []
    for folder in sorted(workspace.runs.iterdir(), reverse=True):
        if (folder / STARTED).is_file():
            record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
            found.append(Run(folder, read_json(folder / STARTED), record))
    return [run for run in found if slug is None or run.slug == slug]


def find_run(workspace: Workspace, name: str) -> Run:
    """A run by its id, a prefix that fits one run, or ``latest``.

    Raises
    ------
    UnknownName, InputError
        If none fits, or several do.
    """
    runs = all_runs(workspace)
    fitting = (
        runs[:1]
        if name == "latest"
        else [run for run in runs if run.id == name] or [run for run in runs if run.id.startswith(name)]
    )
    if not fitting:
        raise UnknownName("run", name, [run.id for run in runs], "`comp runs` shows them all")
    if len(fitting) > 1:
        value = f"{name!r} fits {', '.join(run.id for run in fitting[:4])}"
        raise InputError("a prefix must fit one run", value, "write more of the id")
    if not fitting[0].slug:
        value = f"{fitting[0].folder / STARTED} names no competition"
        raise InputError("a run's folder must be whole", value, "restore the file, or remove the folder")
    return fitting[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
