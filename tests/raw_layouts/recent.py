"""Later competitions: slides with masks or thumbnails, several images a patient, tables in long form, traits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import amounts, sign, spots
from .grading import (
    balanced_accuracy,
    log_loss_of_each_class,
    mean_r2,
    quadratic_kappa,
    weighted_r2,
)
from .layout import RawLayout, Truth
from .many_classes import columns_truth, label_truth
from .writing import deal, hexes, numbers, write_image, write_table

GLEASON = ("0+0", "3+3", "3+4", "4+3", "4+4", "4+5")
SUBTYPES = {"CC": (20, 6), "EC": (22, 6), "HGSC": (38, 10), "LGSC": (9, 4), "MC": (9, 4)}
TRAITS = ("X4", "X11", "X18", "X26", "X50", "X3112")
CLIMATE = (
    "WORLDCLIM_BIO1_annual_mean_temperature",
    "WORLDCLIM_BIO12_annual_precipitation",
    "SOIL_bdod_0.5cm_mean",
)
GRASS = {"Dry_Clover_g": 0.1, "Dry_Dead_g": 0.1, "Dry_Green_g": 0.1, "Dry_Total_g": 0.5, "GDM_g": 0.2}


def make_prostate(raw: Path, seed: int) -> Truth:
    """TIFF slides with a mask for most of them in a folder beside; six grades; who sent the slide."""
    rng = np.random.default_rng(seed)
    ids = hexes(rng, 145, 32)
    labels, answers = deal(rng, [30, 28, 15, 14, 13, 12]), deal(rng, [9, 8, 5, 4, 4, 3])
    rows = []
    for i, label in zip(ids, labels, strict=False):
        pixels = spots(rng, 48, int(label), 5, (190, 160, 185))
        write_image(rng, raw / "train_images" / f"{i}.tiff", pixels)
        if rng.random() < 0.9:
            mask = (pixels.mean(axis=2) < 120).astype(np.uint8)
            write_image(
                rng, raw / "train_label_masks" / f"{i}_mask.tiff", np.repeat(mask[..., None], 3, axis=2)
            )
        rows.append((i, str(rng.choice(["karolinska", "radboud"])), label, GLEASON[int(label)]))
    test = ids[len(labels) :]
    for i, label in zip(test, answers, strict=True):
        write_image(rng, raw / "test_images" / f"{i}.tiff", spots(rng, 48, int(label), 5, (190, 160, 185)))
    write_table(raw / "train.csv", ["image_id", "data_provider", "isup_grade", "gleason_score"], sorted(rows))
    write_table(raw / "test.csv", ["image_id", "data_provider"], [(i, "karolinska") for i in test])
    write_table(raw / "sample_submission.csv", ["image_id", "isup_grade"], [(i, 0) for i in test])
    return label_truth("image_id", "isup_grade", test, answers, len(labels))


def make_ovary(raw: Path, seed: int) -> Truth:
    """Each image again as a small one in another folder; the test has a class that training has not."""
    rng = np.random.default_rng(seed)
    order = [*SUBTYPES, "Other"]
    labels = deal(rng, {name: n for name, (n, _) in SUBTYPES.items()})
    answers = deal(rng, {"Other": 3, **{name: n for name, (_, n) in SUBTYPES.items()}})
    ids = [str(n) for n in numbers(rng, len(labels) + len(answers), 4, 65_534)]
    rows = []
    for n, (i, label) in enumerate(zip(ids, [*labels, *answers], strict=True)):
        part, tissue = "train" if n < len(labels) else "test", rng.random() < 0.06
        pixels = sign(rng, 48, order.index(label), (190, 150, 180))
        write_image(rng, raw / f"{part}_images" / f"{i}.png", pixels)
        if not tissue:
            write_image(
                rng, raw / f"{part}_thumbnails" / f"{i}_thumbnail.png", np.ascontiguousarray(pixels[::2, ::2])
            )
        rows.append((i, label, 48, 48, tissue))
    train, test = rows[: len(labels)], rows[len(labels) :]
    write_table(raw / "train.csv", ["image_id", "label", "image_width", "image_height", "is_tma"], train)
    write_table(raw / "test.csv", ["image_id", "image_width", "image_height"], [(r[0], 48, 48) for r in test])
    write_table(raw / "sample_submission.csv", ["image_id", "label"], [(r[0], "HGSC") for r in test])
    return label_truth("image_id", "label", [r[0] for r in test], answers, len(train))


def make_stroke(raw: Path, seed: int) -> Truth:
    """One to three slides a patient and one answer for each patient; a folder of other slides; two classes."""
    rng = np.random.default_rng(seed)
    people = hexes(rng, 90, 6)
    labels, answers = deal(rng, {"CE": 40, "LAA": 20}), deal(rng, {"CE": 20, "LAA": 10})
    tables: dict[str, list[tuple[object, ...]]] = {"train": [], "test": []}
    groups = {}
    for n, (person, label) in enumerate(zip(people, [*labels, *answers], strict=True)):
        part = "train" if n < len(labels) else "test"
        center = int(rng.integers(1, 12))
        for k in range(int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))):
            name = f"{person}_{k}"
            write_image(rng, raw / part / f"{name}.tif", sign(rng, 48, int(label == "LAA"), (175, 120, 140)))
            tables[part].append((name, center, person, k, label))
            if part == "train":
                groups[name] = person
    other = [(f"{p}_0", p, 0, "Unknown", "") for p in hexes(rng, 8, 6)]
    for name, *_ in other:
        write_image(rng, raw / "other" / f"{name}.tif", sign(rng, 48, int(rng.integers(2)), (175, 120, 140)))
    header = ["image_id", "center_id", "patient_id", "image_num"]
    write_table(raw / "train.csv", [*header, "label"], tables["train"])
    write_table(raw / "test.csv", header, [row[:4] for row in tables["test"]])
    write_table(raw / "other.csv", ["image_id", "patient_id", "image_num", "other_specified", "label"], other)
    test = people[len(labels) :]
    write_table(raw / "sample_submission.csv", ["patient_id", "CE", "LAA"], [(p, 0.5, 0.5) for p in test])
    return columns_truth("patient_id", ["CE", "LAA"], test, answers, len(tables["train"]), groups)


def make_traits(raw: Path, seed: int) -> Truth:
    """Six numbers of each plant, named X4_mean in training and X4 in the template; features; .jpeg files."""
    rng = np.random.default_rng(seed)
    ids = [str(n) for n in numbers(rng, 145, 192_000_000, 196_000_000)]
    scales = (0.5, 15.0, 2.0, 1.5, 1.4, 700.0)
    rows, answers = [], {}
    for n, i in enumerate(ids):
        shares = rng.beta(1.5, 1.5, len(TRAITS))
        part = "train" if n < 110 else "test"
        write_image(rng, raw / f"{part}_images" / f"{i}.jpeg", amounts(rng, 48, shares, (95, 115, 85)))
        values = [f"{share * scale:.6f}" for share, scale in zip(shares, scales, strict=True)]
        climate = [int(v) for v in rng.integers(0, 200, len(CLIMATE))]
        rows.append((i, *climate, *values, *(f"{0.1 * scale:.6f}" for scale in scales)))
        if part == "test":
            answers[i] = tuple(values)
    names = [*(f"{t}_mean" for t in TRAITS), *(f"{t}_sd" for t in TRAITS)]
    write_table(raw / "train.csv", ["id", *CLIMATE, *names], rows[:110])
    write_table(raw / "test.csv", ["id", *CLIMATE], [row[:4] for row in rows[110:]])
    guess = [(i, 0.3, 6.0, 1.0, 0.8, 0.7, 350.0) for i in answers]
    write_table(raw / "sample_submission.csv", ["id", *TRAITS], guess)
    return Truth("sample_submission.csv", "id", TRAITS, answers, 110)


def make_pasture(raw: Path, seed: int) -> Truth:
    """Five rows for each image, one for each thing that is weighed, in all tables; ids like ID123__GDM_g."""
    rng = np.random.default_rng(seed)
    ids = [f"ID{n}" for n in numbers(rng, 120, 1_000_000_000, 2_147_000_000)]
    train, test, answers = [], [], {}
    for n, i in enumerate(ids):
        part = "train" if n < 92 else "test"
        clover, dead, green = (float(v) for v in rng.beta(1.2, 1.6, 3))
        write_image(rng, raw / part / f"{i}.jpg", amounts(rng, 48, (clover, dead, green), (100, 110, 80)))
        grams = {"Dry_Clover_g": 40 * clover, "Dry_Dead_g": 30 * dead, "Dry_Green_g": 60 * green}
        grams |= {"Dry_Total_g": sum(grams.values()), "GDM_g": grams["Dry_Clover_g"] + grams["Dry_Green_g"]}
        about = [
            f"2015/{rng.integers(1, 12)}/{rng.integers(1, 28)}",
            str(rng.choice(["NSW", "Tas", "Vic", "WA"])),
        ]
        about += ["Ryegrass_Clover", f"{rng.uniform(0.2, 0.9):.2f}", f"{rng.uniform(1, 20):.4f}"]
        for name in GRASS:
            row = (f"{i}__{name}", f"{part}/{i}.jpg")
            if part == "train":
                train.append((*row, *about, name, f"{grams[name]:.4f}"))
            else:
                test.append((*row, name))
                answers[row[0]] = (f"{grams[name]:.4f}",)
    header = [
        "sample_id",
        "image_path",
        "Sampling_Date",
        "State",
        "Species",
        "Pre_GSHH_NDVI",
        "Height_Ave_cm",
    ]
    write_table(raw / "train.csv", [*header, "target_name", "target"], train)
    write_table(raw / "test.csv", ["sample_id", "image_path", "target_name"], test)
    write_table(raw / "sample_submission.csv", ["sample_id", "target"], [(i, 0.0) for i in answers])
    groups = {row[0]: row[1] for row in train}
    return Truth("sample_submission.csv", "sample_id", ("target",), answers, 92, groups)


RECENT = (
    RawLayout("panda-prostate", make_prostate, "quadratic weighted kappa", quadratic_kappa),
    RawLayout("ubc-ovarian", make_ovary, "balanced accuracy", balanced_accuracy),
    RawLayout(
        "mayo-stroke", make_stroke, "weighted multi-class log loss", log_loss_of_each_class, 0.0, False
    ),
    RawLayout("plant-traits-2024", make_traits, "mean R2", mean_r2),
    RawLayout("csiro-biomass", make_pasture, "weighted R2", weighted_r2(GRASS)),
)
