"""The page of a run: whole for any number of classes, any task and any lack, and never markup from outside."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comp.data.task import Task
from comp.report.run_report.page import render
from comp.report.run_report.run_data import RunData
from html_page import Page
from made_report import doubts_of, epochs_of, made_data, made_rows, other_run

SCRIPT, BREAKOUT = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'


def json_of(text: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("classes", [2, 7, 100, 257])
def test_any_number_of_classes_makes_a_whole_page(classes: int) -> None:
    data = made_data(made_rows(classes, max(60, 3 * classes)))
    text = render(data)
    page = Page(text)
    assert page.links == [f"#{part}" for part, _ in PARTS]
    confusion = json_of(text, "confusion")
    assert sorted(confusion["order"]) == list(range(classes))
    assert sum(rows for *_, rows in confusion["cells"]) == len(data.oof)


PARTS = (
    ("mistakes", ""),
    ("confusions", ""),
    ("classes", ""),
    ("curves", ""),
    ("test", ""),
    ("alike", ""),
    ("runs", ""),
    ("slices", ""),
    ("calibration", ""),
    ("record", ""),
    ("next", ""),
)


def test_the_images_of_a_cell_are_of_that_cell() -> None:
    data = made_data(made_rows(4, 160))
    text = render(data)
    inline = {int(n): True for n in re.findall(r'data-n="(\d+)"', text)}
    pool = json_of(text, "images")
    oof = data.oof
    for cell, rows in json_of(text, "confusion")["rows"].items():
        truth, answer = map(int, cell.split(","))
        for number, told in rows:
            n = oof.ids.index(told.split(":")[0])
            assert (oof.truth[n], oof.answered[n]) == (truth, answer)
            assert number in inline or str(number) in pool


def test_no_more_images_than_may_be_the_worst_first() -> None:
    data = made_data(made_rows(5, 300))
    few = Page(render(data, most_images=10))
    assert len(few.images) == 10
    assert "comp report 20260101-000000-abcd</code> draws more" in render(data, most_images=10)


@pytest.mark.parametrize("name", [SCRIPT, BREAKOUT])
def test_names_of_everything_are_text(name: str) -> None:
    oof = made_rows(3, 60, names=[name, "b", "c"])
    oof = replace(oof, ids=tuple(f"{name}{n}" for n in range(60)))
    finding = {
        "check": name,
        "severity": "info",
        "count": 1,
        "message": name,
        "examples": [name],
        "remedy": name,
    }
    data = made_data(
        oof,
        slug=name,
        title=name,
        findings=[finding],
        record={"oof": {"score": 0.9}, "marks": [name], "seconds": {name: 1.0}},
        started={"command": ["run", name], "machine": name},
        recipe={"mode": name, "model": {"name": name}},
        others=[other_run(oof, id=name, model=name, changes=((name, name, name),))],
        submitted=[{"public": 0.5, "message": name}],
    )
    text = render(data)
    page = Page(text)
    assert page.scripts == 3, "the page's own and its two tables"
    assert all(url.startswith("#") for url in page.links)


@pytest.mark.parametrize("name", ["multi-label", "ordinal", "regression"])
def test_every_task_has_a_page_that_makes_sense_of_its_kind(name: str) -> None:
    task = Task(name, (0.0,) * 3, (1.0,) * 3) if name == "regression" else Task(name)  # type: ignore[arg-type]
    text = render(made_data(made_rows(3, 60, task)))
    Page(text)
    assert ("Every class" in text) == (name != "regression")
    assert ("Confusions" in text) == (name == "ordinal")


def lacking() -> list[Any]:
    def one_fold(data: RunData) -> RunData:
        return replace(
            data, oof=replace(data.oof, fold=np.zeros(len(data.oof), np.int64)), fold_scores={0: 0.9}
        )

    def all_right(data: RunData) -> RunData:
        return replace(data, oof=replace(data.oof, probs=np.eye(3)[data.oof.truth]))

    changes = {
        "no test rows": lambda data: replace(data, test=None),
        "one fold": one_fold,
        "unfinished": lambda data: replace(data, record={}),
        "no recipe": lambda data: replace(data, recipe={}, epochs=[]),
        "nothing wrong": all_right,
        "one fold's test": lambda data: replace(data, test=replace(data.test, by_fold=None)),
        "no machine": lambda data: replace(data, started={}),
        "no looks": lambda data: replace(data, looks=None),
        "epochs": lambda data: replace(data, epochs=[epochs_of([1.0, 0.5, 0.4], [0.5, 0.6, 0.7])]),
    }
    return [pytest.param(change, id=name) for name, change in changes.items()]


@pytest.mark.parametrize("change", lacking())
def test_what_is_lacking_costs_its_part_alone(change: Any) -> None:
    data = change(made_data())
    text = render(data)
    Page(text)
    assert "nan" not in re.sub(r"data:image/[^\"]*", "", text).lower().replace("number.isnan", "")


def test_doubted_labels_stand_first_and_say_so() -> None:
    data = made_data()
    suspected = np.zeros(60, np.bool_)
    suspected[5] = True
    likely = np.full(60, (data.oof.truth[5] + 1) % 3)
    text = render(replace(data, doubts=doubts_of(np.zeros(60), suspected, likely)))
    assert f"label likely wrong: class {likely[5]}?" in text
    assert "1 label is likely wrong" in text


def test_an_unreadable_image_is_explained() -> None:
    class Broken:
        def load(self, path: str) -> bytes:
            raise OSError(f"{path} is gone")

    text = render(made_data(source=Broken()))
    assert "it cannot be read" in text
    assert Page(text).images == []
