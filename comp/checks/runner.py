"""Runs every check, says what came of it, and stops a run that would train past an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from markupsafe import Markup

import comp.checks
from comp import events
from comp.checks.context import CHECKS, Check, CheckContext, Finding, Stage, counts, in_order
from comp.data.dataset import Dataset
from comp.data.folds import Folds
from comp.data.manifest import Manifest
from comp.errors import CheckFailed, InputError, UnknownName, counted, shortened

MOST_SHOWN = 30  # findings in a notebook


@dataclass(frozen=True, repr=False)
class CheckResult:
    """A raw folder, read and judged; ``folds`` is None where the data did not pass."""

    context: CheckContext
    folds: Folds | None
    findings: list[Finding]
    allowed: dict[str, str]
    answered: Dataset | None = None  # by row, where the rows that were judged image by image have several

    def __repr__(self) -> str:
        found = counts(self.findings)
        told = ", ".join(counted(found[kind], kind) for kind in ("error", "warning"))
        manifest = self.dataset.manifest
        rows = f"{len(manifest.train):,} train, {len(manifest.test):,} test"
        return f"CheckResult({self.context.competition.slug!r}: {self.status}, {told}, {rows})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the findings, gravest first."""
        row = Markup(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td style='text-align:left'>{}<br><small>{}</small></td></tr>"
        )
        shown = self.findings[:MOST_SHOWN]
        rows = Markup("").join(
            row.format(f.severity, f.check, f.count, shortened(f.message), f.remedy) for f in shown
        )
        more = len(self.findings) - len(shown)
        head = Markup("<p><b>{}</b></p>").format(repr(self))
        table = Markup(
            "<table><tr><th></th><th>check</th><th>rows</th><th>what was found</th></tr>{}</table>"
        )
        return head + (table.format(rows) if shown else "") + (f"<p>and {more} more</p>" if more else "")

    @property
    def status(self) -> str:
        return "fail" if counts(self.findings)["error"] else "pass"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp check --json``."""
        slug = self.context.competition.slug
        return {
            "slug": slug,
            "status": self.status,
            "findings": [f.as_json() for f in self.findings],
            "stats": self.stats(),
        }

    @property
    def dataset(self) -> Dataset:
        """The rows, labels, template and images that were judged."""
        return self.answered or self.context.dataset

    def readable(self) -> Manifest:
        """The manifest without labelled rows whose image cannot be decoded (the checks let them pass by ``allow``)."""
        manifest = self.dataset.manifest
        table = manifest.table
        broken = ~self.context.images.can_be_read(table["path"])
        if broken.any() and not {"unreadable-image", "missing-file"} & set(self.allowed):
            value = f"{int(broken.sum())} rows have no image, first {table['path'][int(broken.argmax())]!r}"
            raise InputError("no row is left out without a reason", value, "`comp check` names them")
        return Manifest(table[~broken | (table["split"] == "test")].reset_index(drop=True), manifest.notes)

    def unread(self) -> dict[str, str]:
        """Test rows whose image cannot be decoded, id → path; a run has some only where ``allow`` let them pass."""
        test, failed = self.dataset.manifest.test, self.context.images.failed
        return {i: path for i, path in zip(test["id"], test["path"], strict=True) if path in failed}

    def stats(self) -> dict[str, Any]:
        """Counts that people compare with what the competition's page says."""
        manifest = self.dataset.manifest
        images = {"images": len(self.context.manifest)} if self.answered else {}
        per_class = manifest.train["label"].value_counts()
        return {
            "train": len(manifest.train),
            "extra": len(manifest.extra),
            "test": len(manifest.test),
            **images,
            "classes": len(self.context.labels),
            "smallest_class": int(per_class.min()) if len(per_class) else 0,
            "largest_class": int(per_class.max()) if len(per_class) else 0,
            "folds": self.context.k,
            "notes": list(manifest.notes),
        }


def _load() -> None:
    """Imports every module of checks, by its name."""
    for module in iter_modules(comp.checks.__path__):
        if module.name.endswith("_checks"):
            import_module(f"comp.checks.{module.name}")


_load()
DATA_CHECKS = {c.name: c.function for c in in_order() if c.stage == "data" and c.function}
FOLD_CHECKS = {c.name: c.function for c in in_order() if c.stage == "folds" and c.function}
RUN_CHECKS = tuple(c.name for c in in_order() if c.stage in ("recipe", "predictions"))


def run_data_checks(context: CheckContext, answers: bool = True) -> list[Finding]:
    """The findings of every check that needs no folds; without ``answers`` none of what is to be answered."""
    return _run("data", context, lambda one: answers or not one.of_answers)


def run_test_checks(context: CheckContext) -> list[Finding]:
    """The findings on the test rows alone, for a prediction without its training images."""
    test = replace(context.manifest, table=context.manifest.test)
    alone = replace(context, dataset=context.dataset.with_manifest(test))
    return _run("data", alone, lambda one: one.of_test_rows)


def run_fold_checks(context: CheckContext) -> list[Finding]:
    """The findings of every check of the folds."""
    return _run("folds", context, lambda one: True)


def _run(stage: Stage, context: CheckContext, wanted: Callable[[Check], bool]) -> list[Finding]:
    """The findings of a stage's checks, in the order of the sections of docs/checks.md."""
    found: list[Finding] = []
    hidden = context.competition.facts.kaggle.hidden_test
    for one in in_order():
        if (hidden and one.of_scored_rows) or (one.of_boxes and not context.competition.facts.has_boxes):
            continue
        if one.stage == stage and one.function is not None and wanted(one):
            found += one.function(context)
    return found


def require_known(allow: dict[str, str]) -> None:
    """InputError for a check to allow that does not exist, or without a reason."""
    for name, reason in allow.items():
        if name not in CHECKS:
            raise UnknownName("check", name, list(CHECKS), '`allow={"CHECK": "REASON"}`')
        if not CHECKS[name].can_be_allowed:
            value = "control-rows prove that the test path reads images as validation did"
            raise InputError(
                "some checks cannot be allowed", value, "restore the checkpoint's files, or train again"
            )
        if not reason.strip():
            raise InputError(
                "`allow` needs a reason", f"{name} has none", f'`allow={{{name!r}: "why this is fine here"}}`'
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


def show_findings(checked: CheckResult) -> None:
    """Errors and warnings, a line each, and the line of counts."""
    say_findings(checked.findings)
    show_counts(checked)


def say_findings(findings: list[Finding]) -> None:
    """Errors and warnings as lines on what is being done."""
    for f in findings:
        if f.severity != "info":
            allowed = f" (allowed: {f.allowed})" if f.allowed else ""
            remedy = "" if f.allowed else f.remedy
            events.log(shortened(f"  {f.severity}: {f.check}: {f.message}{allowed}"), remedy)


def show_counts(checked: CheckResult) -> None:
    """What was read, and how many findings there are."""
    for note in checked.dataset.manifest.notes:
        events.log(f"  note: {note}")
    stats, n = checked.stats(), counts(checked.findings)
    images = f"{stats['images']:,} images of these rows, " if "images" in stats else ""
    events.log(
        f"  {stats['train']:,} train, {stats['test']:,} test, {images}{stats['classes']} classes; "
        f"checks: {counted(n['error'], 'error')}, {counted(n['warning'], 'warning')}"
    )
