"""Small classics of Kaggle: numbered files, pixels in a table, further unlabelled or labelled folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import sign, silhouette
from .grading import accuracy, log_loss_of_many
from .layout import RawLayout, Truth
from .many_classes import columns_truth, label_truth
from .writing import deal, numbers, write_image, write_table

OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHARACTERS = ("0", "1", "7", "A", "a", "B", "b", "E", "e", "N", "n", "T")
TYPES = {"Type_1": (16, 6, 0.168805), "Type_2": (38, 15, 0.527346), "Type_3": (22, 9, 0.303849)}
KITCHEN = {"cup": 20, "fork": 14, "glass": 16, "knife": 18, "plate": 20, "spoon": 20}
CASSAVA = {"cbb": (12, 4), "cbsd": (24, 7), "cgm": (16, 5), "cmd": (40, 11), "healthy": (10, 4)}


def make_objects(raw: Path, seed: int) -> Truth:
    """train/1.png and test/1.png are two images; a table of training labels; one class in the whole template."""
    rng = np.random.default_rng(seed)
    labels, answers = deal(rng, dict.fromkeys(OBJECTS, 10)), deal(rng, dict.fromkeys(OBJECTS, 3))
    for part, part_labels in (("train", labels), ("test", answers)):
        for n, label in enumerate(part_labels):
            write_image(rng, raw / part / f"{n + 1}.png", sign(rng, 32, OBJECTS.index(label)))
    write_table(raw / "trainLabels.csv", ["id", "label"], [(n + 1, y) for n, y in enumerate(labels)])
    ids = [str(n + 1) for n in range(len(answers))]
    write_table(raw / "sampleSubmission.csv", ["id", "label"], [(i, "cat") for i in ids])
    return label_truth("id", "label", ids, answers, len(labels), template="sampleSubmission.csv")


def make_characters(raw: Path, seed: int) -> Truth:
    """Files named 1.Bmp; classes of one character, digits and letters, where a and A are two."""
    rng = np.random.default_rng(seed)
    labels = deal(rng, {c: 6 + 2 * (n % 3) for n, c in enumerate(CHARACTERS)})
    answers = deal(rng, dict.fromkeys(CHARACTERS, 3))
    for n, label in enumerate(labels):
        write_image(rng, raw / "train" / f"{n + 1}.Bmp", sign(rng, 32, CHARACTERS.index(label)))
    ids = [str(6_284 + n) for n in range(len(answers))]
    for i, label in zip(ids, answers, strict=True):
        write_image(rng, raw / "test" / f"{i}.Bmp", sign(rng, 32, CHARACTERS.index(label)))
    write_table(raw / "trainLabels.csv", ["ID", "Class"], [(n + 1, y) for n, y in enumerate(labels)])
    write_table(raw / "sampleSubmission.csv", ["ID", "Class"], [(i, "A") for i in ids])
    return label_truth("ID", "Class", ids, answers, len(labels), template="sampleSubmission.csv")


def make_digits(raw: Path, seed: int) -> Truth:
    """No image files: a label and 784 pixels in each row of a table."""
    rng = np.random.default_rng(seed)
    labels, answers = deal(rng, [11, 12, 10, 10, 10, 9, 10, 11, 10, 10]), deal(rng, [3] * 10)
    header = [f"pixel{n}" for n in range(784)]

    def row(label: str) -> list[int]:
        return [int(v) for v in silhouette(rng, 28, int(label)).ravel()]

    write_table(raw / "train.csv", ["label", *header], [[y, *row(y)] for y in labels])
    write_table(raw / "test.csv", header, [row(y) for y in answers])
    ids = [str(n + 1) for n in range(len(answers))]
    write_table(raw / "sample_submission.csv", ["ImageId", "Label"], [(i, 0) for i in ids])
    return label_truth("ImageId", "Label", ids, answers, len(labels))


def make_dogs_and_cats_2013(raw: Path, seed: int) -> Truth:
    """The label in the training file's name; the test folder is test1; the template says 0."""
    rng = np.random.default_rng(seed)
    for label, animal in enumerate(("cat", "dog")):
        for n in range(50):
            write_image(rng, raw / "train" / f"{animal}.{n}.jpg", sign(rng, 40, label))
    answers = deal(rng, [15, 15])
    ids = [str(n + 1) for n in range(len(answers))]
    for i, label in zip(ids, answers, strict=True):
        write_image(rng, raw / "test1" / f"{i}.jpg", sign(rng, 40, int(label)))
    write_table(raw / "sampleSubmission.csv", ["id", "label"], [(i, 0) for i in ids])
    return label_truth("id", "label", ids, answers, 100, template="sampleSubmission.csv")


def make_cervix(raw: Path, seed: int) -> Truth:
    """Class folders, more of them beside for training; the same file names in train, test and the others."""
    rng = np.random.default_rng(seed)
    order = list(TYPES)
    labels = deal(rng, {t: n for t, (n, _, _) in TYPES.items()})
    answers = deal(rng, {t: n for t, (_, n, _) in TYPES.items()})
    tint = (165, 105, 105)
    for n, label in enumerate(labels):
        write_image(rng, raw / "train" / label / f"{n}.jpg", sign(rng, 48, order.index(label), tint))
    for number, label in enumerate(order):
        for n in numbers(rng, 10, 0, 200):
            name = f"additional_{label}_v2/{label}/{n}.jpg"
            write_image(rng, raw / name, sign(rng, 48, number, tint))
    ids = [f"{n}.jpg" for n in sorted(numbers(rng, len(answers), 0, 512))]
    for i, label in zip(ids, answers, strict=True):
        write_image(rng, raw / "test" / i, sign(rng, 48, order.index(label), tint))
    shares = [share for _, _, share in TYPES.values()]
    write_table(raw / "sample_submission.csv", ["image_name", *TYPES], [(i, *shares) for i in ids])
    return columns_truth("image_name", order, ids, answers, len(labels) + 30)


def make_kitchenware(raw: Path, seed: int) -> Truth:
    """One folder; ids of four digits with zeros before them, which a table read as numbers loses."""
    rng = np.random.default_rng(seed)
    order = list(KITCHEN)
    labels, answers = deal(rng, KITCHEN), deal(rng, dict.fromkeys(KITCHEN, 5))
    ids = [f"{n:04d}" for n in numbers(rng, len(labels) + len(answers), 0, 2_000)]
    for i, label in zip(ids, [*labels, *answers], strict=True):
        write_image(rng, raw / "images" / f"{i}.jpg", sign(rng, 48, order.index(label)))
    test = sorted(zip(ids[len(labels) :], answers, strict=True))
    write_table(raw / "train.csv", ["Id", "label"], list(zip(ids, labels, strict=False)))
    write_table(raw / "test.csv", ["Id"], [[i] for i, _ in test])
    write_table(raw / "sample_submission.csv", ["Id", "label"], [(i, "glass") for i, _ in test])
    return label_truth("Id", "label", [i for i, _ in test], [y for _, y in test], len(labels))


def make_cassava_2019(raw: Path, seed: int) -> Truth:
    """Class folders whose names are in the files' names too; unlabelled images beside; the id is the last column."""
    rng = np.random.default_rng(seed)
    order = list(CASSAVA)
    for label, (count, _) in CASSAVA.items():
        for n in range(count):
            pixels = sign(rng, 48, order.index(label), (90, 115, 80))
            write_image(rng, raw / "train" / label / f"train-{label}-{n}.jpg", pixels)
    for n in range(12):
        pixels = sign(rng, 48, int(rng.integers(5)), (90, 115, 80))
        write_image(rng, raw / "extraimages" / f"extra-image-{n}.jpg", pixels)
    answers = deal(rng, {label: n for label, (_, n) in CASSAVA.items()})
    ids = [f"test-img-{n}.jpg" for n in range(len(answers))]
    for i, label in zip(ids, answers, strict=True):
        write_image(rng, raw / "test" / "0" / i, sign(rng, 48, order.index(label), (90, 115, 80)))
    template = "sample_submission_file.csv"
    write_table(raw / template, ["Category", "Id"], [("cbb", i) for i in ids])
    return label_truth("Id", "Category", ids, answers, sum(n for n, _ in CASSAVA.values()), template=template)


CLASSICS = (
    RawLayout("cifar-10", make_objects, "categorization accuracy", accuracy),
    RawLayout("street-view-characters", make_characters, "categorization accuracy", accuracy),
    RawLayout("digit-recognizer", make_digits, "categorization accuracy", accuracy),
    RawLayout("dogs-vs-cats-2013", make_dogs_and_cats_2013, "categorization accuracy", accuracy),
    RawLayout("cervical-cancer", make_cervix, "multi-class logarithmic loss", log_loss_of_many, 0.0, False),
    RawLayout("kitchenware", make_kitchenware, "categorization accuracy", accuracy),
    RawLayout("cassava-2019", make_cassava_2019, "categorization accuracy", accuracy),
)
