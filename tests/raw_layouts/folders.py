"""Competitions whose training images lie in a folder for each class, and others with a table of one label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import sign, silhouette
from .grading import accuracy, auc, log_loss_of_many, macro_f1, micro_f1_of_classes
from .layout import RawLayout, Truth
from .many_classes import columns_truth, label_truth
from .two_classes import two_class_truth
from .writing import deal, hexes, numbers, write_image, write_table, zip_of_images

SEEDLINGS = {  # how often, in training and in test
    "Black-grass": (7, 2),
    "Charlock": (9, 3),
    "Cleavers": (7, 2),
    "Common Chickweed": (13, 4),
    "Common wheat": (6, 2),
    "Fat Hen": (11, 3),
    "Loose Silky-bent": (14, 4),
    "Maize": (6, 2),
    "Scentless Mayweed": (11, 3),
    "Shepherds Purse": (6, 2),
    "Small-flowered Cranesbill": (11, 3),
    "Sugar beet": (9, 3),
}
FISH = {
    "ALB": (46, 13, 0.455003),
    "BET": (7, 3, 0.052938),
    "DOL": (6, 2, 0.030969),
    "LAG": (5, 2, 0.017734),
    "NoF": (14, 4, 0.123081),
    "OTHER": (9, 3, 0.079142),
    "SHARK": (6, 2, 0.046585),
    "YFT": (20, 6, 0.194283),
}
RICE = {
    "bacterial_leaf_blight": (7, 2),
    "bacterial_leaf_streak": (6, 2),
    "bacterial_panicle_blight": (5, 2),
    "blast": (18, 5),
    "brown_spot": (11, 3),
    "dead_heart": (15, 4),
    "downy_mildew": (8, 3),
    "hispa": (17, 5),
    "normal": (19, 6),
    "tungro": (12, 3),
}
LEAVES = (
    "Acer_Capillipes",
    "Acer_Mono",
    "Alnus_Cordata",
    "Betula_Pendula",
    "Castanea_Sativa",
    "Ginkgo_Biloba",
    "Ilex_Aquifolium",
    "Quercus_Rubra",
    "Tilia_Platyphyllos",
    "Zelkova_Serrata",
)
ANIMALS_2019 = {0: 52, 1: 14, 3: 7, 8: 10, 10: 5, 11: 9, 13: 6, 16: 5, 19: 8}


def make_seedlings(raw: Path, seed: int) -> Truth:
    """Folders whose names have spaces; PNG; the template says one class everywhere."""
    rng = np.random.default_rng(seed)
    species = list(SEEDLINGS)
    labels = deal(rng, {name: n for name, (n, _) in SEEDLINGS.items()})
    answers = deal(rng, {name: n for name, (_, n) in SEEDLINGS.items()})
    files = [f"{name}.png" for name in hexes(rng, len(labels) + len(answers), 9)]
    test = files[len(labels) :]
    for name, label in zip(files, labels, strict=False):
        write_image(rng, raw / "train" / label / name, sign(rng, 40, species.index(label), (130, 105, 80)))
    for name, label in zip(test, answers, strict=True):
        write_image(rng, raw / "test" / name, sign(rng, 40, species.index(label), (130, 105, 80)))
    write_table(raw / "sample_submission.csv", ["file", "species"], [(i, "Sugar beet") for i in sorted(test)])
    return label_truth("file", "species", test, answers, len(labels))


def make_invasive(raw: Path, seed: int) -> Truth:
    """Numbered photographs: train/1.jpg and test/1.jpg are two images; ids without suffix."""
    rng = np.random.default_rng(seed)
    labels, answers = deal(rng, [37, 63]), deal(rng, [13, 17])
    for part, part_labels in (("train", labels), ("test", answers)):
        for n, label in enumerate(part_labels):
            write_image(rng, raw / part / f"{n + 1}.jpg", sign(rng, 48, int(label)))
    ids = [str(n + 1) for n in range(len(answers))]
    rows = [(n + 1, label) for n, label in enumerate(labels)]
    write_table(raw / "train_labels.csv", ["name", "invasive"], rows)
    write_table(raw / "sample_submission.csv", ["name", "invasive"], [(i, 0.5) for i in ids])
    return two_class_truth("name", "invasive", ids, answers, len(labels))


def make_fisheries(raw: Path, seed: int) -> Truth:
    """Class folders; a probability column for each; the template holds the classes' shares; first stage's test."""
    rng = np.random.default_rng(seed)
    labels = deal(rng, {fish: n for fish, (n, _, _) in FISH.items()})
    answers = deal(rng, {fish: n for fish, (_, n, _) in FISH.items()})
    ids = [f"img_{n:05d}.jpg" for n in numbers(rng, len(labels) + len(answers), 1, 7_922)]
    order, test = list(FISH), sorted(ids[len(labels) :])
    for name, label in zip(ids, labels, strict=False):
        write_image(rng, raw / "train" / label / name, sign(rng, 48, order.index(label), (95, 110, 125)))
    for name, label in zip(test, answers, strict=True):
        write_image(rng, raw / "test_stg1" / name, sign(rng, 48, order.index(label), (95, 110, 125)))
    shares = [share for _, _, share in FISH.values()]
    write_table(raw / "sample_submission_stg1.csv", ["image", *FISH], [(i, *shares) for i in test])
    return columns_truth("image", order, test, answers, len(labels), template="sample_submission_stg1.csv")


def make_rice(raw: Path, seed: int) -> Truth:
    """Class folders and a table that says the same, with more columns; empty cells in the template."""
    rng = np.random.default_rng(seed)
    diseases = list(RICE)
    labels = deal(rng, {name: n for name, (n, _) in RICE.items()})
    answers = deal(rng, {name: n for name, (_, n) in RICE.items()})
    train = [f"{n}.jpg" for n in numbers(rng, len(labels), 100_001, 110_408)]
    test = [f"{200_001 + n}.jpg" for n in range(len(answers))]
    rows = []
    for name, label in zip(train, labels, strict=True):
        pixels = sign(rng, 48, diseases.index(label), (100, 125, 90))
        write_image(rng, raw / "train_images" / label / name, pixels)
        rows.append(
            (name, label, str(rng.choice(["ADT45", "KarnatakaPonni", "Ponni"])), int(rng.integers(45, 83)))
        )
    for name, label in zip(test, answers, strict=True):
        write_image(rng, raw / "test_images" / name, sign(rng, 48, diseases.index(label), (100, 125, 90)))
    write_table(raw / "train.csv", ["image_id", "label", "variety", "age"], sorted(rows))
    write_table(raw / "sample_submission.csv", ["image_id", "label"], [(i, "") for i in test])
    return label_truth("image_id", "label", test, answers, len(labels))


def make_leaves(raw: Path, seed: int) -> Truth:
    """White leaves on black, training and test in one folder; 192 numbers for each in the tables."""
    rng = np.random.default_rng(seed)
    labels, answers = deal(rng, dict.fromkeys(LEAVES, 9)), deal(rng, dict.fromkeys(LEAVES, 3))
    ids = numbers(rng, len(labels) + len(answers), 1, 1_585)
    features = [f"{kind}{n}" for kind in ("margin", "shape", "texture") for n in range(1, 65)]
    means = rng.gamma(0.6, 0.02, (len(LEAVES), len(features)))
    rows = []
    for number, label in zip(ids, [*labels, *answers], strict=True):
        write_image(rng, raw / "images" / f"{number}.jpg", silhouette(rng, 48, LEAVES.index(label)))
        values = np.abs(means[LEAVES.index(label)] + rng.normal(0, 0.02, len(features)))
        rows.append((number, label, *(f"{v:.6f}" for v in values)))
    train, test = sorted(rows[: len(labels)]), sorted(rows[len(labels) :])
    write_table(raw / "train.csv", ["id", "species", *features], train)
    write_table(raw / "test.csv", ["id", *features], [(row[0], *row[2:]) for row in test])
    same = [1 / len(LEAVES)] * len(LEAVES)
    write_table(raw / "sample_submission.csv", ["id", *LEAVES], [(row[0], *same) for row in test])
    test_ids, test_labels = [str(row[0]) for row in test], [str(row[1]) for row in test]
    return columns_truth("id", LEAVES, test_ids, test_labels, len(train))


def make_right_whales(raw: Path, seed: int) -> Truth:
    """Training and test in one folder, told apart by the table alone; a column for each whale, many rare."""
    rng = np.random.default_rng(seed)
    whales = [f"whale_{n:05d}" for n in sorted(numbers(rng, 16, 195, 99_999))]
    labels = deal(
        rng, {w: (14, 11, 9, 8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2)[n] for n, w in enumerate(whales)}
    )
    answers = deal(rng, {w: 3 if n < 6 else 2 if n < 12 else 1 for n, w in enumerate(whales)})
    ids = [f"w_{n}.jpg" for n in numbers(rng, len(labels) + len(answers), 0, 11_468)]
    for name, label in zip(ids, [*labels, *answers], strict=True):
        write_image(rng, raw / "imgs" / name, sign(rng, 48, whales.index(label), (90, 105, 120)))
    test = ids[len(labels) :]
    write_table(raw / "train.csv", ["Image", "whaleID"], list(zip(ids, labels, strict=False)))
    same = [1 / len(whales)] * len(whales)
    write_table(raw / "sample_submission.csv", ["Image", *whales], [(i, *same) for i in test])
    return columns_truth("Image", whales, test, answers, len(labels))


def make_camera_traps_2019(raw: Path, seed: int) -> Truth:
    """Two zips without folders inside; tables with ten columns of facts; numbered classes with gaps."""
    rng = np.random.default_rng(seed)
    order = list(ANIMALS_2019)
    labels = deal(rng, {str(k): n for k, n in ANIMALS_2019.items()})
    answers = deal(rng, {str(k): max(1, n // 3) for k, n in ANIMALS_2019.items()})
    ids = [f"{name}-23d2-11e8-a6a3-ec086b02610b" for name in hexes(rng, len(labels) + len(answers), 8)]
    locations = [str(n) for n in numbers(rng, 20, 0, 139)]
    header = ["date_captured", "file_name", "frame_num", "id", "location", "rights_holder", "seq_id"]
    header += ["seq_num_frames", "width", "height"]
    rows, groups = [], {}
    for n, name in enumerate(ids):
        location = locations[n % 14] if n < len(labels) else locations[14 + n % 6]
        when = f"2012-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d} {rng.integers(24):02d}:{rng.integers(60):02d}:44"
        sequence = f"{hexes(rng, 1, 8)[0]}-5567-11e8-b3c0-dca9047ef277"
        rows.append([when, f"{name}.jpg", 1, name, location, "Justin Brown", sequence, 1, 48, 48])
        if n < len(labels):
            groups[name] = location
    cut = len(labels)
    for part, part_ids, part_labels in (("train", ids[:cut], labels), ("test", ids[cut:], answers)):
        images = {
            f"{i}.jpg": sign(rng, 48, order.index(int(y))) for i, y in zip(part_ids, part_labels, strict=True)
        }
        zip_of_images(rng, raw / f"{part}_images.zip", images)
    labelled = [(label, *row) for label, row in zip(labels, rows, strict=False)]
    write_table(raw / "train.csv", ["category_id", *header], labelled)
    write_table(raw / "test.csv", header, rows[cut:])
    write_table(raw / "sample_submission.csv", ["Id", "Predicted"], [(i, 0) for i in ids[cut:]])
    truth = {i: (label,) for i, label in zip(ids[cut:], answers, strict=True)}
    return Truth("sample_submission.csv", "Id", ("Predicted",), truth, cut, groups)


FOLDERS = (
    RawLayout("plant-seedlings", make_seedlings, "micro-averaged F1-score", micro_f1_of_classes),
    RawLayout("invasive-species", make_invasive, "area under the ROC curve", auc),
    RawLayout(
        "fisheries-monitoring", make_fisheries, "multi-class logarithmic loss", log_loss_of_many, 0.0, False
    ),
    RawLayout("paddy-disease", make_rice, "categorization accuracy", accuracy),
    RawLayout(
        "leaf-classification", make_leaves, "multi-class logarithmic loss", log_loss_of_many, 0.0, False
    ),
    RawLayout(
        "noaa-right-whale", make_right_whales, "multi-class logarithmic loss", log_loss_of_many, 0.0, False
    ),
    RawLayout("iwildcam-2019", make_camera_traps_2019, "macro F1 score", macro_f1),
)
