"""A blend as people read it: the methods, the parts, and whether it is worth more than its best part."""

from __future__ import annotations

from typing import Any

from comp import console
from comp.cli.show_run import calibration_line, gains, show_refit, show_result
from comp.pipelines.ensemble import EnsembleResult
from comp.pipelines.refit import RefitResult
from comp.pipelines.run_result import RunResult
from comp.runs.marks import in_brackets
from comp.workspace import shown


def show(result: RunResult) -> None:
    """A run as people read it, whether it was trained or blended."""
    if isinstance(result, EnsembleResult):
        show_ensemble(result)
    elif isinstance(result, RefitResult):
        show_refit(result)
    else:
        show_result(result)


def show_ensemble(result: EnsembleResult) -> None:
    """The tables of methods and parts, what it gains, calibration, the decision rule, and where the submission lies."""
    blend = result.blend
    methods = [
        (one["method"], _cell(one["score"]), _signed(one), "chosen" if one["chosen"] else "")
        for one in blend["methods"]
    ]
    if len(blend["parts"]) > 1:
        methods += _chosen_anew(blend["methods"], result)
        console.table("", ("method", f"nested {result.metric}", "gain over the best part", ""), methods)
    parts = [
        (one["part"], _cell(one["score"]), _cell(one["weight"]), _cell(one["without"]), _signed(one))
        for one in blend["parts"]
    ]
    console.table(
        "",
        ("part", f"OOF {result.metric}", "weight", "blend without it", "it adds"),
        parts,
        drop=("blend without it", "weight"),
    )
    for text in lines(result):
        console.print_result(text)
    marks = in_brackets(result.marks)
    console.print_result(f"run {result.run}: nested OOF {result.metric} {result.score:.4f}{marks}")
    console.print_result(f"submission {shown(result.submission)}")
    if result.report is not None:
        console.print_result(f"report {shown(result.report)}")


def _chosen_anew(methods: list[dict[str, Any]], result: EnsembleResult) -> list[tuple[str, object, str, str]]:
    """The row of the blend itself, where its score counts the choice among several methods as well."""
    chosen = next((one for one in methods if one["chosen"]), None)
    if chosen is None or len(methods) < 2 or chosen["score"] == result.score:
        return []
    return [
        (
            "chosen anew for each fold",
            _cell(result.score),
            "",
            "the blend's score: its method is chosen without the fold it answers",
        )
    ]


def lines(result: EnsembleResult) -> list[str]:
    """The gain, the calibration and the decision rule, a sentence each."""
    blend = result.blend
    told = [_gain_line(blend)] if len(blend["parts"]) > 1 else []
    calibration = blend["calibration"]
    if calibration is None:
        pass
    elif calibration["applied"]:
        used = (
            "applied"
            if gains(calibration, result.direction)
            else "applied, although the metric gains nothing by it"
        )
        told.append(calibration_line(calibration, used, result.metric))
    elif gains(calibration, result.direction):
        told.append(calibration_line(calibration, "not applied: `--calibrate on` does", result.metric))
    decision = blend["decision"]
    if decision:
        used = "applied" if decision["applied"] else "not applied: answers stay as they are"
        told.append(
            f"{decision['rule']} of the classes ({used}): {decision['score_before']:.4f} -> "
            f"{decision['score_after']:.4f}, {_signed(decision)}"
        )
    if blend["priors"]:
        told.append("priors were given: the OOF score is of rows whose class shares are the training rows'")
    return told


def _gain_line(blend: dict[str, object]) -> str:
    """Whether the blend is better than its best part, in words."""
    gain, error = blend["gain"], blend["standard_error"]
    best = f"the best part ({blend['best_part']})"
    if not isinstance(gain, float) or not isinstance(error, float):
        return f"{blend['method']}: nothing can be said of what it gains over {best}"
    size = f"{gain:+.4f} ± {error:.4f}"
    if gain > error:
        return f"{blend['method']} beats {best} by more than its standard error: {size}"
    if gain > 0:
        return f"{blend['method']} does not beat {best} by more than its standard error: {size}"
    return f"{blend['method']} is no better than {best}: {size}"


def _signed(one: dict[str, object]) -> str:
    gain, error = one["gain"], one["standard_error"]
    if not isinstance(gain, float):
        return "–"
    return f"{gain:+.4f} ± {error:.4f}" if isinstance(error, float) else f"{gain:+.4f}"


def _cell(value: object) -> object:
    return "–" if value is None else value
