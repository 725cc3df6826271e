"""What learning curves say: each verdict on curves that show it, and none on those that do not."""

from __future__ import annotations

import math

import pytest

from comp.metrics import metric_by_name
from comp.report.run_report.epochs import drawn, overall, verdict
from made_report import epochs_of

ACCURACY = metric_by_name("accuracy")
FALLING = [1.0, 0.7, 0.5, 0.4, 0.35, 0.33]


@pytest.mark.parametrize(
    ("valid", "scores", "losses", "kind"),
    [
        (FALLING, [0.5, 0.6, 0.7, 0.75, 0.8, 0.85], (), "longer"),
        (FALLING, [0.5, 0.7, 0.8, 0.83, 0.83, 0.83], (), "settled"),
        ([1.0, 0.6, 0.5, 0.55, 0.7, 0.9], [0.5, 0.7, 0.8, 0.8, 0.79, 0.78], (), "overfits"),
        (FALLING, [0.5] * 6, [1, 2, 3, 2, 1, 1], "unstable"),
        (FALLING, [0.5] * 6, [1, math.nan, 1, 1, 1, 1], "unstable"),
        ([1.0], [0.5], (), "short"),
        ([math.nan] * 6, [0.5, 0.7, 0.8, 0.8, 0.8, 0.8], (), "settled"),
    ],
)
def test_each_shape_has_its_verdict(
    valid: list[float], scores: list[float], losses: tuple[float, ...], kind: str
) -> None:
    assert verdict(epochs_of(valid, scores, losses).epochs, ACCURACY).kind == kind


def test_overfitting_names_the_epoch_of_the_lowest_loss() -> None:
    fold = epochs_of([1.0, 0.6, 0.5, 0.55, 0.7, 0.9], [0.5, 0.7, 0.8, 0.8, 0.79, 0.78])
    assert "from epoch 3" in verdict(fold.epochs, ACCURACY).words


def test_a_metric_of_errors_still_gains_where_it_falls() -> None:
    rmse = metric_by_name("rmse", task="regression")
    falling = epochs_of(FALLING, [5.0, 4.0, 3.0, 2.5, 2.2, 1.8])
    rising = epochs_of(FALLING, [1.8, 2.0, 2.2, 2.3, 2.4, 2.5])
    assert verdict(falling.epochs, rmse).kind == "longer"
    assert verdict(rising.epochs, rmse).kind == "settled"


def test_most_folds_decide_and_an_unstable_one_is_never_hidden() -> None:
    longer, settled = (
        epochs_of(FALLING, scores)
        for scores in ([0.5, 0.6, 0.7, 0.75, 0.8, 0.85], [0.5, 0.7, 0.8, 0.83, 0.83, 0.83])
    )
    unstable = epochs_of(FALLING, [0.5] * 6, [1, 2, 3, 2, 1, 1])
    found = overall([longer, longer, settled], ACCURACY)
    assert found is not None
    assert (found.kind, found.words[:12]) == ("longer", "2 of 3 folds")
    assert overall([longer, longer, unstable], ACCURACY).kind == "unstable"  # type: ignore[union-attr]
    assert overall([], ACCURACY) is None
    assert drawn([], ACCURACY) == []
    assert len(drawn([longer, settled], ACCURACY)) == 2
