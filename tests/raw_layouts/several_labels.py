"""Competitions with several labels an image, and one with a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import shade, signs
from .grading import auc, rmse, tags
from .layout import RawLayout, Truth
from .writing import deal, hexes, names, write_image, write_table

DISEASES = ("complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab")
SEEN_TOGETHER = {  # as the cells of the real table say it, and how often here
    "scab": (24, 8),
    "healthy": (24, 8),
    "frog_eye_leaf_spot": (17, 5),
    "rust": (10, 4),
    "complex": (9, 3),
    "powdery_mildew": (7, 3),
    "scab frog_eye_leaf_spot": (5, 2),
    "scab frog_eye_leaf_spot complex": (4, 1),
    "frog_eye_leaf_spot complex": (4, 1),
    "rust frog_eye_leaf_spot": (2, 1),
    "rust complex": (2, 1),
    "powdery_mildew complex": (2, 1),
}
LINES = (
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
)
HOW_OFTEN = (0.05, 0.08, 0.25, 0.06, 0.07, 0.12, 0.2, 0.15, 0.3, 0.65, 0.06)
ATTRIBUTES = (
    "country::afghanistan",
    "country::egypt",
    "country::france",
    "culture::roman",
    "dimension::small",
    "medium::bronze",
    "medium::paper",
    "tags::birds",
    "tags::flowers",
    "tags::men",
    "tags::profiles",
    "tags::women",
)
FEATURES = (
    "Subject Focus",
    "Eyes",
    "Face",
    "Near",
    "Action",
    "Accessory",
    "Group",
    "Collage",
    "Human",
    "Occlusion",
    "Info",
    "Blur",
)


def make_apple_diseases(raw: Path, seed: int) -> Truth:
    """Labels in one cell, separated by spaces, in no order; names of 16 digits with their suffix."""
    rng = np.random.default_rng(seed)
    labels = deal(rng, {cell: n for cell, (n, _) in SEEN_TOGETHER.items()})
    answers = deal(rng, {cell: n for cell, (_, n) in SEEN_TOGETHER.items()})
    ids = [f"{name}.jpg" for name in hexes(rng, len(labels) + len(answers), 16)]
    train, test = ids[: len(labels)], ids[len(labels) :]
    for part, part_ids, cells in (("train", train, labels), ("test", test, answers)):
        for i, cell in zip(part_ids, cells, strict=True):
            present = [disease in cell.split() for disease in DISEASES]
            write_image(rng, raw / f"{part}_images" / i, signs(rng, 48, present, tint=(95, 120, 85)))
    write_table(raw / "train.csv", ["image", "labels"], sorted(zip(train, labels, strict=True)))
    write_table(raw / "sample_submission.csv", ["image", "labels"], [(i, "healthy") for i in sorted(test)])
    answers_by_id = {i: (cell,) for i, cell in zip(test, answers, strict=True)}
    return Truth("sample_submission.csv", "image", ("labels",), answers_by_id, len(train))


def _lines(rng: np.random.Generator, count: int) -> np.ndarray:
    """Which labels each image has, bool (count, 11); every label is there and absent at least twice."""
    while True:
        present = rng.random((count, len(LINES))) < HOW_OFTEN
        present[:, 2] &= ~present[:, :2].any(axis=1)  # a tube is normal, borderline or abnormal
        if present.sum(axis=0).min() >= 2 and (~present).sum(axis=0).min() >= 2:
            return present


def make_catheters(raw: Path, seed: int) -> Truth:
    """Eleven label columns whose names have spaces, some rare; patients; a table of drawn lines beside."""
    rng = np.random.default_rng(seed)

    def uid() -> str:
        return "1.2.826.0.1.3680043.8.498." + "".join(
            str(d) for d in [*rng.integers(1, 10, 1), *rng.integers(0, 10, 37)]
        )

    ids = names(150, uid)
    train, test = ids[:115], ids[115:]
    patients = hexes(rng, 48, 9)
    owners = [patients[int(n)] for n in rng.integers(0, len(patients), len(train))]
    present, answers = _lines(rng, len(train)), _lines(rng, len(test))
    for part, part_ids, rows in (("train", train, present), ("test", test, answers)):
        for i, row in zip(part_ids, rows, strict=True):
            write_image(rng, raw / part / f"{i}.jpg", signs(rng, 48, row, tint=(120, 120, 120)))
    cells = [(i, *row.astype(int), p) for i, row, p in zip(train, present, owners, strict=True)]
    write_table(raw / "train.csv", ["StudyInstanceUID", *LINES, "PatientID"], cells)
    write_table(raw / "sample_submission.csv", ["StudyInstanceUID", *LINES], [(i, *[0] * 11) for i in test])
    drawn = [
        (i, LINES[int(n)], str([[int(x), int(y)] for x, y in rng.integers(0, 2_000, (4, 2))]))
        for i, row in zip(train, present, strict=True)
        for n in np.flatnonzero(row)
    ]
    write_table(
        raw / "train_annotations.csv", ["StudyInstanceUID", "label", "data"], drawn[: len(drawn) // 2]
    )
    perfect = {i: tuple(str(int(v)) for v in row) for i, row in zip(test, answers, strict=True)}
    groups = dict(zip(train, owners, strict=True))
    return Truth("sample_submission.csv", "StudyInstanceUID", LINES, perfect, len(train), groups)


def make_art(raw: Path, seed: int) -> Truth:
    """Numbers of attributes in one cell, named by labels.csv; an attribute that no image has; PNG.

    The editions of 2019 and 2020 have the same layout and another metric.
    """
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 150, 32)
    train, test = ids[:115], ids[115:]
    often = np.linspace(0.5, 0.1, len(ATTRIBUTES) - 1)  # the last attribute has no image
    cells: dict[str, str] = {}
    for i in ids:
        present = rng.random(len(often)) < often
        present[int(rng.integers(len(often)))] = True
        cells[i] = " ".join(str(n) for n in rng.permutation(np.flatnonzero(present)))
        part = "train" if i in train else "test"
        write_image(rng, raw / part / f"{i}.png", signs(rng, 48, [*present, False]))
    write_table(raw / "labels.csv", ["attribute_id", "attribute_name"], enumerate(ATTRIBUTES))
    write_table(raw / "train.csv", ["id", "attribute_ids"], [(i, cells[i]) for i in sorted(train)])
    write_table(raw / "sample_submission.csv", ["id", "attribute_ids"], [(i, "0 1 2") for i in sorted(test)])
    return Truth(
        "sample_submission.csv", "id", ("attribute_ids",), {i: (cells[i],) for i in test}, len(train)
    )


def make_pawpularity(raw: Path, seed: int) -> Truth:
    """A number from 1 to 100 for each image; twelve features in both tables; random numbers in the template."""
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 150, 32)
    train, test = ids[:115], ids[115:]
    scores = {i: int(np.clip(rng.normal(38, 20), 1, 100)) for i in ids}
    features = {}
    for i in ids:
        row = (
            rng.random(len(FEATURES))
            < (0.03, 0.77, 0.9, 0.86, 0.01, 0.07, 0.13, 0.05, 0.17, 0.17, 0.06, 0.07)
        ).astype(int)
        row[1] *= 1 - row[-1]  # a blurred image shows no eyes
        features[i] = [int(v) for v in row]
        write_image(
            rng, raw / ("train" if i in train else "test") / f"{i}.jpg", shade(rng, 48, scores[i] / 100)
        )
    header = ["Id", *FEATURES]
    rows = [(i, *features[i], scores[i]) for i in sorted(train)]
    write_table(raw / "train.csv", [*header, "Pawpularity"], rows)
    write_table(raw / "test.csv", header, [(i, *features[i]) for i in sorted(test)])
    guesses = [(i, f"{rng.uniform(1, 100):.2f}") for i in sorted(test)]
    write_table(raw / "sample_submission.csv", ["Id", "Pawpularity"], guesses)
    return Truth(
        "sample_submission.csv", "Id", ("Pawpularity",), {i: (str(scores[i]),) for i in test}, len(train)
    )


SEVERAL_LABELS = (
    RawLayout("plant-pathology-2021", make_apple_diseases, "mean F1-score", tags("samples")),
    RawLayout("ranzcr-clip", make_catheters, "mean column-wise ROC AUC", auc),
    RawLayout("imet-2020", make_art, "micro averaged F1 score", tags("micro")),
    RawLayout("imet-2019", make_art, "mean F2 score", tags("samples", beta=2.0)),
    RawLayout("petfinder-pawpularity", make_pawpularity, "root mean squared error", rmse, 0.0, False),
)
