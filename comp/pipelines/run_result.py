"""What a finished run came to: as a value, as JSON, as tables, and as a notebook shows it."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.runs.result import PAIRS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
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
    decoded; ``report`` is its page, None where none was wanted or could be drawn; ``engine`` is what trained
    its folds.
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
    engine: str = "local"

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
            "engine": self.engine,
        }

    def _in_workspace(self, path: Path | None) -> str | None:
        """A path of the run as seen from the workspace."""
        if path is None:
            return None
        workspace = self.folder.parent.parent
        return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else str(path)

    def __repr__(self) -> str:
        marks = f", {', '.join(self.marks)}: not a full run" if self.marks else ""
        return (
            f"{type(self).__name__}({self.run!r}, {self.slug!r}, OOF {self.metric} {self.score:.4f}{marks})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: scores, curves, confusions and the worst images."""
        from comp.pipelines.report import fragment

        return fragment(self.folder, self.report)

    @property
    def oof(self) -> pd.DataFrame:
        """Every OOF row (id, path, label, answer, p_true, fold), in the order of the manifest; see docs/tutorial.md."""
        return _texts(self.folder / "oof.csv", p_true=float, fold=int)

    @property
    def test(self) -> pd.DataFrame:
        """Every test row (id, path, answer), in the order of the manifest."""
        return _texts(self.folder / "rows.csv")

    @property
    def confusion(self) -> pd.DataFrame:
        """What was answered for what: a row for each true class and a column for each answer; of several labels and of
        numbers a row for each class or column. Of more than 1,000 classes a row for each pair that occurs.
        """
        import pandas as pd

        # names as they stand: "NA" and "007" are text, and two columns may have the name of the first
        with (self.folder / "confusion.csv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        if head[0] == PAIRS:
            return pd.DataFrame(rows, columns=head, dtype="object").astype({"rows": int})
        index = pd.Index([row[0] for row in rows], name=head[0], dtype="object")
        table = pd.DataFrame([row[1:] for row in rows], index, pd.Index(head[1:], dtype="object"))
        numbers: pd.DataFrame = table.apply(pd.to_numeric)
        return numbers

    def worst(self, n: int = 20) -> pd.DataFrame:
        """The ``n`` OOF rows that give least to their label and are answered otherwise, worst first."""
        rows = self.oof
        wrong = rows[rows["label"] != rows["answer"]]
        return wrong.sort_values(["p_true", "id"]).head(n).reset_index(drop=True)

    def look_alikes(self) -> pd.DataFrame:
        """Pairs of rows in different folds, and of training and test rows (``other_fold`` "test"), that look alike by the
        features of the run's frozen network, the pairs across folds first; ``usual`` is the similarity of their nearest
        neighbours. Without rows where there are no such features.
        """
        import pandas as pd

        path = self.folder / "look-alikes.csv"
        if not path.is_file():
            names = ("id", "path", "label", "fold")
            other = (f"other_{name}" for name in names)
            return pd.DataFrame(columns=[*names, *other, "similarity", "usual"])
        return _texts(path, similarity=float, usual=float)

    def curves(self) -> pd.DataFrame:
        """Every epoch of every fold (model, fold, epoch, loss, valid_loss, valid_metric, lr, images_per_second); without rows
        where nothing was trained in epochs.
        """
        import pandas as pd

        tables = []
        for path in sorted(self.folder.rglob("history.csv")):
            model = path.parent.parent.name if path.parent.parent != self.folder else ""
            table = pd.read_csv(path)
            table.insert(0, "fold", int(path.parent.name.removeprefix("fold-")))
            table.insert(0, "model", model)
            tables.append(table)
        return (
            pd.concat(tables, ignore_index=True)
            if tables
            else pd.DataFrame(columns=["model", "fold", "epoch"])
        )


def _texts(path: Path, **kinds: type) -> pd.DataFrame:
    """A table of text as it stands; ``kinds`` are columns of other types."""
    import pandas as pd

    return pd.read_csv(path, dtype=str, keep_default_na=False).astype(kinds)
