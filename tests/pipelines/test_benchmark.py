"""comp bench measures the parts of training and writes no run."""

from __future__ import annotations

from pathlib import Path

import pytest

import comp
from comp.errors import InputError
from comp.pipelines.benchmark import BenchResult
from made import run_comp


def test_it_measures_every_part_and_leaves_no_run(tmp_path: Path) -> None:
    found = comp.bench(workspace=tmp_path, seconds=0.2, overrides=["batch=16"])
    rates = found.as_json()["images_per_second"]
    assert set(rates) == {"decode", "first_pass", "feed", "step", "fed_step"}
    assert all(rate > 0 for rate in rates.values())
    assert found.batch == 16
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("device", "feed", "fed", "limit"),
    [
        ("cuda", 1e3, 99.0, "step"),
        ("cuda", 1e3, 97.0, "step"),
        ("cuda", 1e3, 90.0, "feed"),
        ("cpu", 1e3, 90.0, "step"),
        ("cpu", 60.0, 40.0, "feed"),
        ("cpu", 99.0, 98.0, "step"),
    ],
)
def test_the_limit_is_what_the_other_waits_for(device: str, feed: float, fed: float, limit: str) -> None:
    result = BenchResult("digits", "n", 8, 2, device, "fp32", True, 1, 1e4, 1e3, feed, 100.0, fed)
    assert result.limit == limit


def test_bad_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seconds"):
        comp.bench(workspace=tmp_path, seconds=0)
    with pytest.raises(InputError, match="training steps"):
        comp.bench(workspace=tmp_path, overrides=["mode=probe"])


def test_the_command_answers_with_one_document(tmp_path: Path) -> None:
    done = run_comp(tmp_path, "bench", "digits", "--seconds", "0.2", "--json")
    assert done.code == 0
    assert done.json["limit"] in ("step", "feed")
