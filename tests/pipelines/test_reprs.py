"""What a prompt shows of each result stays short, however many rows there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from comp.data.pseudo_labels import PseudoLabels
from comp.kaggle.submitted import Submitted
from comp.pipelines.ensemble import EnsembleResult
from comp.pipelines.listing import Rows, RunRow, list_runs
from comp.pipelines.predict import Predicted
from comp.pipelines.pseudo_label import PseudoResult
from comp.pipelines.score import ClassScore, Score
from comp.runs.ledger import SubmissionEntry
from comp.submission.comparison import Comparison, Difference
from comp.submission.validate import Problem
from made import write_shapes
from made_blends import write_run

MANY = 5000
LONG = "x" * 300


def blend() -> EnsembleResult:
    known: dict[str, Any] = {"run": "r", "slug": "s", "metric": "accuracy", "direction": "max", "score": 0.5}
    known |= {"beside": {}, "per_fold": [0.5] * 10, "submission": Path("s.csv"), "findings": {}}
    return EnsembleResult(**known, seconds={}, folder=Path(), blend={str(n): LONG for n in range(MANY)})


def pseudo() -> PseudoResult:
    rows = [{"fold": 0, "id": f"t{n}", "label": LONG, "prob": 0.99} for n in range(MANY)]
    labels = PseudoLabels("r", "s", 0.9, LONG, LONG, LONG, 5, False, pd.DataFrame(rows))
    return PseudoResult(Path("p.csv"), labels, MANY)


EACH: dict[str, Any] = {
    "blend": blend,
    "pseudo": pseudo,
    "predicted": lambda: Predicted(Path("a.csv"), MANY, [f"t{n}" for n in range(MANY)]),
    "score": lambda: Score("s", "accuracy", "max", 0.5, 1.0, 9, [ClassScore(LONG, 1, 1, 1, 1)] * MANY, 1),
    "comparison": lambda: Comparison(
        ("a.csv", "b.csv"),
        "s",
        "label",
        MANY,
        0.5,
        [Difference(f"t{n}", n, "a", "b") for n in range(MANY)],
        {(str(n), LONG): 1 for n in range(MANY)},
    ),
    "problems": lambda: [Problem("value", LONG * 9, MANY, tuple(range(MANY)))] * 8,
    "submitted": lambda: Submitted(
        "s", SubmissionEntry(message=LONG * 9, known=tuple(range(MANY))), Path(), None, 1.0
    ),
}


@pytest.mark.parametrize("name", EACH)
def test_a_result_is_told_in_a_few_lines(name: str) -> None:
    assert len(repr(EACH[name]())) <= 2000


def test_many_runs_are_told_by_the_first(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    write_run(tmp_path, "20260101-000000-abcd", 1.5)
    (row,) = list_runs(workspace=tmp_path)
    assert repr(Rows([row])) == f"[{row!r}]"
    many: Rows[RunRow] = Rows([row] * 50)
    assert len(repr(many)) <= 2000
    assert repr(many).endswith("35 more]")
    assert repr(Rows()) == "[]"
