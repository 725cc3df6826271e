"""A preset on the command line: its options, its table of candidates, and how to go on where it is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import console
from comp.cli.next_steps import here
from comp.errors import InputError, Stopped

if TYPE_CHECKING:
    from comp.pipelines.engine.plan import PlannedPreset
    from comp.pipelines.preset import PresetResult


@dataclass(frozen=True)
class Asked:
    """The options of ``comp run`` that belong to presets."""

    preset: str | None
    backbones: str | None
    licence: str | None
    dry_run: bool

    def is_for(self, resume: str | None, slug: str, workspace: Path | None) -> bool:
        """Whether the command is a preset's: one begins, or the run that goes on is of one.

        Raises
        ------
        InputError
            Where the other options come without one.
        """
        if self.preset is not None:
            return True
        for name in ("backbones", "licence", "dry_run"):
            if getattr(self, name):
                value = f"`{name}` came without `preset`"
                raise InputError("only a preset chooses backbones", value, 'name one: `preset="fast"`')
        if resume is None:
            return False
        from comp.pipelines.engine.order import is_preset, latest_is_preset
        from comp.workspace import Workspace

        return is_preset(resume) or (resume == "latest" and latest_is_preset(Workspace.find(workspace), slug))


def run_with_preset(slug: str, folds: str, given: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """Runs a preset, or says what it would try, and shows it; its document. ``given`` is what ``comp run`` was given."""
    from comp.pipelines.preset import plan_preset, run_preset

    names = [name.strip() for name in (asked.backbones or "").split(",") if name.strip()]
    given = {**given, "backbones": names, "licence": asked.licence}
    if asked.dry_run:
        if given.pop("resume") is not None:
            value = "`dry_run` came with `resume`"
            raise InputError("a dry run is of a new preset", value, "drop one of them")
        plan = plan_preset(slug, asked.preset or "", folds, **given)
        show_plan(plan)
        return plan.as_json()
    try:
        result = run_preset(slug, asked.preset, folds, began=console.settings.began, **given)
    except Stopped as stopped:
        console.settings.going_on = (stopped.slug, stopped.run)
        raise
    show(result)
    return result.as_json()


def show_plan(plan: PlannedPreset) -> None:
    """The candidates of a dry run, each with its time."""
    rows = [
        (row.name, "–" if row.seconds is None else console.duration(row.seconds), row.verdict)
        for row in plan.rows
    ]
    console.table("", (f"preset {plan.preset}", "time", ""), rows)
    limit = "" if plan.time_limit is None else f" of {console.duration(plan.time_limit)}"
    console.print_result(f"about {console.duration(plan.seconds)}{limit}, by steps measured on this machine")
    if plan.preset != "fast":
        console.log("  which networks are trained, and in which order, is known once all are probed")


def show(result: Any) -> None:
    """What a preset came to: its candidates, the blend, and where the submission lies."""
    from comp.cli.show_ensemble import lines
    from comp.cli.show_ensemble import show as show_run
    from comp.pipelines.preset import PresetResult

    if not isinstance(result, PresetResult):
        show_run(result)
        return
    _show_candidates(result)
    told = lines(result)
    if len(result.blend["parts"]) > 1 and len(result.blend["facts"]["taken"]) == 1:
        told[0] = "one run is the answer: no other one gains more than its standard error beside it"
    for text in told:
        console.print_result(text)
    took = console.duration(result.preset["seconds"])
    marks = f" ({', '.join(result.marks)}: not a full run)" if result.marks else ""
    console.print_result(
        f"run {result.run}: nested OOF {result.metric} {result.score:.4f}{marks} in {took}, chosen anew for each fold"
    )
    from comp.workspace import shown

    console.print_result(f"submission {shown(result.submission)}")
    if result.report is not None:
        console.print_result(f"report {shown(result.report)}")
    _show_next(result)


def _show_candidates(result: PresetResult) -> None:
    rows = [
        (
            one["name"],
            one["run"] or "–",
            "–" if one["score"] is None else one["score"],
            "–" if one["seconds"] is None else round(one["seconds"]),
            one["verdict"],
        )
        for one in result.preset["candidates"]
    ]
    header = ("candidate", "run", f"OOF {result.metric}", "seconds", "")
    console.table("", header, rows, drop=("seconds",))


def _show_next(result: PresetResult) -> None:
    steps = [(f"comp submit {result.slug} --run {result.run}", "to Kaggle, with its checks first")]
    if result.preset["stopped"] or any(one["again"] for one in result.preset["candidates"]):
        going = f"comp run {result.slug} --resume {result.preset['id']} --time-limit 1h"
        steps.insert(0, (going, "goes on with what is left"))
    console.closing(here(steps))
