"""More competitions with tags, grades and numbers, and one whose folders are the labels of image pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import channels, dab, ground, hidden_message, look, shade, signs, spots
from .grading import quadratic_kappa, rmse, tags, weighted_auc
from .layout import RawLayout, Truth
from .two_classes import two_class_truth
from .writing import deal, hexes, numbers, write_image, write_table

WEATHER = {"clear": 0.68, "partly_cloudy": 0.18, "haze": 0.08, "cloudy": 0.06}
LAND = {
    "primary": 0.85,
    "agriculture": 0.35,
    "road": 0.25,
    "water": 0.22,
    "cultivation": 0.14,
    "habitation": 0.12,
    "bare_ground": 0.06,
    "selective_logging": 0.04,
    "artisinal_mine": 0.04,
    "blooming": 0.04,
    "slash_burn": 0.03,
    "blow_down": 0.03,
    "conventional_mine": 0.03,
}
ANSWERS_OF_A_QUESTION = (3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6)  # the galaxy zoo's eleven questions
GALAXY = tuple(
    f"Class{question}.{answer}"
    for question, count in enumerate(ANSWERS_OF_A_QUESTION, 1)
    for answer in range(1, count + 1)
)
METHODS = ("Cover", "JMiPOD", "JUNIWARD", "UERD")


def _tags(rng: np.random.Generator) -> list[str]:
    """One weather; under clouds nothing else is seen, else some of the land's tags."""
    weather = str(rng.choice(list(WEATHER), p=list(WEATHER.values())))
    if weather == "cloudy":
        return [weather]
    land = [tag for tag, share in LAND.items() if rng.random() < share]
    return [weather, *(land or ["primary"])]


def make_amazon(raw: Path, seed: int) -> Truth:
    """Tags in one cell; the test lies in two folders, test_N and file_N; names without suffix in the tables."""
    rng = np.random.default_rng(seed)
    train = [f"train_{n}" for n in range(110)]
    test = [*(f"test_{n}" for n in range(20)), *(f"file_{n}" for n in range(15))]
    folders = {"train": "train-jpg", "test": "test-jpg", "file": "test-jpg-additional"}
    cells = {}
    for name in [*train, *test]:
        seen = _tags(rng)
        pixels = signs(rng, 48, [tag in seen for tag in (*WEATHER, *LAND)], (80, 105, 75))
        write_image(rng, raw / folders[name.split("_")[0]] / f"{name}.jpg", pixels)
        cells[name] = " ".join(seen[int(n)] for n in rng.permutation(len(seen)))
    write_table(raw / "train_v2.csv", ["image_name", "tags"], [(i, cells[i]) for i in train])
    guess = "primary clear agriculture road water"
    write_table(raw / "sample_submission_v2.csv", ["image_name", "tags"], [(i, guess) for i in test])
    answers = {i: (cells[i],) for i in test}
    return Truth("sample_submission_v2.csv", "image_name", ("tags",), answers, len(train))


def make_retinopathy(raw: Path, seed: int) -> Truth:
    """Two eyes of each person, of like grades; .jpeg files; ids without suffix."""
    rng = np.random.default_rng(seed)
    people = numbers(rng, 75, 1, 44_400)
    labels: dict[str, str] = {}
    for part, group in (("train", people[:58]), ("test", people[58:])):
        grades = deal(rng, _grades(len(group)))
        for person, grade in zip(sorted(group), grades, strict=True):
            tint = (150 + int(rng.integers(-20, 20)), 90, 50)
            for eye in ("left", "right"):
                level = int(np.clip(int(grade) + int(rng.choice([-1, 0, 0, 0, 1])), 0, 4))
                labels[f"{person}_{eye}"] = str(level)
                write_image(rng, raw / part / f"{person}_{eye}.jpeg", spots(rng, 48, level, 4, tint))
    ids = list(labels)
    train, test = ids[:116], ids[116:]
    write_table(raw / "trainLabels.csv", ["image", "level"], [(i, labels[i]) for i in train])
    write_table(raw / "sampleSubmission.csv", ["image", "level"], [(i, 0) for i in test])
    truth = {i: (labels[i],) for i in test}
    groups = {i: i.split("_")[0] for i in train}
    return Truth("sampleSubmission.csv", "image", ("level",), truth, len(train), groups)


def _grades(count: int) -> dict[str, int]:
    """How many people have each grade: most have none."""
    rest = {
        "1": max(2, count // 8),
        "2": max(2, count // 5),
        "3": max(2, count // 12),
        "4": max(2, count // 12),
    }
    return {"0": count - sum(rest.values()), **rest}


def make_galaxies(raw: Path, seed: int) -> Truth:
    """Thirty-seven shares of votes for each galaxy; three benchmarks, each in the template's form."""
    rng = np.random.default_rng(seed)
    ids = numbers(rng, 145, 100_008, 999_968)
    train, test = sorted(ids[:110]), sorted(ids[110:])
    weights = rng.dirichlet(np.ones(len(GALAXY)) * 4) * 12
    rows: dict[int, list[str]] = {}
    for folder, part in (("images_training_rev1", train), ("images_test_rev1", test)):
        for number in part:
            smooth = float(rng.beta(0.8, 0.8))
            write_image(rng, raw / folder / f"{number}.jpg", shade(rng, 48, smooth, (60, 60, 60)))
            shares = np.where(np.arange(len(GALAXY)) % 2 == 0, smooth, 1 - smooth) * np.clip(weights, 0, 1)
            shares[:3] = smooth, 0.95 * (1 - smooth), 0.05 * (1 - smooth)
            rows[number] = [f"{v:.6f}" for v in shares]
    header = ["GalaxyID", *GALAXY]
    write_table(raw / "training_solutions_rev1.csv", header, [(n, *rows[n]) for n in train])
    for name, value in (("all_zeros", 0), ("all_ones", 1), ("central_pixel", 0.25)):
        write_table(raw / f"{name}_benchmark.csv", header, [(n, *[value] * len(GALAXY)) for n in test])
    answers = {str(n): tuple(rows[n]) for n in test}
    return Truth("all_zeros_benchmark.csv", "GalaxyID", GALAXY, answers, len(train))


def make_steganalysis(raw: Path, seed: int) -> Truth:
    """Each cover in four folders under one name, thrice with a message; Test/ has names of four digits."""
    rng = np.random.default_rng(seed)
    groups = {}

    def cover() -> np.ndarray:
        canvas = ground(rng, 48)
        dab(rng, canvas, *look(int(rng.integers(30))), (rng.uniform(14, 34), rng.uniform(14, 34)), 12)
        return canvas

    for number in range(1, 31):
        canvas = cover()
        for method, folder in enumerate(METHODS):
            name = f"{folder}/{number:05d}.jpg"
            write_image(rng, raw / name, hidden_message(rng, canvas, method))
            groups[name] = str(number)
    kinds = deal(rng, [15, 5, 5, 5])
    test = [f"{n + 1:04d}.jpg" for n in range(len(kinds))]
    for name, kind in zip(test, kinds, strict=True):
        write_image(rng, raw / "Test" / name, hidden_message(rng, cover(), int(kind)))
    write_table(raw / "sample_submission.csv", ["Id", "Label"], [(i, 0) for i in test])
    answers = ["0" if kind == "0" else "1" for kind in kinds]
    return two_class_truth("Id", "Label", test, answers, len(groups), groups=groups)


def make_proteins(raw: Path, seed: int) -> Truth:
    """Four grey PNG files for each id; numbers of labels in one cell; a rare label."""
    rng = np.random.default_rng(seed)
    shares = (0.42, 0.3, 0.25, 0.2, 0.15, 0.1)
    ids = ["-".join(hexes(rng, 1, k)[0] for k in (8, 4, 4, 4, 12)) for _ in range(130)]
    train, test = ids[:95], ids[95:]
    cells = {}
    for part, part_ids in (("train", train), ("test", test)):
        for i in part_ids:
            present = rng.random(len(shares)) < shares
            present[int(rng.integers(5))] |= not present.any()
            cells[i] = " ".join(str(n) for n in rng.permutation(np.flatnonzero(present)))
            for channel, pixels in channels(rng, 36, present).items():
                write_image(rng, raw / part / f"{i}_{channel}.png", pixels)
    write_table(raw / "train.csv", ["Id", "Target"], [(i, cells[i]) for i in sorted(train)])
    write_table(raw / "sample_submission.csv", ["Id", "Predicted"], [(i, 0) for i in sorted(test)])
    return Truth("sample_submission.csv", "Id", ("Predicted",), {i: (cells[i],) for i in test}, len(train))


MORE_LABELS = (
    RawLayout("planet-amazon", make_amazon, "mean F2 score", tags("samples", beta=2.0)),
    RawLayout("diabetic-retinopathy", make_retinopathy, "quadratic weighted kappa", quadratic_kappa),
    RawLayout("galaxy-zoo", make_galaxies, "root mean squared error", rmse, 0.0, False),
    RawLayout("human-protein-atlas", make_proteins, "macro F1 score", tags("macro")),
    RawLayout("alaska2-steganalysis", make_steganalysis, "weighted AUC", weighted_auc),
)
