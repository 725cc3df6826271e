"""Labels that can be read off the files: every fact that betrays them, and those that must not count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.checks.evidence import Evidence
from comp.checks.memory import Memory
from comp.checks.shortcut_family import metadata_shortcut, train_test_drift
from comp.images.fingerprints import scan
from comp.images.source import ArraySource
from comp.manifest import Manifest, Sample
from gallery import CLASSES, FACTS, Gallery, clean_gallery, texture


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw")


def number_of(sample: Sample) -> int:
    return int(sample.id[1:])


def cats_are_wider(one: Gallery, sample: Sample) -> None:
    if sample.label == "cat":
        one.replace(sample.path, texture(number_of(sample))[:, :44])


def cats_are_jpegs(one: Gallery, sample: Sample) -> None:
    if sample.label == "cat":
        save_as(one, sample, "JPEG", quality=95)


def cats_are_coarser(one: Gallery, sample: Sample) -> None:
    save_as(one, sample, "JPEG", quality=25 if sample.label == "cat" else 95)


def cats_come_from_one_camera(one: Gallery, sample: Sample) -> None:
    exif = Image.Exif()
    exif[272] = "X100" if sample.label == "cat" else "Z9"
    save_as(one, sample, "PNG", exif=exif)


def save_as(one: Gallery, sample: Sample, kind: str, **options: object) -> None:
    """The row's picture in another format; the name stays."""
    Image.fromarray(texture(number_of(sample))).save(one.raw / sample.path, kind, **options)


@pytest.mark.parametrize(
    "betray", [cats_are_wider, cats_are_jpegs, cats_are_coarser, cats_come_from_one_camera]
)
def test_a_fact_that_betrays_a_class_is_a_shortcut(
    gallery: Gallery, betray: Callable[[Gallery, Sample], None]
) -> None:
    for sample in gallery.samples:
        if sample.split == "train":
            betray(gallery, sample)
    (found,) = metadata_shortcut(gallery.evidence())
    assert (found.severity, found.count) == ("warning", 48)
    assert "balanced accuracy" in found.message


def test_classes_may_be_named_by_numbers(gallery: Gallery) -> None:
    for sample in gallery.samples:
        if sample.split == "train":
            cats_are_wider(gallery, sample)
    one = gallery.evidence()
    (named,) = metadata_shortcut(one)
    table = one.manifest.table.copy()
    table["label"] = table["label"].replace({name: str(n) for n, name in enumerate(CLASSES)})
    (numbered,) = metadata_shortcut(replace(one, manifest=Manifest(table, one.manifest.notes)))
    assert numbered.message == named.message


def sorted_by_class(raw: Path, train: str, test: str, order: str = "natural") -> Gallery:
    """Rows numbered class by class."""
    one = Gallery(raw, facts=FACTS.model_copy(update={"order": order}))
    for number in range(48):
        one.add(train.format(label=CLASSES[number // 16], n=number), texture(number), CLASSES[number // 16])
    for number in range(24):
        one.add(test.format(n=100 + number), texture(1000 + number))
    return one


def test_numbers_in_names_count_where_test_names_have_them_too(tmp_path: Path) -> None:
    alike = sorted_by_class(tmp_path / "one", "train/p{n}.png", "test/p{n}.png")
    (found,) = metadata_shortcut(alike.evidence())
    assert "number in the name" in found.message
    other = sorted_by_class(tmp_path / "two", "train/p{n}.png", "test/t{n}.png")
    assert metadata_shortcut(other.evidence()) == []


def test_the_place_in_the_table_counts_in_table_layouts(tmp_path: Path) -> None:
    table = sorted_by_class(tmp_path / "one", "train/p{n}.png", "test/t{n}.png", order="table")
    (found,) = metadata_shortcut(table.evidence())
    assert "place in the table" in found.message


def test_the_class_folder_is_no_fact(tmp_path: Path) -> None:
    folders = sorted_by_class(tmp_path / "raw", "train/{label}/{n}.png", "test/{n}.png")
    for place, sample in enumerate(folders.samples):  # numbers that tell nothing
        (folders.raw / sample.path).rename(
            folders.raw / sample.path.replace(sample.id, f"{place * 37 % 101}")
        )
        folders.change(sample.id, path=sample.path.replace(sample.id, f"{place * 37 % 101}"))
    assert metadata_shortcut(folders.evidence()) == []


def test_few_rows_prove_nothing(tmp_path: Path) -> None:
    few = clean_gallery(tmp_path / "raw", per_class=13, tests=19)
    for sample in few.samples:
        if sample.split == "test" or sample.label == "cat":
            few.replace(sample.path, texture(number_of(sample), side=60))
    evidence = few.evidence()
    assert metadata_shortcut(evidence) == train_test_drift(evidence) == []


def test_rare_classes_and_unreadable_rows_do_not_hinder_it(gallery: Gallery) -> None:
    for sample in gallery.samples[:3]:
        gallery.change(sample.id, label=f"rare {sample.id}")
    gallery.replace("train/a5.png", b"broken")
    assert metadata_shortcut(gallery.evidence()) == []


def test_arrays_have_no_files_to_betray_them(tmp_path: Path) -> None:
    pixels = np.stack([texture(n, 16) for n in range(60)])
    rows = [Sample(str(n), f"train#{n}", "train", CLASSES[n // 20]) for n in range(60)]
    manifest = Manifest.from_samples(rows)
    images = scan(ArraySource({"train": pixels}), tmp_path, [row.path for row in rows])
    clean = clean_gallery(tmp_path / "raw", per_class=1, tests=0).evidence(k=1)
    evidence = replace(clean, manifest=manifest, images=images)
    assert metadata_shortcut(evidence) == train_test_drift(evidence) == []


def test_test_files_made_in_another_way_are_drift(gallery: Gallery) -> None:
    for sample in gallery.samples:
        if sample.split == "test":
            save_as(gallery, sample, "JPEG", quality=90)
    (found,) = train_test_drift(gallery.evidence())
    assert (found.severity, found.count) == ("warning", 24)
    assert "AUC" in found.message


def test_names_and_extra_rows_are_no_drift(gallery: Gallery) -> None:
    for number in range(30):
        gallery.add(f"train/x{number}.png", texture(5000 + number, side=90), "cat")
        gallery.change(f"x{number}", split="extra")
    assert train_test_drift(gallery.evidence()) == []


def test_the_score_is_remembered_for_the_same_facts_and_labels_alone(gallery: Gallery) -> None:
    for sample in gallery.samples:
        cats_are_wider(gallery, sample)
    evidence = gallery.evidence()
    kept = evidence.memory.path
    (first,) = metadata_shortcut(evidence)
    assert kept is not None
    written = kept.stat().st_mtime_ns
    again = Evidence(**{**vars_of(evidence), "memory": Memory(kept)})
    assert metadata_shortcut(again) == [first]
    assert kept.stat().st_mtime_ns == written, "it was not worked out again"
    labels = np.random.default_rng(1).permutation(evidence.manifest.table["label"].to_numpy(object))
    shuffled = Manifest(evidence.manifest.table.assign(label=labels, split="train"))
    assert metadata_shortcut(replace(again, manifest=shuffled)) == []
    assert kept.stat().st_mtime_ns != written


def vars_of(evidence: Evidence) -> dict[str, object]:
    """The fields of evidence, without what it has worked out."""
    return {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}
