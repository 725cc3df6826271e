"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from comp.cli.completion import completion_of
from comp.config import finite_number, whole_number
from comp.errors import InputError

_LATER: dict[str, Callable[[], str]] = {}  # helps that are not known yet, by what stands for them


class Verb(TyperCommand):
    """A command. What the help of an option says of a registry is asked for when the command runs or shows its help:
    registries lie in modules that looking around does not import.
    """

    def get_params(self, ctx: Any) -> Any:
        for one in self.params:
            later = _LATER.get(getattr(one, "help", None) or "")
            if later is not None:
                one.help = later()  # type: ignore[attr-defined]
        return super().get_params(ctx)


def option(name: str, help: str | Callable[[], str]) -> Any:
    """An option by its flags and what stands for its value, such as ``"--out PNG"``; a switch has flags alone.

    A ``help`` that is a function is called when it is needed.
    """
    if callable(help):
        _LATER[name], help = help, name
    flags = [word for word in name.split() if word.startswith("-")]
    metavar = " ".join(word for word in name.split() if word not in flags)
    return typer.Option(*flags, metavar=metavar or None, help=help, autocompletion=completion_of(metavar))


def argument(name: str, help: str) -> Any:
    """An argument by what stands for it in the help."""
    return typer.Argument(metavar=name, help=help, autocompletion=completion_of(name))


Slug = Annotated[str, argument("SLUG", "A competition of `comp list`.")]
Yes = Annotated[bool, option("--yes", "Do not ask.")]
WithReport = Annotated[bool, option("--report/--no-report", "Write the run's page, report.html.")]
AsJson = Annotated[bool, option("--json", "One JSON document on stdout; everything else on stderr.")]
WorkspaceDir = Annotated[
    Path | None,
    option("--workspace DIR", "Where data, runs and submissions live. Default: COMP_WORKSPACE, else here."),
]
DataDir = Annotated[Path | None, option("--data DIR", "The raw folder. Default: data/SLUG of the workspace.")]
FoldsOption = Annotated[str, option("--folds K|FILE", "How many folds, or a CSV of id,fold.")]
RecipeFile = Annotated[
    Path | None, option("--recipe FILE", "A recipe. Default: the competition's baseline.toml.")
]
TemplateFile = Annotated[Path | None, option("--template FILE", "Another template than the raw folder's.")]
MetricOfFolder = Annotated[
    str | None, option("--metric NAME", "With a folder in place of SLUG: how the site scores its answers.")
]
TaskOfFolder = Annotated[
    str | None, option("--task NAME", "With a folder: single-label, multi-label, ordinal or regression.")
]
PositiveOfFolder = Annotated[
    str | None,
    option("--positive CLASS", "With a folder: of two classes the one whose probability the site wants."),
]
SaveAs = Annotated[str | None, option("--save SLUG", "With a folder: write its facts down as a competition.")]
ManifestFile = Annotated[
    Path | None, option("--manifest FILE", "A manifest to use instead of the adapter's.")
]
ExtraFile = Annotated[
    Path | None,
    option("--extra CSV", "Images from elsewhere that only train: path,label; also weight, prob:CLASS."),
]
PseudoFile = Annotated[
    Path | None, option("--pseudo CSV", "Test rows that `comp pseudo` labelled, each fold's for that fold.")
]
Allow = Annotated[
    list[str] | None,
    option("--allow CHECK=REASON", "Lower a check's errors to warnings; the reason is recorded."),
]
Thorough = Annotated[
    bool | None,
    typer.Option(
        "--thorough/--no-thorough",
        help="Look closely at every image, for strongly changed copies and scenes. By itself up to 3,000 images.",
    ),
]
GroupScenes = Annotated[
    bool, option("--group-scenes", "Keep images of one scene, or parts of one image, in one fold.")
]
Engine = Annotated[
    str | None,
    option("--engine local|ray", "What trains the folds: this process, or a Ray cluster."),
]
Address = Annotated[
    str | None,
    option("--address HOST:PORT", "With --engine ray: the cluster; by default RAY_ADDRESS or this machine."),
]
CpusPerFold = Annotated[
    float | None, option("--cpus-per-fold N", "With --engine ray: CPUs that a fold asks for.")
]
GpusPerFold = Annotated[
    float | None,
    option(
        "--gpus-per-fold N",
        "GPUs that train each fold together; with --engine ray those it asks for, 0.5 is half of one.",
    ),
]
Rare = Annotated[
    str | None,
    option(
        "--rare error|pool|spread",
        "Classes too small for K folds: refuse them, keep them in training only, or deal them as far as they go.",
    ),
]
SetOption = Annotated[
    list[str] | None, option("--set KEY=VALUE", "Change one value of the recipe, e.g. optimizer.lr=3e-4.")
]
Track = Annotated[
    list[str] | None,
    option("--track NAME", "Tell a tracker of the run as well: mlflow, tensorboard or wandb."),
]


def parse_allow(given: list[str] | None) -> dict[str, str]:
    """``CHECK=REASON`` options as a table."""
    table: dict[str, str] = {}
    for text in given or []:
        name, sign, reason = text.partition("=")
        if not sign or not reason.strip():
            raise InputError(
                "--allow takes CHECK=REASON",
                repr(text),
                '--allow unreadable-image="two scans are known to be broken"',
            )
        table[name.strip()] = reason.strip()
    return table


def parse_only(text: str | None) -> list[int] | None:
    """``0,2`` as fold numbers."""
    if text is None:
        return None
    folds = [whole_number(part) for part in text.split(",")]
    known = {fold for fold in folds if fold is not None and fold >= 0}
    if None in folds or len(known) < len(set(folds)):
        raise InputError("--only takes fold numbers", repr(text), "for example --only 0,2")
    return sorted(known)


def parse_priors(text: str | None) -> dict[str, float] | str | None:
    """``uniform``, or ``CLASS=SHARE,CLASS=SHARE`` as a table."""
    if text is None or "=" not in text:
        return text
    table: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.rpartition("=")
        value = finite_number(share)
        if value is None:
            remedy = "for example --priors cat=0.3,dog=0.7"
            raise InputError("--priors takes CLASS=SHARE", repr(part), remedy)
        table[name.strip()] = value
    return table


def slug_of_parts(
    slug: str | None,
    images: Path | None,
    others: tuple[Path | None, Path | None, Path | None],
    save: str | None,
    workspace: Path | None,
) -> str:
    """What stands in SLUG's place: it, or the folder of links to --images and ``others`` (--test, --csv, --template).

    Raises
    ------
    InputError
        For neither or both of SLUG and --images, and for others without --images.
    """
    from comp.pipelines.new_competition import linked_folder

    if images is None and slug is not None and not any(others):
        return slug
    if images is None or slug is not None:
        value = "both are given" if images is not None else "--images is missing"
        value = value if slug is not None or any(others) else "neither is given"
        raise InputError(
            "run takes a competition, a raw folder, or --images with --test, --csv and --template",
            value,
            "`comp list` shows competitions",
        )
    return str(linked_folder(images, *others, save, workspace))


def slug_or_folder(
    name: str,
    data: Path | None,
    metric: str | None,
    task: str | None,
    save: str | None,
    workspace: Path | None,
    settled: bool = True,
    positive: str | None = None,
) -> tuple[str, Path | None]:
    """The slug and the raw folder of what stands in SLUG's place: a slug, or a path whose facts are looked for; with
    ``settled`` nothing of them may be open that decides how answers are scored.

    Raises
    ------
    InputError
        For --metric, --task, --positive or --save with a slug, and for --data with a path.
    """
    from comp.pipelines.new_competition import is_path, slug_of_path

    if is_path(name):
        if data is not None:
            raise InputError("a folder is its own raw data", f"{name} and --data {data}", "drop --data")
        return slug_of_path(name, metric, task, save, workspace, settled, positive), Path(name).expanduser()
    given = [
        option
        for option, one in (
            ("--metric", metric),
            ("--task", task),
            ("--positive", positive),
            ("--save", save),
        )
        if one is not None
    ]
    if given:
        value = f"{', '.join(given)} beside the competition {name!r}"
        raise InputError(
            "a competition states its own facts", value, "correct its competition.toml; or name a folder"
        )
    return name, data
