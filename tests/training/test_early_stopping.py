"""Best epochs and early stopping follow from the history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comp.metrics import metric_by_name
from comp.recipe import load
from comp.training.early_stopping import best_epoch, is_over
from comp.training.state import Epoch

SCORES = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([0.2, 0.4])), min_size=1, max_size=12
)


def history(scores: list[tuple[float, float]]) -> list[Epoch]:
    return [Epoch(n + 1, 1.0, loss, metric, 0.1, 1.0) for n, (metric, loss) in enumerate(scores)]


@given(SCORES, st.sampled_from(["accuracy", "log_loss"]))
def test_no_epoch_beats_the_best(scores: list[tuple[float, float]], name: str) -> None:
    metric = metric_by_name(name)
    best = best_epoch(history(scores), metric)
    sign = 1 if metric.direction == "max" else -1
    key = [(-sign * value, loss, n) for n, (value, loss) in enumerate(scores)]
    assert best == min(key)[2]


@given(SCORES, st.integers(1, 4), st.integers(1, 12))
def test_patience_ends_training_where_the_recipe_has_some(
    scores: list[tuple[float, float]], patience: int, epochs: int
) -> None:
    metric, one = metric_by_name("accuracy"), history(scores)
    recipe = load(None, [f"epochs={epochs}", f"stop.patience={patience}"])
    waited = len(one) - 1 - best_epoch(one, metric)
    assert is_over(recipe, one, metric) == (waited >= patience)
    assert not is_over(load(None, [f"epochs={epochs}"]), one, metric)
    assert not is_over(recipe, [], metric)
