"""A close look groups strong copies, groups scenes where that is asked for, and is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comp.checks.context import CheckContext, Finding
from comp.checks.runner import run_data_checks
from comp.data.folds import make_folds
from comp.pipelines.check import NOT_LOOKED_FOR, scan_images
from comp.workspace import Workspace
from gallery import Gallery, clean_gallery, detailed


def scenes(raw: Path, tests: int = 24) -> Gallery:
    """A gallery with a negative of a0 as a3, and two frames of one scene as a1 and a4, of another class than a0."""
    one = clean_gallery(raw, tests=tests)
    one.replace("train/a0.png", detailed(1))
    one.replace("train/a3.png", 255 - detailed(1))
    for path, shade in (("train/a1.png", 40), ("train/a4.png", 200)):
        frame = detailed(2)
        frame[20:120, 20:100] = detailed(shade)[20:120, 20:100]  # half of it is another's
        one.replace(path, frame)
    return one


def named(findings: list[Finding], check_name: str) -> list[tuple[str, ...]]:
    return [group for f in findings if f.check == check_name for group in f.groups or ()]


def context_of(one: Gallery, thorough: bool | None, group_scenes: bool = False) -> CheckContext:
    plain = one.context()
    declared = plain.declared
    assert declared is not None
    dataset = plain.dataset.with_manifest(replace(declared, notes=()))
    return scan_images(dataset, Workspace(one.raw.parent), 3, thorough, group_scenes)


def test_a_plain_check_says_what_it_did_not_look_for(tmp_path: Path) -> None:
    context = context_of(scenes(tmp_path / "raw"), False)
    assert not context.thorough
    assert context.related == {}
    assert NOT_LOOKED_FOR in context.manifest.notes
    assert named(run_data_checks(context), "near-duplicate") == []


def test_a_close_look_groups_copies(tmp_path: Path) -> None:
    context = context_of(scenes(tmp_path / "raw"), True)
    findings = run_data_checks(context)
    assert NOT_LOOKED_FOR not in context.manifest.notes
    assert ("train/a0.png", "train/a3.png") in {tuple(sorted(g)) for g in named(findings, "near-duplicate")}
    group = dict(zip(context.manifest.train["id"], context.manifest.train["group"], strict=True))
    assert group["a0"] == group["a3"] != ""


def test_by_itself_it_looks_closely_at_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scenes(tmp_path / "raw")
    assert context_of(one, None).thorough
    monkeypatch.setattr("comp.pipelines.check.UP_TO", 10)
    assert not context_of(one, None).thorough


def test_images_that_are_all_small_are_not_looked_at(tmp_path: Path) -> None:
    one = clean_gallery(tmp_path / "raw", side=32)
    for thorough in (None, True):
        context = context_of(one, thorough)
        assert not context.thorough
        assert NOT_LOOKED_FOR not in context.manifest.notes


def test_folds_that_are_given_decide_how_rows_are_grouped(tmp_path: Path) -> None:
    one = scenes(tmp_path / "raw")
    plain = context_of(one, False)
    closely = context_of(one, True)
    for made, thorough in ((plain, False), (closely, True)):
        given = make_folds(made.manifest, 3)
        dataset = replace(plain.dataset, manifest=plain.declared)
        context = scan_images(dataset, Workspace(one.raw.parent), 3, None, False, given)
        assert context.thorough is thorough
        assert context.manifest.fingerprint("train") == given.fingerprint


def test_what_a_close_look_found_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scenes(tmp_path / "raw")
    first = context_of(one, True).related

    def again(*_: object) -> list[list[float]]:
        raise AssertionError("looked closely again")

    monkeypatch.setattr("comp.checks.related_images.related_images", again)
    assert context_of(one, True).related == first != {}


def test_names_and_order_change_nothing(tmp_path: Path) -> None:
    one, other = scenes(tmp_path / "one" / "raw"), scenes(tmp_path / "other" / "raw")
    other.samples.reverse()
    found = [
        {frozenset(pair): how for pair, how in context_of(gallery, True).related.items()}
        for gallery in (one, other)
    ]
    assert found[0] == found[1] != {}


def test_an_image_that_has_gone_meanwhile_relates_to_none(tmp_path: Path) -> None:
    one = scenes(tmp_path / "raw")
    context = context_of(one, False)
    (one.raw / "train/a3.png").unlink()
    related = replace(context, thorough=True).related
    assert not any("train/a3.png" in pair for pair in related)


def test_scenes_are_grouped_where_that_is_asked_for(tmp_path: Path) -> None:
    """A still camera with something small moving is a copy anyway; here one object is seen from two sides."""
    one = clean_gallery(tmp_path / "raw", tests=0)
    rng = np.random.default_rng(0)
    for path, seed in (("train/a0.png", 50), ("train/a4.png", 51)):
        ground = detailed(seed)
        thing = np.clip(detailed(60) + rng.normal(0, 30, (160, 160, 3)), 0, 255).astype(np.uint8)
        ground[10:140, 10:140] = thing[10:140, 10:140]
        one.replace(path, ground)
    found = context_of(one, True)
    apart = context_of(one, True, group_scenes=True)
    pair = ("train/a0.png", "train/a4.png")
    assert any(set(pair) <= set(cluster) for cluster in apart.alike)
    finding = next(f for f in run_data_checks(found) if f.check in ("same-scene", "near-duplicate"))
    assert finding.severity == "info"
    assert "group_scenes=True" in next(
        (f.remedy for f in run_data_checks(apart) if f.check == "same-scene"), "group_scenes=True"
    )
