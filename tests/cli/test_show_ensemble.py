"""The table of a blend says why its score is another than that of the method that was chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from comp.cli.show_ensemble import show_ensemble


def blend(score: float, greedy: float) -> Any:
    method = {"gain": 0.01, "standard_error": 0.005}
    methods = [
        {"method": "mean", "score": 0.95, "chosen": False, **method},
        {"method": "greedy", "score": greedy, "chosen": True, **method},
    ]
    parts = [
        {"part": name, "score": 0.94, "weight": 0.5, "without": 0.93, **method} for name in ("one", "two")
    ]
    told = {
        "methods": methods,
        "parts": parts,
        "calibration": None,
        "decision": None,
        "priors": None,
        "best_part": "one",
        "method": "greedy",
        **method,
    }
    return SimpleNamespace(
        blend=told,
        metric="accuracy",
        score=score,
        marks=[],
        run="r",
        submission="s.csv",
        report=None,
        direction="max",
    )


def test_the_score_of_the_blend_stands_beside_that_of_its_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    show_ensemble(blend(0.9582, 0.9617))
    lines = capsys.readouterr().out.splitlines()
    (chosen,) = [line for line in lines if line.startswith(" greedy ")]
    assert "0.9617" in chosen
    assert chosen.endswith("chosen")
    number = next(n for n, line in enumerate(lines) if line.startswith(" chosen anew for each fold"))
    words = " ".join(" ".join(lines[number : number + 4]).split())
    assert "0.9582" in words
    assert "the blend's score: its method is chosen without the fold" in words
    assert any("nested OOF accuracy 0.9582" in line for line in lines)


def test_where_both_are_one_number_nothing_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    show_ensemble(blend(0.9617, 0.9617))
    assert "chosen anew" not in capsys.readouterr().out
