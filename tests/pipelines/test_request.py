"""What trains the folds of a run is asked for in full, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import comp
from comp.errors import InputError
from comp.pipelines.request import FoldEngine
from made import write_shapes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("spark", None, None, None), "unknown engine"),
        ((None, "10.0.0.1:6379", None, None), "only a cluster deals folds"),
        ((None, None, 2.0, None), "only a cluster deals folds"),
        ((None, None, None, 0.5), "whole GPUs"),
        ((None, None, None, 1.5), "whole GPUs"),
        (("ray", None, 0.0, None), "part of a machine"),
        (("ray", None, None, -1.0), "part of a machine"),
        (("ray", None, float("inf"), None), "part of a machine"),
        (("ray", None, float("nan"), None), "part of a machine"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FoldEngine.of(*given)


def test_what_can_be_asked_for() -> None:
    assert FoldEngine.of(None, None, None, None) == FoldEngine.of("local", None, None, None) == FoldEngine()
    assert FoldEngine.of("ray", "a:1", 2.0, 0.5) == FoldEngine("ray", "a:1", 2.0, 0.5)
    assert FoldEngine.of(None, None, None, 2.0).gpus == 2


def test_gpus_of_this_machine_are_processes_of_the_recipe(tmp_path: Path) -> None:
    """Without a GPU a fold's processes share the CPU, where BatchNorm cannot learn."""
    write_shapes(tmp_path)
    with pytest.raises(InputError, match="BatchNorm of several processes") as refused:
        comp.run("shapes", 2, workspace=tmp_path, overrides=["device=cpu"], gpus_per_fold=2)
    assert "processes = 2" in refused.value.value
    with pytest.raises(InputError, match="solves its classifier"):
        comp.run(
            "shapes", 2, workspace=tmp_path, overrides=["mode=probe", "model.weights=none"], gpus_per_fold=2
        )
    assert not (tmp_path / "runs").exists()
