"""Runs every check, and stops a run that would train past an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comp.checks import (
    answer_checks,
    fold_checks,
    image_checks,
    label_checks,
    manifest_checks,
    shortcut_checks,
)
from comp.checks.context import CheckContext
from comp.checks.findings import Finding
from comp.errors import CheckFailed, InputError, UnknownName

Check = Callable[[CheckContext], list[Finding]]

DATA_CHECKS: dict[str, Check] = {
    "duplicate-id": manifest_checks.duplicate_id,
    "empty-id": manifest_checks.empty_id,
    "duplicate-path": manifest_checks.duplicate_path,
    "missing-file": manifest_checks.missing_file,
    "unlisted-file": manifest_checks.unlisted_file,
    "unknown-label": manifest_checks.unknown_label,
    "label-spelling": label_checks.label_spelling,
    "test-labels": label_checks.labels_of_test_rows,
    "label-map": manifest_checks.label_map,
    "class-too-small": manifest_checks.class_too_small,
    "train-test-overlap": manifest_checks.train_test_overlap,
    "template-mismatch": manifest_checks.template_mismatch,
    "template-columns": answer_checks.template_columns,
    "template-cells": answer_checks.template_cells,
    "class-index": answer_checks.class_index,
    "metric-mismatch": answer_checks.metric_mismatch,
    "unreadable-image": image_checks.unreadable_image,
    "value-range": image_checks.value_range,
    "several-pages": image_checks.several_pages,
    "blank-image": image_checks.blank_image,
    "odd-size": image_checks.odd_size,
    "exact-duplicate": image_checks.exact_duplicate,
    "near-duplicate": image_checks.near_duplicate,
    "train-test-duplicate": image_checks.train_test_duplicate,
    "conflicting-labels": image_checks.conflicting_labels,
    "metadata-shortcut": shortcut_checks.metadata_shortcut,
    "train-test-drift": shortcut_checks.train_test_drift,
}
FOLD_CHECKS: dict[str, Check] = {
    "fold-coverage": fold_checks.fold_coverage,
    "group-across-folds": fold_checks.group_across_folds,
    "copy-across-folds": fold_checks.copy_across_folds,
    "stratification": fold_checks.stratification,
    "test-id-in-folds": fold_checks.test_id_in_folds,
    "stale-folds": fold_checks.stale_folds,
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


def run_data_checks(evidence: CheckContext, answers: bool = True) -> list[Finding]:
    """The findings of every check that needs no folds; without ``answers`` none of what is to be answered."""
    checks = [check for name, check in DATA_CHECKS.items() if answers or name not in ANSWER_CHECKS]
    return [found for check in checks for found in check(evidence)]


def run_test_checks(evidence: CheckContext) -> list[Finding]:
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


def run_fold_checks(evidence: CheckContext) -> list[Finding]:
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


def raise_on_errors(findings: list[Finding], slug: str, rule: str = "no training past an error") -> None:
    """CheckFailed, naming the first error, where there is one."""
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        first = errors[0]
        value = f"{first.check}: {first.message}" + (
            f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        )
        raise CheckFailed(rule, value, f"{first.remedy}; `comp check {slug}` shows all")
