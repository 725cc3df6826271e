"""Several runs and their blend in one command: a run for each seed, or a run of several models taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from comp import events
from comp.config import whole_number
from comp.ensembling.evaluate import BlendOptions
from comp.errors import InputError
from comp.pipelines.ensemble import ensemble
from comp.pipelines.run_result import RunResult
from comp.runs import run as runs
from comp.workspace import Workspace

SEED = "seed"
Go = Callable[[Sequence[str], str | None], RunResult]


def seeds_of(overrides: Sequence[str]) -> list[int]:
    """The seeds of ``seed=0,1,2`` (or ``seed=[0,1,2]``) among overrides; none where it names one or is not there.

    Raises
    ------
    InputError
        For a seed that is no whole number, or comes twice.
    """
    found: list[int] = []
    for override in overrides:
        key, _, text = (part.strip() for part in override.partition("="))
        names = [name.strip() for name in text.strip("[]").split(",")]
        if key != SEED or len(names) < 2:
            continue
        seeds = [seed for name in names if (seed := whole_number(name)) is not None and seed >= 0]
        if len(set(seeds)) < len(names):
            raise InputError(
                "seeds are whole numbers, each once",
                f"`overrides=[{override!r}]`",
                'for example `overrides=["seed=0,1,2"]`',
            )
        found = seeds
    return found


def require_whole(
    overrides: Sequence[str], method: str | None, only: str | None, limit: str | None, resume: str | None
) -> None:
    """Refuses, before anything is trained, what would leave a blend without its folds.

    Raises
    ------
    InputError
        If a blend is asked for together with ``only`` (unless a run that goes on may have the others), or several seeds
        with a time limit.
    """
    seeds = seeds_of(overrides)
    if only is not None and (seeds or (method is not None and resume is None)):
        remedy = "train and merge the folds, then `comp ensemble` the runs"
        raise InputError("a blend is of finished runs", f"`only=[{only}]` leaves folds out", remedy)
    if limit is not None and seeds:
        remedy = "give each seed a command of its own, then `comp ensemble` the runs"
        raise InputError(
            "a time limit is one run's", f"`time_limit={limit!r}` and {len(seeds)} seeds", remedy
        )


def run_seeds(
    go: Go,
    overrides: Sequence[str],
    method: str | None,
    seed: int | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    resume: str | None = None,
    report: bool = True,
) -> RunResult:
    """A run, or where ``overrides`` name several seeds or a ``method`` is asked for, the blend of what is run.

    Each seed gives a run of its own on the same folds, which do not depend on it. Seeds differ in nothing that could be
    weighed: they are averaged unless another method is named. A run of several models is taken apart into them.

    Parameters
    ----------
    go : callable
        ``go(overrides, resume)`` runs once.
    overrides : sequence of str
        As for ``comp.run``; ``seed=0,1,2`` among them means a run each.
    method : str, optional
        Of ``comp.ensemble``.
    seed : int, optional
        The one that ``go`` was given beside the overrides: refused beside several.
    workspace, data, report : optional
        As for ``comp.ensemble``.
    resume : str, optional
        As for ``comp.run``.
    """
    seeds = seeds_of(overrides)
    if seeds and seed is not None:
        raise InputError("seeds are named once", f'`seed={seed}` and `overrides=["seed=…"]`', "drop `seed`")
    if not seeds and method is None:
        return go(overrides, resume)
    BlendOptions(method or "mean")  # better refused now than after training
    others = [text for text in overrides if not (seeds and _key(text) == SEED)]
    if resume is not None:  # once: "latest" would be another run after each
        resume = runs.find_run(Workspace.find(workspace), resume).id
    found = []
    wanted: list[int | None] = [*seeds] or [None]
    for each in wanted:
        one = go([*others, *([] if each is None else [f"{SEED}={each}"])], resume)
        if "partial" in one.marks:
            remedy = (
                f"`comp run {one.slug} --resume {one.run}`; then `comp ensemble {one.run}` and the others"
            )
            raise InputError("a blend is of finished runs", f"{one.run} lacks folds", remedy)
        named = "" if each is None else f"seed {each}, "
        events.log(f"  {named}run {one.run}: OOF {one.metric} {one.score:.4f}")
        found.append(one.run)
    return ensemble(*found, method=method or "mean", workspace=workspace, data=data, report=report)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
