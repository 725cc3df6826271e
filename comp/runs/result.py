"""What a finished run came to, as a value and as JSON, and the machine that it was computed on."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp._version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comp.data.labels import LabelMap


def machine(device: str = "cpu") -> str:
    """The kind of this machine, with its GPU where that is the device that is used."""
    here = f"{platform.system()} {platform.machine()}"
    if device != "cuda":
        return here
    import torch

    # a merged run's recipe may name a device of other machines
    return f"{here}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else here


def what_differs(began: Mapping[str, Any], device: str) -> list[str]:
    """In which versions and on what machine a run of this ``started.json`` began, where it goes on otherwise."""
    import torch

    now = {"comp": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    then = began.get("versions", {})
    lines = [
        f"{name} {then[name]}, now {now[name]}" for name in now if then.get(name, now[name]) != now[name]
    ]
    here = machine(device)
    there = began.get("machine") or here
    return lines if there == here else [*lines, f"{there}, now {here}"]


@dataclass(frozen=True)
class RunResult:
    """What a finished run came to.

    ``score`` is the metric over all OOF rows pooled, from the checkpoints and views of the submission; ``beside`` the
    same rows judged otherwise: "identity_view" without views, "plain_fit" by a probe's classifier that was
    solved without them too, "plain_weights" without the moving average (by the
    identity view where views were chosen), and
    "last_epoch" where epochs were chosen on the held-out rows (``selected_on_oof``). ``models`` are the scores of
    each model alone, where there are several; ``views`` the sets that ``tta = "auto"`` chose among; ``pseudo``
    says whose pseudo-labels it trained with, how sure, and how many by fold; ``calibration`` is what a
    temperature would do; ``decision`` the temperature and rule that answers are given by, learned on the OOF rows, where
    the metric gains by them ("without_decision" is the score without); ``folds`` are those of ``per_fold``, all of them where it is empty; ``seconds`` is by step; ``marks`` say why a run is no full one; ``unread`` are test rows that were answered with the class prior, since their images cannot be
    decoded; ``report`` is its page, None where none was wanted or could be drawn.
    """

    run: str
    slug: str
    metric: str
    direction: str
    score: float
    beside: dict[str, float]
    per_fold: list[float]
    submission: Path
    findings: dict[str, int]
    seconds: dict[str, float]
    folder: Path
    unread: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    selected_on_oof: bool = False
    views: list[dict[str, Any]] = field(default_factory=list)
    pseudo: dict[str, Any] | None = None
    calibration: dict[str, float] = field(default_factory=dict)
    folds: list[int] = field(default_factory=list)
    decision: dict[str, Any] = field(default_factory=dict)
    report: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp run --json``."""
        oof = {
            "score": self.score,
            "per_fold": self.per_fold,
            "selected_on_oof": self.selected_on_oof,
            **self.beside,
        }
        return {
            "run": self.run,
            "slug": self.slug,
            "metric": self.metric,
            "direction": self.direction,
            "oof": oof,
            **({"models": self.models} if self.models else {}),
            **({"views": self.views} if self.views else {}),
            **({"pseudo": self.pseudo} if self.pseudo else {}),
            **({"calibration": self.calibration} if self.calibration else {}),
            **({"decision": self.decision} if self.decision else {}),
            "submission": str(self.submission),
            "report": self._in_workspace(self.report),
            "findings": self.findings,
            "seconds": self.seconds,
            "marks": self.marks,
            "unread": self.unread,
        }

    def _in_workspace(self, path: Path | None) -> str | None:
        """A path of the run as seen from the workspace."""
        if path is None:
            return None
        workspace = self.folder.parent.parent
        return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else str(path)


def confusion_csv(labels: LabelMap, truth: NDArray[Any], probs: NDArray[np.float64]) -> str:
    """What was answered for what, as CSV: of one class a row a line for each true class and a column for each answer; of
    several labels how often each is there, answered and right; of numbers their means and errors.
    """
    import numpy as np

    from comp.metrics import confusion, one_hot_places
    from comp.task_scores import answered_sets

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if labels.task.one_class_a_row:
        wide = one_hot_places(probs, len(labels)) if labels.task.is_numeric else probs
        counts = confusion(truth, wide)
        writer.writerow(["truth", *labels.names])
        writer.writerows([name, *row] for name, row in zip(labels.names, counts.tolist(), strict=True))
        return out.getvalue()
    if labels.task.has_classes:
        said, there = answered_sets(probs), truth > 0
        columns = [cells.sum(axis=0).tolist() for cells in (there, said, said & there)]
        writer.writerow(["class", "rows", "answered", "right"])
    else:
        apart = probs - truth
        columns = [
            truth.mean(axis=0).tolist(),
            probs.mean(axis=0).tolist(),
            np.sqrt((apart**2).mean(axis=0)).tolist(),
            np.abs(apart).mean(axis=0).tolist(),
        ]
        writer.writerow(["column", "mean", "mean_answer", "rmse", "mae"])
    writer.writerows([name, *row] for name, *row in zip(labels.names, *columns, strict=True))
    return out.getvalue()
