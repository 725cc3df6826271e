"""Run folders and their records, and the SHA-256 of every file that a later command reads."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from comp import events
from comp._version import __version__
from comp.config import Shape, read_shaped
from comp.errors import CompError, InputError, UnknownName
from comp.files import SEAL, alone, is_intact, make_folder, remove_leftovers, sealed, sha256_of, write_json
from comp.runs.marks import gaps_of
from comp.runs.result import machine
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig
    from comp.data.manifest import Manifest
    from comp.recipe import Recipe

RECORD = "record.json"
STARTED = "started.json"
PARTIAL = "partial.json"  # what a run with some of its folds came to; gone once it is done or goes on
PREDICTED = "predicted.json"  # the submissions that `comp predict` wrote since
PROGRESS = "progress.json"  # how far training is; gone once a run is done
LOCK = ".running"
RESULT = "result.json"  # of a fold: it comes last there, and has the SHA-256 of the fold's other files
RECIPE = "recipe.toml"
IMPORTED = "import"  # the mode of a run whose predictions come from elsewhere
ENSEMBLE = "ensemble"  # the mode of a blend of runs
_HEX = 0xFFFF  # the last number of a run id
_FOLD = re.compile(r"fold-\d+")
_LATER = re.compile(
    r"pseudo-.*\.(csv|json)"
)  # `comp pseudo` writes them into finished runs, and proves them itself
_RULE = "a run's files are as it wrote them"


class _Pseudo(Shape):
    run: str = ""


class _Started(Shape):
    """What ``started.json`` must be, as far as commands rely on it."""

    run: str | None = None
    slug: str = ""
    raw: str = ""
    folds: int | None = None
    metric: str | None = None
    mode: str | None = None
    model: str | None = None
    expected: float | None = None
    marks: list[str] = Field(default_factory=list)
    parts: list[str] = Field(default_factory=list)
    merged: list[str] = Field(default_factory=list)
    parent: str | None = None
    refit: str | None = None
    epochs_before: list[int] = Field(default_factory=list)
    pseudo: _Pseudo | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str | None = None
    train_sha256: str | None = None
    test_sha256: str | None = None
    recipe_sha256: str | None = None
    folds_sha256: str | None = None
    models_sha256: str | None = None
    corrected_sha256: str | None = None
    files: dict[str, str] | None = None
    sha256: str | None = None


class _Oof(Shape):
    score: float | None
    per_fold: list[float | None] = Field(default_factory=list)
    selected_on_oof: bool = False
    last_epoch: float | None = None


class _Record(Shape):
    """What ``record.json`` and ``partial.json`` must be, as far as commands rely on them."""

    run: str | None = None
    slug: str | None = None
    metric: str | None = None
    submission: str | None = None
    marks: list[str] = Field(default_factory=list)
    oof: _Oof
    files: dict[str, str] | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Run:
    """A run folder. ``record`` is empty while the run is not finished, ``partial`` unless it came to a submission with
    some of its folds; ``damage`` says in a line why nothing of it can be believed, and is empty where that is not so.
    """

    folder: Path
    started: dict[str, Any]
    record: dict[str, Any]
    partial: dict[str, Any] = field(default_factory=dict)
    damage: str = ""

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def slug(self) -> str:
        return str(self.started.get("slug", ""))

    @property
    def state(self) -> str:
        return "damaged" if self.damage else "done" if self.record else "unfinished"

    def has_ended_since(self) -> bool:
        """Whether a run that was read as unfinished is done by now."""
        return self.state == "unfinished" and (self.folder / RECORD).is_file()

    @property
    def marks(self) -> list[str]:
        """What stands beside a run's score: why it is no full one (quick, sample, partial), and that it trained with
        corrected labels.
        """
        return list(self.started.get("marks", []))

    @property
    def refit(self) -> str:
        """The run that this one is a refit of; empty for every other."""
        return str(self.started.get("refit") or "")

    @property
    def gaps(self) -> list[str]:
        """Why a run is no full one."""
        return gaps_of(self.marks)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by the path in the folder, as the last that was written about the whole run says."""
        if self.record:
            return dict(self.record.get("files") or {})
        return {**(self.started.get("files") or {}), **(self.partial.get("files") or {})}

    @property
    def is_proven(self) -> bool:
        """Whether it knows the SHA-256 of its files; runs of older versions do not."""
        return self.started.get("files") is not None or bool(self.files)

    def has(self, name: str) -> bool:
        """Whether the run wrote a file of this name; of an older run, whether it is there."""
        return name in self.files if self.is_proven else (self.folder / name).is_file()

    def checked(self, name: str) -> Path:
        """The path of a file of the run, once its content is known to be what the run wrote.

        Of runs of older versions that cannot be known, which is said once.

        Raises
        ------
        InputError
            If it is missing, was changed, or is none that the run wrote.
        """
        path = self.folder / name
        if not self.is_proven:
            events.warn_once(
                f"{self.id} is of an older version, without the SHA-256 of its files: what lies there is believed"
            )
            return path
        wanted = self.files.get(name)
        if wanted is None:
            remedy = f"remove it, or finish the run: `comp run {self.slug} --resume {self.id}`"
            raise InputError(_RULE, f"{path} is not one of the files that {self.id} wrote", remedy)
        require_content(path, wanted, self.id)
        return path

    def summary(self) -> dict[str, Any]:
        """The line of this run in ``comp runs``."""
        return {
            "run": self.id,
            "slug": self.slug,
            "state": self.state,
            "damage": self.damage or None,
            "marks": self.marks,
            "mode": self.started.get("mode"),
            "model": self.started.get("model"),
            "folds": None if self.refit else self.started.get("folds"),
            "parent": self.started.get("parent"),
            "refit": self.started.get("refit"),
            "merged": self.started.get("merged", []),
            "pseudo": (self.started.get("pseudo") or {}).get("run"),
            "metric": self.record.get("metric", self.started.get("metric")),
            "oof": self.record.get("oof", {}).get("score"),
            "submission": self.record.get("submission"),
        }


def require_content(path: Path, wanted: str, run: str) -> None:
    """InputError unless a file that ``run`` wrote has this SHA-256."""
    remedy = "put back the file as it was, or train again: nothing in a run's folder is for editing"
    try:
        found = sha256_of(path)
    except FileNotFoundError as error:
        raise InputError("a file of the run is missing", str(path), remedy) from error
    except OSError as error:
        raise InputError(_RULE, f"{path}: {error.strerror}", remedy) from error
    if found != wanted:
        raise InputError(_RULE, f"{path} is not what {run} wrote: its SHA-256 is another", remedy)


def new_run(
    workspace: Workspace, started: dict[str, Any], inputs: Callable[[Path], None] | None = None
) -> Run:
    """Makes a run folder, ``<yyyymmdd-hhmmss>-<4 hex>``, and writes down what was started.

    ``inputs`` writes into the folder what the run is given; ``started.json`` comes after it, with the SHA-256 of it
    all, so that a folder is no run before.

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
    if inputs is not None:
        inputs(folder)
    # the recipe is known by what it says: memory may change how many parts a batch is computed in
    files = {name: sha256 for name, sha256 in _table(folder).items() if name != RECIPE}
    whole = sealed({**started, "run": folder.name, "files": files})
    write_json(folder / STARTED, whole)
    return Run(folder, whole, {})


def _after(workspace: Workspace, second: str) -> int:
    """The least number that sorts behind the runs of this second: the newest run is the last by name."""
    taken = [path.name.rpartition("-")[2] for path in workspace.runs.glob(f"{second}-????")]
    return max((int(name, 16) + 1 for name in taken if _is_hex(name)), default=0)


def _is_hex(name: str) -> bool:
    return set(name) <= set("0123456789abcdef")


def run_metadata(
    competition: CompetitionConfig,
    raw: Path,
    k: int,
    manifest: Manifest,
    recipe: Recipe,
    marks: list[str],
    expected: float | None,
) -> dict[str, Any]:
    """What is written down when a run starts: enough to know it, find its data and resume it."""
    import torch

    told = dataset_metadata(competition, raw, k, manifest, marks)
    return {
        **told,
        "mode": recipe.mode,
        "model": ", ".join(one.model.name for one in recipe.each),
        "expected": expected,
        "recipe_sha256": recipe_sha256(recipe),
        "versions": {**told["versions"], "torch": str(torch.__version__)},
        "machine": machine(recipe.device),
    }


def dataset_metadata(
    competition: CompetitionConfig, raw: Path, k: int, manifest: Manifest, marks: list[str]
) -> dict[str, Any]:
    """What is written down of every run, whether or not it trains."""
    return {
        "slug": competition.slug,
        "started": _now(),
        "command": sys.argv[1:],
        "raw": str(raw),
        "folds": k,
        "metric": competition.metric,
        "task": competition.task,
        "post": competition.post.model_dump(),
        "pool": competition.pool,
        **({"box": competition.boxes} if competition.has_boxes else {}),
        "marks": marks,
        "train_sha256": manifest.fingerprint("train"),
        "test_sha256": manifest.fingerprint("test"),
        "versions": {"comp": __version__, "python": platform.python_version()},
        "machine": machine(),
    }


def recipe_sha256(recipe: Recipe) -> str:
    """SHA-256 of a resolved recipe, whatever its comments, its layout, and the parts that memory left its batches."""
    from comp.recipe import as_one

    plain = as_one([one.model_copy(update={"accumulate": 1}) for one in recipe.each])
    return hashlib.sha256(plain.to_toml().encode()).hexdigest()


@contextmanager
def at_work(run: Run) -> Iterator[None]:
    """Holds a run for this process, so that no other trains it too, and clears away what a killed one left half
    written in its folder.

    Raises
    ------
    Refusal
        If another process is at work on it.
    """
    remedy = f"wait for it to end, or stop it; then `comp run {run.slug} --resume {run.id}` goes on"
    value = f"{run.id} is under way in process {{pid}}"
    with alone(run.folder / LOCK, "one process at a time works on a run", value, remedy):
        remove_leftovers(run.folder, below=True)
        yield
        remove_leftovers(run.folder, below=True)


def finish(run: Run, result: dict[str, Any]) -> None:
    """Writes the record, after everything else: its presence says that the run is whole, and with what files."""
    _write_result(run, RECORD, result)
    (run.folder / PARTIAL).unlink(missing_ok=True)


def finish_partly(run: Run, result: dict[str, Any]) -> None:
    """Writes what a run with some of its folds came to, after everything else."""
    _write_result(run, PARTIAL, result)


def goes_on(run: Run) -> None:
    """Before a run's own files are written anew: what was said of the older ones no longer holds."""
    (run.folder / PARTIAL).unlink(missing_ok=True)


def _write_result(run: Run, name: str, result: dict[str, Any]) -> None:
    plain = {**result, "run": run.id, "slug": run.slug, "ended": _now()}
    write_json(run.folder / name, sealed({**plain, "files": _table(run.folder)}))


def _table(folder: Path) -> dict[str, str]:
    """SHA-256 by path of what a run wrote; of a fold's files those alone that its result does not know."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        of_fold = any(_FOLD.fullmatch(part) for part in inside.parts[:-1])
        if hidden or not path.is_file() or (of_fold and inside.name not in (RESULT, "test.npz")):
            continue
        if inside.name in (RECORD, PARTIAL, PREDICTED, PROGRESS) or _LATER.fullmatch(inside.as_posix()):
            continue
        found[inside.as_posix()] = sha256_of(path)
    return found


def require_checkpoints(run: Run) -> None:
    """InputError for a run that has predictions alone: there is nothing to predict or train on with."""
    if run.started.get("mode") == ENSEMBLE:
        value = f"{run.id} is a blend of {', '.join(run.started.get('parts', []))}"
        remedy = f"do it with a part; the blend's submission is submissions/{run.slug}/{run.id}.csv"
        raise InputError("this needs checkpoints", value, remedy)
    if run.started.get("mode") == IMPORTED:
        value = f"{run.id} ({run.started.get('model')}) was imported: it has OOF and test predictions alone"
        remedy = f"`comp ensemble` blends it; its submission is submissions/{run.slug}/{run.id}.csv"
        raise InputError("this needs checkpoints", value, remedy)


def raw_folder(run: Run, workspace: Workspace) -> Path:
    """The raw folder that a run was made from, or the workspace's where it was made on another machine."""
    here = workspace.raw(run.slug)
    raw = Path(str(run.started.get("raw") or here))
    return here if not raw.is_dir() and here.is_dir() else raw


def all_runs(workspace: Workspace, slug: str | None = None) -> list[Run]:
    """Every run, newest first, damaged ones too; of one competition if asked."""
    if not workspace.runs.is_dir():
        return []
    every = [read_run(folder) for folder in sorted(workspace.runs.iterdir(), reverse=True) if _is_run(folder)]
    return [run for run in every if slug is None or run.slug == slug]


def sound_runs(workspace: Workspace, slug: str | None = None) -> list[Run]:
    """Every run that is not damaged, newest first; of one competition if asked. Damaged ones are named."""
    every = all_runs(workspace)
    for run in every:
        if run.damage and (slug is None or run.slug in ("", slug)):
            events.warn_once(f"run {run.id} is damaged and left out: {run.damage}")
    return [run for run in every if not run.damage and (slug is None or run.slug == slug)]


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's: what a process left that was killed before it said what it starts is none."""
    return any(os.path.lexists(folder / name) for name in (STARTED, RECORD))


def read_run(folder: Path) -> Run:
    """A run as its folder tells of it, or what is wrong with it."""
    started: dict[str, Any] = {}
    try:
        started = _document(folder / STARTED, _Started)
        record = _document(folder / RECORD, _Record) if os.path.lexists(folder / RECORD) else {}
        partial = _document(folder / PARTIAL, _Record) if os.path.lexists(folder / PARTIAL) else {}
    except CompError as error:
        return Run(folder, started, {}, damage=f"{error.rule}, {error.value}")
    damage = next(
        (
            told
            for name, document in ((STARTED, started), (RECORD, record), (PARTIAL, partial))
            if (told := _damage(folder, started, name, document))
        ),
        "",
    )
    return Run(folder, started, {}, damage=damage) if damage else Run(folder, started, record, partial)


def _document(path: Path, shape: type[Shape]) -> dict[str, Any]:
    """A document of a run as a table; InputError where it is none of that shape."""
    found: dict[str, Any] = read_shaped(path, dict[str, Any], "restore it, or remove the folder")
    read_shaped(path, shape, "restore it, or remove the folder")
    return found


def _damage(folder: Path, started: dict[str, Any], name: str, document: dict[str, Any]) -> str:
    """What is wrong with a document of a run, in a line."""
    path = folder / name
    if name == STARTED and not document.get("slug"):
        return f"{path} names no competition"
    if not document:
        return ""
    if not is_intact(document):
        return f"{path} was changed since it was written"
    if document.get("run") not in (None, folder.name):
        return f"{path} is of run {document['run']}: a run's folder is called after its id"
    if document.get("slug", started.get("slug")) != started.get("slug"):
        return f"{path} is of {document['slug']}, {STARTED} of {started.get('slug')}"
    if name != STARTED and started.get("files") is not None and not document.get("files"):
        return f"{path} says the SHA-256 of no file"
    if started.get("files") is not None and SEAL not in document:
        return f"{path} lacks its own SHA-256"
    wanted = (document.get("files") or {}).get(STARTED)
    if name != STARTED and wanted is not None and wanted != sha256_of(folder / STARTED):
        return f"{folder / STARTED} is not what {folder.name} wrote: its SHA-256 is another"
    return ""


def find_run(workspace: Workspace, name: str, slug: str | None = None) -> Run:
    """A run by its id, a prefix that fits one run, or ``latest``: the newest that is not damaged, of ``slug`` if asked.

    Raises
    ------
    UnknownName, InputError
        If none fits, several do, or it is damaged.
    """
    if name == "latest":
        sound = sound_runs(workspace, slug)
        fitting, known = sound[:1] or all_runs(workspace, slug)[:1], sound
    else:
        known = all_runs(workspace)
        same = [run for run in known if run.id == name]
        fitting = same or [run for run in known if name and run.id.startswith(name)]
    if not fitting:
        raise UnknownName("run", name, [run.id for run in known], "`comp runs` shows them all")
    if len(fitting) > 1:
        value = f"{name!r} fits {', '.join(run.id for run in fitting[:4])}"
        raise InputError("a prefix must fit one run", value, "write more of the id")
    one = fitting[0]
    if one.damage:
        remedy = "restore the file, give the folder back its name, or remove the folder"
        raise InputError("a run's folder must be whole", one.damage, remedy)
    return one


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
