"""What a run came to, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from comp import console, events
from comp.pipelines.pseudo_label import PseudoResult
from comp.pipelines.refit import MEANING, RefitResult, scored
from comp.pipelines.run_result import RunResult
from comp.runs.marks import in_brackets
from comp.workspace import shown

if TYPE_CHECKING:
    pass

NAMES = {
    "corrected_labels": "by the corrected labels",
    "identity_view": "identity view",
    "without_decision": "without its decision",
    "plain_fit": "fitted and judged on the identity view",
    "plain_weights": "last weights, no average",
    "last_epoch": "last epoch, identity view",
}


def show_result(result: RunResult) -> None:
    """The table of folds with mean ± sd, the OOF score, and where the submission lies."""
    import numpy as np

    rows: list[tuple[object, ...]] = [
        (f"fold {k}", score)
        for k, score in zip(result.folds or range(len(result.per_fold)), result.per_fold, strict=True)
    ]
    spread = float(np.std(result.per_fold, ddof=1)) if len(result.per_fold) > 1 else 0.0
    rows.append(("mean ± sd", f"{float(np.mean(result.per_fold)):.4f} ± {spread:.4f}"))
    rows.append(("OOF, all rows", result.score))
    rows += [(f"OOF, {NAMES[name]}", score) for name, score in result.beside.items()]
    rows += [(f"OOF of {one['model']} alone", one["score"]) for one in result.models]
    console.table("", (f"run {result.run}", result.metric), rows)
    if "last_epoch" in result.beside:
        console.log(
            "  epochs were chosen by the held-out rows that they are scored on: the last epoch's is fair"
        )
    elif result.selected_on_oof and not result.views:
        console.log(
            "  its pseudo-labels come from a run that chose by its held-out rows, which are these too"
        )
    elif result.views:
        console.log(
            "  views were chosen by the rows that they are scored on: the identity view's score is fair"
        )
    if result.pseudo:
        console.log(f"  trained with pseudo-labels of {result.pseudo['run']} as well")
    marks = in_brackets(result.marks)
    total = console.duration(sum(result.seconds.values()))
    console.print_result(f"OOF {result.metric} {result.score:.4f}{marks} in {total}")
    if gains(result.calibration, result.direction) and not result.decision:
        used = f"`comp ensemble {result.run} --calibrate on` applies it"
        console.print_result(calibration_line(result.calibration, used, result.metric))
    say_unread(result.unread)
    console.print_result(f"submission {shown(result.submission)}")
    if result.report is not None:
        console.print_result(f"report {shown(result.report)}")


def show_refit(result: RefitResult) -> None:
    """That a refit has no score, what its run scored, what its control rows prove, and where the submission lies."""
    expected, marks = result.refit["expected_from"], in_brackets(result.marks)
    total = console.duration(sum(result.seconds.values()))
    console.print_result(
        f"no score{marks}: {result.refit['rows']:,} labelled rows trained, none was held out; {total}"
    )
    console.print_result(f"expected from its folds, run {expected['run']}: {scored(expected)}")
    console.print_result(f"{result.refit['control_rows']} control rows came back as they were: {MEANING}")
    say_unread(result.unread)
    console.print_result(f"submission {shown(result.submission)}")


def gains(calibration: Mapping[str, float | None], direction: str) -> bool:
    """Whether the competition's own metric is better on OOF rows with a temperature that was learned on other folds."""
    before, after = calibration.get("score_before"), calibration.get("score_after")
    if before is None or after is None:
        return False
    return after > before if direction == "max" else after < before


def calibration_line(calibration: Mapping[str, float], used: str, metric: str) -> str:
    """What a temperature does to OOF rows, as a sentence; ``used`` says whether it is applied."""
    told = [
        f"{name} {calibration[f'{key}_before']:.4f} -> {calibration[f'{key}_after']:.4f}"
        for name, key in ((metric, "score"), ("log loss", "log_loss"), ("calibration error", "error"))
        if not (name == "log loss" and metric == "log_loss") and calibration.get(f"{key}_before") is not None
    ]
    return f"temperature {calibration['temperature']:.3f} ({used}): {', '.join(told)}"


def say_unread(ids: list[str]) -> None:
    """Names the test rows that were answered with the class prior."""
    if ids:
        shown = ", ".join(ids[:10]) + (" …" if len(ids) > 10 else "")
        console.print_result(
            f"{len(ids)} test images cannot be decoded and were answered with the class prior: {shown}"
        )


def show_pseudo(result: PseudoResult) -> None:
    """A table of the rows that each fold gets, and where they lie."""
    made = result.pseudo
    by_fold = made.table.groupby("fold")["prob"].mean()
    rows = [
        (f"fold {k}", count, f"{count / result.test:.1%}", f"{by_fold[k]:.4f}" if count else "–")
        for k, count in enumerate(made.rows)
    ]
    console.table("", (f"pseudo-labels of {made.run}", "rows", "of test", "mean probability"), rows)
    labels = made.table.groupby("id")["label"].nunique()
    if (labels > 1).any():
        events.log(f"  {int((labels > 1).sum())} rows have another label in another fold")
    console.print_result(f"pseudo-labels {shown(result.path)}")
    events.log(f"  comp run {made.slug} --folds {made.k} --pseudo {shown(result.path)} trains with them")
