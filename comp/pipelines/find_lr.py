"""lr(): the learning rate that a recipe could take, from a range test on fold 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.checks.runner import raise_on_errors, show_findings
from comp.config import as_overrides
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.errors import InputError
from comp.files import make_folder, require_output, write_bytes, write_text
from comp.pipelines.check import parse_folds, survey
from comp.pipelines.request import first_model, new_request
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.training.plan import TrainPlan


@dataclass(frozen=True)
class LrResult:
    """What a range test suggests for ``optimizer.lr``, and where its plot and its table lie; ``edge`` says at which end of
    the rates, "lowest" or "highest", the loss was lowest, if it was at one.
    """

    slug: str
    suggestion: float
    steepest: float
    lowest_over_ten: float
    edge: str | None
    steps: int
    plot: Path
    table: Path

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp lr --json``."""
        return asdict(self)


def lr(
    slug: str,
    folds: int | str | Path = 5,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
    out: str | Path | None = None,
) -> LrResult:
    """Looks for a learning rate: fold 0 is trained for ``steps`` steps with rates from ``low`` to ``high``.

    Writes a plot (``out``, by default ``<workspace>/<slug>-lr.png``) and a CSV beside it. A recipe of several models
    is judged by its first.

    Raises
    ------
    CompError
        For bad bounds, a mode that has no rate, and whatever ``run`` would refuse.
    """
    if not 0 < low < high or not 10 <= steps <= 100_000:
        value = f"{low:g} to {high:g} in {steps} steps"
        raise InputError("a range test goes up, in 10 steps or more", value, "`low=1e-6, high=1, steps=100`")
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    plot, table = _outputs(require_output(out) or ws.root / f"{slug}-lr.png")
    plan = plan_of_first_fold(
        "a range test needs a learning rate", ws, competition, data, recipe, overrides, folds
    )
    wanted = plan.recipe

    from comp.report.lr_plot import lr_plot
    from comp.training.lr_range_test import range_test

    test = range_test(plan, low, high, steps)
    make_folder(plot.parent)
    marks = {"steepest": test.steepest, "lowest / 10": test.safe}
    title = f"{slug}: {wanted.model.name}, {wanted.optimizer.name}, batch {wanted.batch}"
    write_bytes(plot, lr_plot(test.rates, test.losses, test.smooth, marks, title, test.suggestion))
    write_text(table, test.to_csv())
    return LrResult(slug, test.suggestion, test.steepest, test.safe, test.edge, len(test.rates), plot, table)


def plan_of_first_fold(
    rule: str,
    workspace: Workspace,
    competition: Competition,
    data: str | Path | None,
    recipe: str | Path | None,
    overrides: Sequence[str] | Mapping[str, object],
    folds: int | str | Path = 5,
) -> TrainPlan:
    """What would train a recipe's first model on checked data; an InputError of that ``rule`` where it trains no steps."""
    from comp.pipelines import training_plans

    raw = raw_of(competition, workspace, data)
    changed = as_overrides(overrides)
    request = new_request(workspace, competition, raw, recipe, changed, None, parse_folds(folds), False)
    wanted = first_model(request.recipe)
    if wanted.mode == "probe":
        raise InputError(rule, 'mode = "probe" solves', '`overrides=["mode=finetune"]`')
    competition.require_layout(raw)
    starts = training_plans.find_starts(competition, wanted, workspace)
    checked = survey(competition, workspace, raw, folds=request.folds, fold_seed=wanted.fold_seed)
    show_findings(checked)
    raise_on_errors(checked.findings, competition.slug)
    (plan,) = training_plans.make_plans(competition, checked, wanted, workspace, None, starts=starts)
    return plan


def _outputs(plot: Path) -> tuple[Path, Path]:
    """The plot, and the table beside it."""
    table = plot.with_suffix(".csv")
    if table == plot:
        raise InputError("a plot is a PNG with a CSV beside it", str(plot), "name a .png")
    require_output(table)
    return plot, table
