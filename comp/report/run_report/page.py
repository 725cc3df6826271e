"""The page of a run, put together: one file with everything in it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from comp.report import html, svg
from comp.report.run_report import calibration, epochs, experiments, look_alikes, mistakes, scores, test_side
from comp.report.run_report.images import PageImages, data_url
from comp.report.run_report.run_data import OofRows, RunData

MOST_IMAGES = 1000  # of a page; their number decides how large it is
CELL_IMAGES = 6  # of a cell of the confusion matrix
SHARE_OF_PAIRS = 4  # one in so many images is of a look-alike pair
MOST_PAIRS = 6  # groups of images of a finding

CONTENTS = (
    ("mistakes", "Mistakes"),
    ("confusions", "Confusions"),
    ("classes", "Classes"),
    ("curves", "Curves"),
    ("test", "Test"),
    ("drift", "Drift"),
    ("alike", "Look-alikes"),
    ("runs", "Runs"),
    ("slices", "Slices"),
    ("mosaics", "Images"),
    ("calibration", "Calibration"),
    ("record", "Record"),
    ("next", "Next"),
)


def render(data: RunData, most_images: int = MOST_IMAGES) -> str:
    """The page of a run as HTML that asks for nothing else. At most ``most_images`` images are drawn, those that say most
    first.
    """
    images = PageImages(data.source, most_images)
    judge = scores.Judge(data)
    beside = scores.runs_beside(data, judge)
    curves = epochs.overall(data.epochs, data.metric)
    test = test_side.of_test(data)
    record = _of_record(data)
    worst = mistakes.worst_rows(data)
    for one in worst:
        images.large(one.path)
    alike, drift = (
        look_alikes.kinds(data, images, most_images // SHARE_OF_PAIRS),
        look_alikes.drift_side(data),
    )
    _draw(images, test, record["findings"])
    values: dict[str, Any] = {
        "data": data,
        "images": images,
        "head": scores.headline(data, judge),
        "beside": beside,
        "slices": scores.slices(data),
        "test": test,
        "shares": _shares(test),
        "alike": alike,
        "alike_words": (look_alikes.headline(data), look_alikes.why_none(data)),
        "drift": drift,
        "legend": svg.legend,
        "calibration": calibration.plots(data.oof),
        "matters": calibration.matters(data.metric, data.oof),
        "experiments": experiments.next_experiments(data, curves, beside),
        "mosaics": [(name, told, data_url("jpeg", content)) for name, told, content in data.mosaics],
        **_of_mistakes(data, images, worst),
        **_of_curves(data, curves),
        **record,
    }
    there = {
        "confusions": values["confusion"] is not None,
        "test": test is not None,
        "drift": drift is not None,
        "alike": bool(data.recipe),
        "mosaics": bool(data.mosaics),
    }
    return html.page(
        "run.html",
        title=f"comp report {data.run}",
        heading=f"{data.slug} {data.run}",
        contents=[(part, name) for part, name in CONTENTS if there.get(part, True)],
        **values,
    )


def _shares(test: test_side.TestSide | None) -> Any:
    if test is None or not test.shares:
        return ""
    rows = [(name, (one, other)) for name, one, other in test.shares]
    return svg.bars(
        rows, ("training", "test"), description="share of each class in training rows and in test answers"
    )


def _draw(
    images: PageImages,
    test: test_side.TestSide | None,
    findings: Sequence[Any],
) -> None:
    """Draws what the page shows before what it opens, should there be too many."""
    for row in (*test.unsure, *test.split) if test is not None else ():
        images.small(row.path)
    for _, groups in findings:
        for path in (path for group in groups for path in group):
            images.small(path)


def _of_mistakes(data: RunData, images: PageImages, worst: Sequence[mistakes.Mistake]) -> dict[str, Any]:
    """The gallery, the confusion matrix with the images of its cells, and the table of classes."""
    oof = data.oof
    confusion = mistakes.confusions(oof)
    before = set(images.drawn)
    rows = {} if confusion is None else _cell_images(oof, images)
    pool = {
        str(image.number): {"url": image.url} for path, image in images.drawn.items() if path not in before
    }
    task = data.labels.task
    doubted = 0 if data.doubts is None else int(data.doubts.suspected.sum())
    wrong = int(oof.is_wrong.sum())
    place = {name: n for n, name in enumerate(data.labels.names)}
    pairs = () if confusion is None else confusion.pairs
    shown = [f"{place[t]},{place[a]}" for t, a, *_ in pairs]
    return {
        "mistakes": worst,
        "wrong_told": f"{wrong:,} of {len(oof):,} rows" if task.has_classes else "largest errors first",
        "doubts_told": f"{doubted:,} label{'s are' if doubted > 1 else ' is'} likely wrong by the OOF probabilities; shown first."
        if doubted
        else "No label is likely wrong.",
        "p_true_name": "closeness"
        if task.is_numeric
        else "its label got"
        if task.is_single_label
        else "right side",
        "confusion": confusion,
        "pair_cells": [cell if cell in rows else "" for cell in shown],
        "confusion_json": {}
        if confusion is None
        else {"names": data.labels.names, "order": confusion.order, "cells": confusion.cells, "rows": rows},
        "classes": mistakes.class_rows(data),
        "class_columns": ("precision", "recall", "F1")
        if task.has_classes
        else ("mean", "mean answer", "RMSE"),
        "pool": pool,
    }


def _cell_images(oof: OofRows, images: PageImages) -> dict[str, list[tuple[int, str]]]:
    """The worst rows of each wrong cell, as (image, what it is), the fullest cells first, in turns, until no more may be
    drawn.
    """
    rows: dict[tuple[int, int], list[int]] = {}
    order = sorted((int(n) for n in oof.is_wrong.nonzero()[0]), key=lambda n: (float(oof.p_true[n]), n))
    for n in order:
        rows.setdefault((int(oof.truth[n]), int(oof.answered[n])), []).append(n)
    fullest = sorted(rows, key=lambda cell: (-len(rows[cell]), cell))
    found: dict[str, list[tuple[int, str]]] = {}
    for turn in range(CELL_IMAGES):
        for cell in fullest:
            if turn >= len(rows[cell]):
                continue
            n = rows[cell][turn]
            image = images.small(oof.paths[n])
            if image is not None and not image.error:
                text = (
                    f"{oof.ids[n]}: labelled {oof.cells[n]}, answered {oof.answer_names[n]}, {oof.paths[n]}"
                )
                found.setdefault(f"{cell[0]},{cell[1]}", []).append((image.number, text))
    return found


def _of_curves(data: RunData, overall: epochs.Verdict | None) -> dict[str, Any]:
    told = [
        (
            f"fold {fold.fold}" + (f" {fold.model}" if fold.model else ""),
            epochs.verdict(fold.epochs, data.metric).words,
        )
        for fold in data.epochs
        if fold.epochs
    ]
    none = (
        "A probe has no epochs: its classifier is solved, not trained in steps."
        if data.recipe.get("mode") == "probe"
        else "Nothing was trained here."
    )
    return {
        "curves": epochs.drawn(data.epochs, data.metric),
        "curves_verdict": overall,
        "fold_verdicts": told,
        "no_curves": none,
    }


def _of_record(data: RunData) -> dict[str, Any]:
    """Findings with their images, what passed, and how the run was made."""
    known = {*data.oof.paths, *(data.test.paths if data.test else ())}
    findings = [(finding, _groups(finding, known)[:MOST_PAIRS]) for finding in data.findings]
    gravest = [one["severity"] for one in data.findings]
    counted = [f"{gravest.count(s)} {s}" for s in ("error", "warning", "info") if s in gravest]
    found = {one["check"] for one in data.findings}
    controls = (
        "Control rows: the images that each fold kept came back with the probabilities of validation, shuffled among the test images."
        if data.has_controls and data.record
        else "No control rows were asked: nothing was predicted by a checkpoint."
    )
    recipe = data.recipe.get("model") or {}
    versions = data.started.get("versions") or {}
    named = [f"{name} {value}" for name, value in versions.items()]
    return {
        "findings": findings,
        "findings_told": ", ".join(counted) or "nothing was found",
        "passed": [name for name in data.checks if name not in found],
        "controls": controls,
        "seconds": list((data.record.get("seconds") or {}).items()),
        "command": shlex.join(["comp", *map(str, data.started.get("command") or ["run", data.slug])]),
        "versions": ", ".join([*named, str(data.started.get("machine") or "")]).strip(", ") or "not known",
        "model": " ".join(str(part) for part in (data.recipe.get("mode"), recipe.get("name")) if part),
        "when": str(data.started.get("started") or "").replace("T", " ")[:16],
    }


def _groups(finding: Any, known: set[str]) -> list[tuple[str, ...]]:
    """The images that a finding names, those side by side that belong together."""
    groups = finding.get("groups") or [(path,) for path in finding.get("examples") or ()]
    shown = [tuple(path for path in group if path in known)[:4] for group in groups]
    return [group for group in shown if group]
