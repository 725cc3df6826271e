"""``comp kernel``: the folder for ``kaggle kernels push``, with its notebook and its dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from comp._version import __version__
from comp.data.competitions.competition import Competition, find_competition
from comp.ensembling.learned_again import learned_again
from comp.errors import InputError
from comp.files import make_folder, remove_leftovers, unwritable, write_json
from comp.kaggle.kernel.dataset import FILES, Dataset
from comp.kaggle.kernel.metadata import DATASET, KERNEL, Names, names_for
from comp.kaggle.kernel.notebook import notebook
from comp.runs import run as runs
from comp.runs.contents import recipe_of
from comp.runs.marks import in_brackets
from comp.runs.parts import Part, parts_of
from comp.workspace import Workspace


@dataclass(frozen=True)
class KernelFolder:
    """What was written: ``folder`` to push, its ``dataset`` to upload before that. ``id`` is that of both on Kaggle.

    ``wheels`` are versions by name, ``files`` the number of files in the dataset; ``marks`` say why the run is no full
    one; ``parts`` are the runs and models that predict; ``next`` are the commands to give, in order.
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
    next: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    def as_json(self) -> dict[str, Any]:
        """The JSON document of ``comp kernel --json``."""
        return asdict(self) | {"folder": str(self.folder), "dataset": str(self.dataset)}


def kernel(
    slug: str,
    run: str = "latest",
    *,
    out: str | Path | None = None,
    kaggle: str | None = None,
    user: str | None = None,
    gpu: bool | None = None,
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
    partial : bool
        Predict with the folds there are, where some are missing.
    wheels : sequence of str
        Further wheels that the notebook needs: files, or requirements that pip downloads.
    allow : dict, optional
        Checks whose errors become warnings, each with its reason, when the notebook predicts.

    Raises
    ------
    CompError
        Where the run is of another competition or has no checkpoints, a name is missing, or ``out`` holds other things.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    one = _run(ws, slug, run)
    parts = parts_of(ws, one, partial)
    if not parts:
        raise InputError("a notebook predicts with checkpoints", f"{one.id} has none", "name another run")
    names = names_for(competition, one.id, kaggle, user)
    target = Path(out).expanduser() if out else ws.root / "kernels" / slug / one.id
    target = Path(os.path.realpath(target))  # a link stays one
    _require_replaceable(target)
    if gpu is None:
        gpu = any(r.device == "cuda" for part in parts for r in recipe_of(part.run).each)
    _require_gpu(parts, gpu)

    remove_leftovers(target.parent)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        dataset = Dataset(make_folder(part / "dataset"))
        dataset.add_wheels(wheels)
        dataset.add_parts(parts)
        _add_blends(ws, dataset, one)
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
        write_json(part / names.code_file, _notebook(names, competition, one, parts, settings))
        write_json(part / KERNEL, names.kernel_metadata(gpu))
        try:
            if target.exists():
                shutil.rmtree(target)
            os.replace(part, target)
        except OSError as error:
            raise unwritable(target, error) from error
        dataset.folder = target / "dataset"
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return _told(target, names, one, parts, dataset, gpu, own)


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


def _add_blends(workspace: Workspace, dataset: Dataset, run: runs.Run) -> None:
    """A blend and the blends among its parts, each by what it learned; nothing for a run that is none."""
    if run.started.get("mode") != runs.ENSEMBLE:
        return
    for name in run.started["parts"]:
        _add_blends(workspace, dataset, runs.find_run(workspace, name.partition("/")[0]))
    dataset.add_blend(run, run.started["parts"], learned_again(workspace, run))


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
    parts: Sequence[Part],
    settings: dict[str, tuple[Any, str]],
) -> dict[str, Any]:
    score = run.record.get("oof", {}).get("score")
    judged = f", OOF {run.record.get('metric')} {score:.4f}" if isinstance(score, float) else ""
    marks = in_brackets(run.marks)
    checkpoints = sum(len(part.folders) for part in parts)
    about = f"{run.started.get('model')}, {checkpoints} checkpoints{judged}{marks}"
    template = competition.facts.template.file
    words = {"title": competition.facts.title, "run": run.id, "about": about, "version": __version__}
    given = {
        "COMPETITION": (names.competition, "attached, by its name on Kaggle"),
        "DATASET": (names.name, "attached: wheels and checkpoints"),
        "SLUG": (run.slug, "the competition, as comp calls it"),
        "RUN": (run.id, "the run that predicts"),
        "TEMPLATE": (None if template == "made" else template, "the sample submission"),
    }
    return notebook(words, given | settings)


def _told(
    target: Path,
    names: Names,
    run: runs.Run,
    parts: Sequence[Part],
    dataset: Dataset,
    gpu: bool,
    own: bool,
) -> KernelFolder:
    weights = [file for file in dataset.files if file.name.endswith("model.safetensors")]
    return KernelFolder(
        target,
        run.id,
        run.slug,
        names.competition,
        names.id,
        gpu,
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
        [part.name for part in parts],
        names.commands(Workspace.shown(Workspace(target), target), run.id),
    )
