"""A close look groups strong copies, groups scenes where that is asked for, and is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.checks.context import CheckContext, Finding
from comp.checks.related_images import CloseLook
from comp.checks.runner import run_data_checks
from comp.data.folds import make_folds
from comp.errors import ImageError, InputError
from comp.pipelines.check import NOT_LOOKED_FOR, TOO_SMALL, scan_images
from comp.workspace import Workspace
from gallery import Gallery, clean_gallery, detailed, textured


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
    look = CloseLook(thorough, group_scenes, by_itself=thorough is None)
    return scan_images(dataset, Workspace(one.raw.parent), 3, look)


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


def test_small_images_are_not_looked_at_and_that_is_said_where_it_was_asked_for(tmp_path: Path) -> None:
    one = clean_gallery(tmp_path / "raw", side=32)
    for thorough, said in ((None, False), (True, True)):
        context = context_of(one, thorough)
        assert not context.thorough
        assert NOT_LOOKED_FOR not in context.manifest.notes
        assert (TOO_SMALL in context.manifest.notes) is said


def test_folds_that_are_given_decide_how_rows_are_grouped(tmp_path: Path) -> None:
    one = scenes(tmp_path / "raw")
    plain = context_of(one, False)
    closely = context_of(one, True)
    scenes_too = context_of(one, None, group_scenes=True)
    for made, thorough in ((plain, False), (closely, True), (scenes_too, True)):
        given = make_folds(made.manifest, 3)
        dataset = replace(plain.dataset, manifest=plain.declared)
        context = scan_images(dataset, Workspace(one.raw.parent), 3, CloseLook(), given)
        assert context.thorough is thorough
        assert context.manifest.fingerprint("train") == given.fingerprint
    fewer = replace(given, ids=given.ids[1:], fold=given.fold[1:], fingerprint="of other rows")
    assert not scan_images(dataset, Workspace(one.raw.parent), 3, CloseLook(), fewer).thorough


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


def test_an_image_that_has_gone_meanwhile_is_said_and_nothing_is_remembered(tmp_path: Path) -> None:
    one = scenes(tmp_path / "raw")
    context = replace(context_of(one, False), thorough=True)
    content = (one.raw / "train/a3.png").read_bytes()
    (one.raw / "train/a3.png").unlink()
    with pytest.raises(ImageError, match=r"a3\.png"):
        assert context.related
    (one.raw / "train/a3.png").write_bytes(content)
    assert any("train/a3.png" in pair for pair in context.related)


def test_scenes_need_a_close_look_and_a_run_keeps_its_own() -> None:
    with pytest.raises(InputError, match="close look"):
        CloseLook(False, True).require_possible()
    CloseLook(None, True).require_possible()
    before = CloseLook(True, False)
    CloseLook().require_like(before)
    CloseLook(True).require_like(before)
    for other in (CloseLook(False), CloseLook(None, True)):
        with pytest.raises(InputError, match="grouped as they were"):
            other.require_like(before)


def two_shots(raw: Path) -> Gallery:
    """A gallery with one wide view and, as a0 and a4 of different classes, shots of its left and its right."""
    one = clean_gallery(raw, tests=0)
    view = cv2.resize(detailed(50, 320), (480, 320), interpolation=cv2.INTER_CUBIC)
    shots = [view[:, :330], view[:, 150:]]
    about = cv2.getRotationMatrix2D((165, 160), 2.0, 1.03)
    ripple = np.add.outer(np.zeros(320), 6 * np.sin(np.arange(330) / 25)).astype(np.float32)
    down, across = np.mgrid[:320, :330].astype(np.float32)
    moved = cv2.remap(cv2.warpAffine(shots[1], about, (330, 320)), across, down + ripple, cv2.INTER_LINEAR)
    one.replace("train/a0.png", shots[0])
    one.replace("train/a4.png", moved)
    return one


def test_scenes_share_a_fold_where_that_is_asked_for_and_are_no_copies(tmp_path: Path) -> None:
    one = two_shots(tmp_path / "raw")
    pair = {"train/a0.png", "train/a4.png"}
    for group_scenes in (False, True):
        context = context_of(one, True, group_scenes)
        findings = run_data_checks(context)
        assert [set(group) for group in named(findings, "same-scene")] == [pair]
        assert named(findings, "near-duplicate") == named(findings, "conflicting-labels") == []
        (remedy,) = (f.remedy for f in findings if f.check == "same-scene")
        assert "group_scenes=True" in remedy
        group = dict(zip(context.manifest.train["id"], context.manifest.train["group"], strict=True))
        assert (group["a0"] == group["a4"] != "") is group_scenes


def test_halves_of_one_image_share_a_fold_where_that_is_asked_for(tmp_path: Path) -> None:
    one = clean_gallery(tmp_path / "raw", tests=0)
    whole = textured(1, 160, 320)
    one.replace("train/a0.png", whole[:, :160])
    one.replace("train/a4.png", whole[:, 160:])
    for group_scenes in (False, True):
        context = context_of(one, True, group_scenes)
        findings = run_data_checks(context)
        assert [set(group) for group in named(findings, "same-source")] == [{"train/a0.png", "train/a4.png"}]
        assert named(findings, "near-duplicate") == named(findings, "same-scene") == []
        group = dict(zip(context.manifest.train["id"], context.manifest.train["group"], strict=True))
        assert (group["a0"] == group["a4"] != "") is group_scenes


def test_a_half_among_the_test_images_is_named(tmp_path: Path) -> None:
    one = clean_gallery(tmp_path / "raw", tests=4)
    test = next(path for path in one.context().manifest.test["path"])
    whole = textured(1, 160, 320)
    one.replace("train/a0.png", whole[:, :160])
    one.replace(test, whole[:, 160:])
    (found,) = (f for f in run_data_checks(context_of(one, True)) if f.check == "same-source")
    assert [set(group) for group in found.groups or ()] == [{"train/a0.png", test}]
    assert found.message.startswith("1 labelled row and 1 test row are parts of an image")


def test_many_strong_copies_of_other_classes_are_a_warning(tmp_path: Path) -> None:
    """Half of an image may be of another class; a mirrored image may not."""
    one = clean_gallery(tmp_path / "raw", tests=0)
    for number in range(4):
        whole = detailed(number, 200)
        one.replace(f"train/a{3 * number}.png", whole)
        one.replace(f"train/a{3 * number + 1}.png", whole[40:140, 60:160])
    (found,) = (f for f in run_data_checks(context_of(one, True)) if f.check == "conflicting-labels")
    assert (found.severity, found.count) == ("warning", 8)
    for number in range(4):
        one.replace(f"train/a{3 * number + 1}.png", detailed(number, 200)[:, ::-1])
    (found,) = (f for f in run_data_checks(context_of(one, True)) if f.check == "conflicting-labels")
    assert (found.severity, found.count) == ("error", 8)
