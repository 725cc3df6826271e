"""Competitions with one label out of several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .drawing import encode, sign, spots
from .formats import tfrecord
from .grading import accuracy, auc, log_loss_of_many, quadratic_kappa
from .layout import RawLayout, Truth
from .writing import deal, hexes, numbers, write_bytes, write_image, write_json, write_table

DISEASES = {
    "0": "Cassava Bacterial Blight (CBB)",
    "1": "Cassava Brown Streak Disease (CBSD)",
    "2": "Cassava Green Mottle (CGM)",
    "3": "Cassava Mosaic Disease (CMD)",
    "4": "Healthy",
}
BREEDS = (
    "affenpinscher",
    "afghan_hound",
    "basenji",
    "black-and-tan_coonhound",
    "chow",
    "curly-coated_retriever",
    "german_short-haired_pointer",
    "pug",
    "shih-tzu",
    "soft-coated_wheaten_terrier",
    "whippet",
    "yorkshire_terrier",
)
LEAVES = ("healthy", "multiple_diseases", "rust", "scab")
ACTIONS = tuple(f"c{n}" for n in range(10))


def label_truth(
    id_column: str,
    column: str,
    ids: Sequence[str],
    labels: Sequence[str],
    train: int,
    template: str = "sample_submission.csv",
) -> Truth:
    """The truth of a template with one label column."""
    answers = {i: (label,) for i, label in zip(ids, labels, strict=True)}
    return Truth(template, id_column, (column,), answers, train)


def columns_truth(
    id_column: str,
    columns: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[str],
    train: int,
    groups: Mapping[str, str] | None = None,
    template: str = "sample_submission.csv",
) -> Truth:
    """The truth of a template with a probability column for each class."""
    answers = {
        i: tuple("1" if column == label else "0" for column in columns)
        for i, label in zip(ids, labels, strict=True)
    }
    return Truth(template, id_column, tuple(columns), answers, train, groups or {})


def make_aptos(raw: Path, seed: int) -> Truth:
    """Five grades in order, half of them 0; PNG; ids of twelve digits without suffix."""
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 145, 12)
    train, test = ids[:110], ids[110:]
    labels, answers = deal(rng, [52, 12, 30, 7, 9]), deal(rng, [15, 4, 9, 3, 4])
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        for i, y in zip(part_ids, part_labels, strict=True):
            pixels = spots(rng, 48, red=int(y), total=4, tint=(150, 95, 50))
            write_image(rng, raw / f"{part}_images" / f"{i}.png", pixels)
    write_table(raw / "train.csv", ["id_code", "diagnosis"], sorted(zip(train, labels, strict=True)))
    write_table(raw / "test.csv", ["id_code"], [[i] for i in sorted(test)])
    write_table(raw / "sample_submission.csv", ["id_code", "diagnosis"], [(i, 0) for i in sorted(test)])
    return label_truth("id_code", "diagnosis", test, answers, len(train))


def make_cassava(raw: Path, seed: int) -> Truth:
    """Numbered classes, 60 % of them class 3; a JSON of the classes' names; images again as TFRecords."""
    rng = np.random.default_rng(seed)
    ids = [f"{n}.jpg" for n in numbers(rng, 150, 6_103, 4_294_000)]
    train, test = ids[:115], ids[115:]
    labels, answers = deal(rng, [8, 12, 13, 69, 13]), deal(rng, [3, 4, 4, 20, 4])
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        records = []
        for i, y in zip(part_ids, part_labels, strict=True):
            content = encode(rng, sign(rng, 40, int(y), tint=(90, 115, 80)), ".jpg")
            write_bytes(raw / f"{part}_images" / i, content)
            records.append({"image": content, "image_name": i.encode()})
        name = f"ld_{part}00-{len(records)}.tfrec"
        write_bytes(raw / f"{part}_tfrecords" / name, tfrecord(records))
    write_table(raw / "train.csv", ["image_id", "label"], sorted(zip(train, labels, strict=True)))
    write_table(raw / "sample_submission.csv", ["image_id", "label"], [(i, 4) for i in sorted(test)])
    write_json(raw / "label_num_to_disease_map.json", DISEASES)
    return label_truth("image_id", "label", test, answers, len(train))


def make_dog_breeds(raw: Path, seed: int) -> Truth:
    """A column for each breed, all 1 / C in the template; labels.csv for the training images."""
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 144, 32)
    counts = {breed: 9 - n % 3 for n, breed in enumerate(BREEDS)}
    labels, answers = deal(rng, counts), deal(rng, dict.fromkeys(BREEDS, 3))
    train, test = ids[: len(labels)], ids[-len(answers) :]
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        for i, breed in zip(part_ids, part_labels, strict=True):
            write_image(rng, raw / part / f"{i}.jpg", sign(rng, 48, BREEDS.index(breed)))
    write_table(raw / "labels.csv", ["id", "breed"], sorted(zip(train, labels, strict=True)))
    same = [1 / len(BREEDS)] * len(BREEDS)
    write_table(raw / "sample_submission.csv", ["id", *BREEDS], [(i, *same) for i in sorted(test)])
    return columns_truth("id", BREEDS, test, answers, len(train))


def make_apple_leaves(raw: Path, seed: int) -> Truth:
    """One folder of Train_0.jpg … and Test_0.jpg …; one-hot columns; one class is rare."""
    rng = np.random.default_rng(seed)
    labels = deal(rng, dict(zip(LEAVES, (31, 7, 37, 35), strict=True)))
    answers = deal(rng, dict(zip(LEAVES, (9, 3, 10, 10), strict=True)))
    for part, part_labels in (("Train", labels), ("Test", answers)):
        for n, label in enumerate(part_labels):
            pixels = sign(rng, 48, LEAVES.index(label), tint=(95, 120, 85))
            write_image(rng, raw / "images" / f"{part}_{n}.jpg", pixels)
    test = [f"Test_{n}" for n in range(len(answers))]
    hot = [[int(label == leaf) for leaf in LEAVES] for label in labels]
    write_table(raw / "train.csv", ["image_id", *LEAVES], [(f"Train_{n}", *row) for n, row in enumerate(hot)])
    write_table(raw / "test.csv", ["image_id"], [[i] for i in test])
    write_table(raw / "sample_submission.csv", ["image_id", *LEAVES], [(i, *[0.25] * 4) for i in test])
    return columns_truth("image_id", LEAVES, test, answers, len(labels))


def make_drivers(raw: Path, seed: int) -> Truth:
    """Class folders; a table of who drives; img_N.jpg counts through both parts; the test has other drivers."""
    rng = np.random.default_rng(seed)
    subjects = [f"p{n:03d}" for n in (2, 12, 14, 15, 16, 21, 22, 24, 26, 35)]
    pairs = [
        (s, a)
        for s in subjects
        for a in ACTIONS
        for _ in range(2 if (s, a[1] in "0369") == ("p021", True) else 1)
    ]
    answers = deal(rng, dict(zip(ACTIONS, (5, 3, 4, 3, 3, 4, 3, 3, 2, 3), strict=True)))
    ids = [f"img_{n}.jpg" for n in numbers(rng, len(pairs) + len(answers), 1, 102_150)]
    seat = {s: tuple(int(c) for c in rng.integers(85, 160, 3)) for s in subjects}
    rows = []
    for (subject, action), name in zip(pairs, ids, strict=False):
        pixels = sign(rng, 48, ACTIONS.index(action), tint=seat[subject])
        write_image(rng, raw / "imgs" / "train" / action / name, pixels)
        rows.append((subject, action, name))
    test = sorted(ids[len(pairs) :])
    for name, action in zip(test, answers, strict=True):
        tint = tuple(int(c) for c in rng.integers(85, 160, 3))
        write_image(
            rng,
            raw / "imgs" / "test" / name,
            sign(rng, 48, ACTIONS.index(action), tint=(tint[0], tint[1], tint[2])),
        )
    write_table(raw / "driver_imgs_list.csv", ["subject", "classname", "img"], rows)
    write_table(raw / "sample_submission.csv", ["img", *ACTIONS], [(i, *[0.1] * 10) for i in test])
    return columns_truth("img", ACTIONS, test, answers, len(rows), groups={name: s for s, _, name in rows})


MANY_CLASSES = (
    RawLayout("aptos2019-blindness", make_aptos, "quadratic weighted kappa", quadratic_kappa),
    RawLayout("cassava-leaf-disease", make_cassava, "categorization accuracy", accuracy),
    RawLayout("dog-breed", make_dog_breeds, "multi class log loss", log_loss_of_many, 0.0, False),
    RawLayout("plant-pathology-2020", make_apple_leaves, "mean column-wise ROC AUC", auc),
    RawLayout(
        "state-farm-drivers", make_drivers, "multi-class logarithmic loss", log_loss_of_many, 0.0, False
    ),
)
