"""A preset's order is kept as it was given, found again, and refuses what it takes no part of."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.errors import InputError, UnknownName
from comp.files import write_json
from comp.pipelines.engine.order import (
    find_order,
    is_preset,
    latest_is_preset,
    new_order,
    require_known,
    require_preset,
)
from comp.workspace import Workspace


def test_orders_are_found_by_id_prefix_and_as_the_latest(workspace: Path) -> None:
    ws = Workspace(workspace)
    with pytest.raises(UnknownName):
        find_order(ws, "latest", "digits")
    first = new_order(ws, "fast", "digits", {"seed": 3})
    second = new_order(ws, "best", "shapes", {})
    assert is_preset(first.id)
    assert not is_preset("latest")
    assert find_order(ws, first.id, "digits") == first
    assert find_order(ws, "latest", "digits").given == {"seed": 3}
    assert find_order(ws, second.id[:-1], "shapes").preset == "best"
    with pytest.raises(InputError, match="belongs to one competition"):
        find_order(ws, first.id, "shapes")
    with pytest.raises(InputError, match="fit one"):
        find_order(ws, "preset-", "digits")
    assert latest_is_preset(ws, "digits")
    assert not latest_is_preset(ws, "art-classification")


def test_a_run_that_came_after_it_is_the_latest(workspace: Path) -> None:
    ws = Workspace(workspace)
    order = new_order(ws, "fast", "digits", {})
    for name, told in (("29990101-000000-0000", {}), ("29990101-000001-0000", {"preset": order.id})):
        folder = workspace / "runs" / name
        folder.mkdir(parents=True)
        write_json(folder / "started.json", {"slug": "digits", "run": name, **told})
        assert latest_is_preset(ws, "digits") == bool(told)


def test_what_a_preset_decides_itself_is_refused_beside_it() -> None:
    require_preset("best", {"quick": False, "recipe": None, "only": None})
    for name, value in (
        ("quick", True),
        ("recipe", "story"),
        ("only", [0]),
        ("pseudo", "p.csv"),
        ("refit", "r"),
    ):
        with pytest.raises(InputError, match=name):
            require_preset("best", {name: value})
    with pytest.raises(UnknownName, match="fast"):
        require_preset("fats", {})
    with pytest.raises(TypeError, match="time_limt"):
        require_known({"time_limt": "4m"})
