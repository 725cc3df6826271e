"""Competitions with two classes, of which the probability of one is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .drawing import Pixels, sign
from .formats import dicom
from .grading import auc, log_loss_of_two
from .layout import RawLayout, Truth
from .writing import deal, hexes, numbers, write_bytes, write_image, write_table, zip_of_images

SITES = ("torso", "lower extremity", "upper extremity", "head/neck", "palms/soles", "oral/genital", "")


def two_class_truth(
    id_column: str,
    column: str,
    ids: list[str],
    labels: list[str],
    train: int,
    groups: Mapping[str, str] | None = None,
) -> Truth:
    """The truth of a template with one probability column."""
    answers = {i: (label,) for i, label in zip(ids, labels, strict=True)}
    return Truth("sample_submission.csv", id_column, (column,), answers, train, groups or {})


def make_cactus(raw: Path, seed: int) -> Truth:
    """Two zips of 32 x 32 thumbnails; ids with their suffix; three quarters have the cactus."""
    rng = np.random.default_rng(seed)
    ids = [f"{name}.jpg" for name in hexes(rng, 130, 32)]
    train, test = ids[:100], ids[100:]
    labels, answers = deal(rng, [25, 75]), deal(rng, [10, 20])
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        images = {f"{part}/{i}": sign(rng, 32, int(y)) for i, y in zip(part_ids, part_labels, strict=True)}
        zip_of_images(rng, raw / f"{part}.zip", images)
    write_table(raw / "train.csv", ["id", "has_cactus"], sorted(zip(train, labels, strict=True)))
    write_table(raw / "sample_submission.csv", ["id", "has_cactus"], [(i, 0.5) for i in sorted(test)])
    return two_class_truth("id", "has_cactus", test, answers, len(train))


def make_dogs_and_cats(raw: Path, seed: int) -> Truth:
    """Two zips; the label is in the training file's name; test ids are numbers from 1."""
    rng = np.random.default_rng(seed)
    train: dict[str, Pixels] = {}
    for label, animal in enumerate(("cat", "dog")):
        train |= {f"train/{animal}.{n}.jpg": sign(rng, 40, label) for n in range(50)}
    answers = deal(rng, [15, 15])
    ids = [str(n + 1) for n in range(len(answers))]
    zip_of_images(rng, raw / "train.zip", dict(sorted(train.items())))
    test = {f"test/{i}.jpg": sign(rng, 40, int(y)) for i, y in zip(ids, answers, strict=True)}
    zip_of_images(rng, raw / "test.zip", dict(sorted(test.items())))
    write_table(raw / "sample_submission.csv", ["id", "label"], [(i, 0.5) for i in ids])
    return two_class_truth("id", "label", ids, answers, len(train))


def make_histopathologic(raw: Path, seed: int) -> Truth:
    """TIFF patches; ids of 40 digits without suffix; no test table."""
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 130, 40)
    train, test = ids[:100], ids[100:]
    labels, answers = deal(rng, [60, 40]), deal(rng, [18, 12])
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        for i, y in zip(part_ids, part_labels, strict=True):
            write_image(rng, raw / part / f"{i}.tif", sign(rng, 48, int(y), tint=(170, 120, 165)))
    write_table(raw / "train_labels.csv", ["id", "label"], zip(train, labels, strict=True))
    write_table(raw / "sample_submission.csv", ["id", "label"], [(i, 0) for i in test])
    return two_class_truth("id", "label", test, answers, len(train))


def make_melanoma(raw: Path, seed: int) -> Truth:
    """Patients with several images, few of them malignant; each image as DICOM and as JPEG; gaps in the table."""
    rng = np.random.default_rng(seed)
    ids = [f"ISIC_{n:07d}" for n in numbers(rng, 150, 15_000, 10_000_000)]
    patients = [f"IP_{n:07d}" for n in numbers(rng, 40, 1_000, 10_000_000)]
    owners = [*(patients[n % 30] for n in range(120)), *(patients[30 + n % 10] for n in range(30))]
    labels = [*deal(rng, [104, 16]), *deal(rng, [25, 5])]
    people = {
        p: (rng.choice(["male", "female", ""], p=[0.5, 0.47, 0.03]), 5 * int(rng.integers(4, 17)))
        for p in patients
    }
    skin = {p: tuple(int(c) for c in np.array([175, 135, 120]) + rng.integers(-25, 25)) for p in patients}
    rows = []
    for number, (name, patient, label) in enumerate(zip(ids, owners, labels, strict=True)):
        part = "train" if number < 120 else "test"
        pixels = sign(rng, 48, int(label), tint=skin[patient])
        write_image(rng, raw / "jpeg" / part / f"{name}.jpg", pixels)
        write_bytes(raw / part / f"{name}.dcm", dicom(pixels, patient, f"1.3.6.1.4.1.5962.{seed}.{number}"))
        sex, age = people[patient]
        shown = "" if not sex else f"{age:.1f}"
        diagnosis = (
            "melanoma"
            if label == "1"
            else str(rng.choice(["unknown", "nevus", "seborrheic keratosis"], p=[0.8, 0.15, 0.05]))
        )
        about = [name, patient, sex, shown, SITES[rng.choice(7, p=[0.5, 0.25, 0.14, 0.06, 0.02, 0.01, 0.02])]]
        rows.append((*about, diagnosis, "malignant" if label == "1" else "benign", label))
    header = ["image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge"]
    write_table(raw / "train.csv", [*header, "diagnosis", "benign_malignant", "target"], rows[:120])
    write_table(raw / "test.csv", header, [row[:5] for row in rows[120:]])
    write_table(raw / "sample_submission.csv", ["image_name", "target"], [(i, 0) for i in ids[120:]])
    groups = dict(zip(ids[:120], owners[:120], strict=True))
    return two_class_truth("image_name", "target", ids[120:], labels[120:], 120, groups=groups)


TWO_CLASSES = (
    RawLayout("aerial-cactus", make_cactus, "area under the ROC curve", auc),
    RawLayout("dogs-vs-cats", make_dogs_and_cats, "log loss", log_loss_of_two, 0.0, False),
    RawLayout("histopathologic-cancer", make_histopathologic, "area under the ROC curve", auc),
    RawLayout("siim-isic-melanoma", make_melanoma, "area under the ROC curve", auc),
)
