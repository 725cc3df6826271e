"""Runs every check, and stops a run that would train past an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comp.checks import answer_checks as answer_family
from comp.checks import fold_checks as fold_family
from comp.checks import image_checks as content_family
from comp.checks import label_checks as label_family
from comp.checks import manifest_checks as manifest_family
from comp.checks import shortcut_checks as shortcut_family
from comp.checks.context import Evidence
from comp.checks.findings import Finding
from comp.errors import CheckFailed, InputError, UnknownName

Check = Callable[[Evidence], list[Finding]]

DATA_CHECKS: dict[str, Check] = {
    "duplicate-id": manifest_family.duplicate_id,
    "empty-id": manifest_family.empty_id,
    "duplicate-path": manifest_family.duplicate_path,
    "missing-file": manifest_family.missing_file,
    "unlisted-file": manifest_family.unlisted_file,
    "unknown-label": manifest_family.unknown_label,
    "label-spelling": label_family.label_spelling,
    "test-labels": label_family.labels_of_test_rows,
    "label-map": manifest_family.label_map,
    "class-too-small": manifest_family.class_too_small,
    "train-test-overlap": manifest_family.train_test_overlap,
    "template-mismatch": manifest_family.template_mismatch,
    "template-columns": answer_family.template_columns,
    "template-cells": answer_family.template_cells,
    "class-index": answer_family.class_index,
    "metric-mismatch": answer_family.metric_mismatch,
    "unreadable-image": content_family.unreadable_image,
    "value-range": content_family.value_range,
    "several-pages": content_family.several_pages,
    "blank-image": content_family.blank_image,
    "odd-size": content_family.odd_size,
    "exact-duplicate": content_family.exact_duplicate,
    "near-duplicate": content_family.near_duplicate,
    "train-test-duplicate": content_family.train_test_duplicate,
    "conflicting-labels": content_family.conflicting_labels,
    "metadata-shortcut": shortcut_family.metadata_shortcut,
    "train-test-drift": shortcut_family.train_test_drift,
}
FOLD_CHECKS: dict[str, Check] = {
    "fold-coverage": fold_family.fold_coverage,
    "group-across-folds": fold_family.group_across_folds,
    "copy-across-folds": fold_family.copy_across_folds,
    "stratification": fold_family.stratification,
    "test-id-in-folds": fold_family.test_id_in_folds,
    "stale-folds": fold_family.stale_folds,
}
RUN_CHECKS = (
    "weights-leak",
    "preprocessing-override",
    "harmful-transform",
    "control-rows",
    "collapsed-predictions",
    "too-good",
    "prior-shift",
    "harmful-views",
    "assumed-folds",
)


ANSWER_CHECKS = ("template-mismatch", "template-columns", "template-cells", "class-index", "metric-mismatch")


def judge_data(evidence: Evidence, answers: bool = True) -> list[Finding]:
    """The findings of every check that needs no folds; without ``answers`` none of what is to be answered."""
    checks = [check for name, check in DATA_CHECKS.items() if answers or name not in ANSWER_CHECKS]
    return [found for check in checks for found in check(evidence)]


def judge_test(evidence: Evidence) -> list[Finding]:
    """The findings on the test rows alone, for a prediction without its training images."""
    checks = (
        "duplicate-id",
        "empty-id",
        "duplicate-path",
        "missing-file",
        "test-labels",
        "template-mismatch",
        "template-columns",
        "template-cells",
        "class-index",
        "unreadable-image",
        "value-range",
        "several-pages",
    )
    table = evidence.manifest.test
    alone = replace(evidence, manifest=replace(evidence.manifest, table=table))
    return [found for name in checks for found in DATA_CHECKS[name](alone)]


def judge_folds(evidence: Evidence) -> list[Finding]:
    """The findings of every check of the folds."""
    return [found for check in FOLD_CHECKS.values() for found in check(evidence)]


def require_known(allow: dict[str, str]) -> None:
    """InputError for a check to allow that does not exist, or without a reason."""
    known = [*DATA_CHECKS, *FOLD_CHECKS, *RUN_CHECKS]
    for name, reason in allow.items():
        if name not in known:
            raise UnknownName("check", name, known, "--allow CHECK=REASON")
        if name == "control-rows":
            value = "control-rows prove that the test path reads images as validation did"
            raise InputError(
                "some checks cannot be allowed", value, "restore the checkpoint's files, or train again"
            )
        if not reason.strip():
            raise InputError(
                "--allow needs a reason", f"{name} has none", f'--allow {name}="why this is fine here"'
            )


def require_pass(findings: list[Finding], slug: str, rule: str = "no training past an error") -> None:
    """CheckFailed, naming the first error, where there is one."""
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        first = errors[0]
        value = f"{first.check}: {first.message}" + (
            f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        )
        raise CheckFailed(rule, value, f"{first.remedy}; `comp check {slug}` shows all")
