"""``comp kernel``: the folder for ``kaggle kernels push``, with its notebook and its dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from comp._version import __version__
from comp.data.competitions.competition import Competition, find_competition
from comp.errors import InputError
from comp.files import make_folder, remove_leftovers, unwritable, write_json
from comp.kaggle.kernel.budget import Budget
from comp.kaggle.kernel.contents import Contents, fitting, whole
from comp.kaggle.kernel.dataset import FILES, Dataset
from comp.kaggle.kernel.metadata import ABOUT, DATASET, KERNEL, PUSHED, Names, names_for
from comp.kaggle.kernel.notebook import notebook
from comp.kaggle.kernel.speed import Device, device_named
from comp.runs import run as runs
from comp.runs.contents import recipe_of
from comp.runs.marks import in_brackets
from comp.runs.parts import Part
from comp.training.time_limit import parse_seconds
from comp.workspace import Workspace


@dataclass(frozen=True)
class KernelFolder:
    """What was written: ``folder`` to push, its ``dataset`` to upload before that. ``id`` is that of both on Kaggle.

    ``wheels`` are versions by name, ``files`` the number of files in the dataset; ``marks`` say why the run is no full
    one; ``parts`` are the runs and models that predict, ``budget`` what of
    the time they take on ``device``, where rows are hidden; ``next`` are the commands to give, in order.
    """

    folder: Path
    run: str
    slug: str
    kaggle: str
    id: str
    gpu: bool
    wheels: dict[str, str]
    own_competition: bool
    checkpoints: int
    control_rows: int
    files: int
    bytes: dict[str, int]
    marks: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    budget: Budget | None = None
    device: str = "cpu"
    next: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    def as_json(self) -> dict[str, Any]:
        """The JSON document of ``comp kernel --json``."""
        budget = None if self.budget is None else self.budget.as_json()
        return asdict(replace(self, budget=None)) | {
            "folder": str(self.folder),
            "dataset": str(self.dataset),
            "budget": budget,
        }

    def about(self, contents: Contents) -> dict[str, Any]:
        """What ``kernel.json`` says of the folder, for later commands: nothing of this machine."""
        budget = None if self.budget is None else self.budget.as_json()
        facts = {
            "slug": self.slug,
            "kaggle": self.kaggle,
            "id": self.id,
            "run": self.run,
            "asks": contents.id,
        }
        return {**facts, "device": self.device, "parts": self.parts, "budget": budget}


def kernel(
    slug: str,
    run: str = "latest",
    *,
    out: str | Path | None = None,
    kaggle: str | None = None,
    user: str | None = None,
    gpu: bool | None = None,
    device: str | None = None,
    budget: str | None = None,
    partial: bool = False,
    wheels: Sequence[str] = (),
    allow: dict[str, str] | None = None,
    workspace: str | Path | None = None,
) -> KernelFolder:
    """Writes a folder for ``kaggle kernels push`` whose notebook predicts, without internet, the test rows that it finds.

    Parameters
    ----------
    slug : str
        A competition of ``comp list``.
    run : str
        An id, a prefix, or "latest": a run of this competition that has checkpoints, or a blend of such runs.
    out : path, optional
        By default ``kernels/<slug>/<run>`` of the workspace. What an earlier call wrote there is replaced.
    kaggle : str, optional
        The competition's name on Kaggle; by default that of competition.toml.
    user : str, optional
        Whose the notebook and the dataset will be; by default ``KAGGLE_USERNAME``.
    gpu : bool, optional
        Whether the notebook asks for a GPU; by default where the run was trained on one.
    device : "t4", "p100" or "cpu", optional
        The machine that it asks for: two T4 where a GPU is wanted and nothing else is said.
    budget : str, optional
        How long it may take, ``2h``; by default what competition.toml says of a competition with a hidden test, whose
        hidden_rows are what it has to predict. What does not fit loses views, then parts.
    partial : bool
        Predict with the folds there are, where some are missing.
    wheels : sequence of str
        Further wheels that the notebook needs: files, or requirements that pip downloads.
    allow : dict, optional
        Checks whose errors become warnings, each with its reason, when the notebook predicts.

    Raises
    ------
    CompError
        Where the run is of another competition or has no checkpoints, a name is missing, ``out`` holds other things, or
        nothing fits into the budget.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    one = _run(ws, slug, run)
    names = names_for(competition, one.id, kaggle, user)
    target = Path(out).expanduser() if out else ws.root / "kernels" / slug / one.id
    target = Path(os.path.realpath(target))  # a link stays one
    _require_replaceable(target)
    contents = whole(ws, one, partial)
    machine = _device(contents.parts, gpu, device)
    _require_gpu(contents.parts, machine.gpus > 0)
    limit = _limit(competition, machine, budget)
    if limit:
        contents = fitting(ws, one, contents, competition, machine, limit)

    remove_leftovers(target.parent)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        dataset = Dataset(make_folder(part / "dataset"))
        dataset.add_wheels(wheels)
        dataset.add(contents)
        own = dataset.add_competition(competition)
        dataset.close()
        settings = {
            "PARTIAL": (partial, "whether to do with the folds that the dataset has"),
            "ALLOW": (
                _allowed(competition, allow),
                "checks whose errors become warnings, each with its reason",
            ),
            "PRECISION": ("fp16", "on a GPU, as long as the control rows come back in it; else None"),
            "WHEELS": (dataset.wheels, "what the dataset brings, by version"),
        }
        write_json(dataset.folder / DATASET, names.dataset_metadata())
        write_json(part / names.code_file, _notebook(names, competition, one, contents, settings))
        write_json(part / KERNEL, names.kernel_metadata(machine))
        found = _told(target, names, one, contents, dataset, machine, own)
        write_json(part / ABOUT, found.about(contents))
        if (target / PUSHED).is_file():  # what Kaggle has, by its content
            shutil.copyfile(target / PUSHED, part / PUSHED)
        try:
            if target.exists():
                shutil.rmtree(target)
            os.replace(part, target)
        except OSError as error:
            raise unwritable(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found


def _run(workspace: Workspace, slug: str, name: str) -> runs.Run:
    """The run of that name, or the competition's latest; it must be of this competition and have checkpoints."""
    mine = runs.sound_runs(workspace, slug)
    if name == "latest" and not mine:
        remedy = f"comp run {slug} makes one; `comp runs` shows them all"
        raise InputError("a notebook predicts with a run", f"there is none of {slug}", remedy)
    one = mine[0] if name == "latest" else runs.find_run(workspace, name)
    if one.slug != slug:
        value = f"{one.id} is of {one.slug}, not of {slug}"
        raise InputError(
            "the run must be of the competition", value, f"`comp runs {slug}` shows those that are"
        )
    if one.started.get("mode") == runs.ENSEMBLE and not one.record:
        value = f"{one.id} is a blend without its record"
        raise InputError("a notebook predicts with a finished blend", value, "blend its parts again")
    return one


def _device(parts: Sequence[Part], gpu: bool | None, device: str | None) -> Device:
    """The machine that the notebook asks for."""
    if device is not None:
        found = device_named(device)
        if gpu is not None and gpu != (found.gpus > 0):
            value = f"`gpu={gpu}` beside `device={device!r}`"
            raise InputError("a notebook asks for one machine", value, "drop one of them")
        return found
    if gpu is None:
        gpu = any(r.device == "cuda" for part in parts for r in recipe_of(part.run).each)
    return device_named("t4" if gpu else "cpu")


def _limit(competition: Competition, device: Device, budget: str | None) -> float | None:
    """The seconds that a notebook may take; None where nobody says how many rows there are."""
    facts = competition.facts.kaggle
    if facts.hidden_rows is None:
        if budget is not None:
            value = f"{competition.slug} does not say how many"
            remedy = f"state hidden_test = true and hidden_rows under [kaggle] of {competition.file('competition.toml')}"
            raise InputError("a budget is for so many rows", value, remedy)
        return None
    if budget is not None:
        return parse_seconds(budget)
    return 3600 * (facts.gpu_hours if device.gpus else facts.cpu_hours)


HIDDEN = "a hidden row cannot be looked at beforehand: it gets the class prior, and is counted"


def _allowed(competition: Competition, allow: dict[str, str] | None) -> dict[str, str]:
    """What the notebook lets pass: of hidden rows also images that cannot be read."""
    hidden = competition.facts.kaggle.hidden_test
    own = dict.fromkeys(("unreadable-image", "missing-file"), HIDDEN) if hidden else {}
    return own | (allow or {})


def _require_gpu(parts: Sequence[Part], gpu: bool) -> None:
    """InputError for checkpoints in fp16 that would be asked on a CPU."""
    from comp.models.checkpoint import read_sidecar

    for part in parts:
        if not gpu and any(read_sidecar(folder).precision == "fp16" for folder in part.folders):
            raise InputError("fp16 needs a GPU", f"{part.name} was judged in fp16", "`gpu=True`")


def _require_replaceable(target: Path) -> None:
    """InputError if something else than an earlier result of ours is there."""
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
    except OSError as error:
        raise unwritable(target, error) from error
    if not (target / KERNEL).is_file() or not (target / "dataset" / FILES).is_file():
        value = f"{target} is there and holds other things"
        raise InputError(
            "a kernel's folder is new, or an earlier one", value, "name another `out`, or remove it"
        )


def _notebook(
    names: Names,
    competition: Competition,
    run: runs.Run,
    contents: Contents,
    settings: dict[str, tuple[Any, str]],
) -> dict[str, Any]:
    score = run.record.get("oof", {}).get("score")
    if contents.budget is not None and contents.budget.dropped:
        score = contents.budget.score
    judged = f", OOF {run.record.get('metric')} {score:.4f}" if isinstance(score, float) else ""
    marks = in_brackets(run.marks)
    checkpoints = sum(len(part.folders) for part in contents.parts)
    about = f"{run.started.get('model')}, {checkpoints} checkpoints{judged}{marks}"
    template = competition.facts.template.file
    words = {"title": competition.facts.title, "run": run.id, "about": about, "version": __version__}
    given = {
        "COMPETITION": (names.competition, "attached, by its name on Kaggle"),
        "DATASET": (names.name, "attached: wheels and checkpoints"),
        "SLUG": (run.slug, "the competition, as comp calls it"),
        "RUN": (contents.id, "the run that predicts"),
        "TEMPLATE": (None if template == "made" else template, "the sample submission"),
    }
    return notebook(words, given | settings)


def _told(
    target: Path,
    names: Names,
    run: runs.Run,
    contents: Contents,
    dataset: Dataset,
    device: Device,
    own: bool,
) -> KernelFolder:
    weights = [file for file in dataset.files if file.name.endswith("model.safetensors")]
    return KernelFolder(
        target,
        run.id,
        run.slug,
        names.competition,
        names.id,
        device.gpus > 0,
        dataset.wheels,
        own,
        len(weights),
        sum("__control__" in file.name for file in dataset.files),
        len(list(dataset.folder.iterdir())),
        {
            "wheels": dataset.wheel_bytes,
            "checkpoints": sum(file.bytes for file in weights),
            "dataset": dataset.bytes,
        },
        run.marks,
        [part.name for part in contents.parts],
        contents.budget,
        device.name,
        names.commands(Workspace.shown(Workspace(target), target), run.id),
    )
