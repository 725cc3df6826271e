"""Competitions that ask for up to five names a row: which whale, which hotel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import sign
from .grading import map_at_5
from .layout import RawLayout, Truth
from .writing import deal, hexes, numbers, write_image, write_table


def names_truth(id_column: str, column: str, ids: list[str], labels: list[str], train_images: int) -> Truth:
    """The truth of a template with five names in one cell, of which one is right."""
    answers = {i: (label,) for i, label in zip(ids, labels, strict=True)}
    return Truth("sample_submission.csv", id_column, (column,), answers, train_images)


def make_whales(raw: Path, seed: int) -> Truth:
    """new_whale stands for any whale that is not known; a third of the whales have a single image."""
    rng = np.random.default_rng(seed)
    whales = [f"w_{name}" for name in hexes(rng, 18, 7)]
    counts = (12, 10, 9, 8, 7, 6, 6, 5, 4, 3, 3, 2, 1, 1, 1, 1, 1, 1)
    labels = deal(rng, {"new_whale": 14, **dict(zip(whales, counts, strict=True))})
    answers = deal(rng, {"new_whale": 6, **{w: 3 if n < 6 else 1 for n, w in enumerate(whales)}})
    ids = [f"{name}.jpg" for name in hexes(rng, len(labels) + len(answers), 8)]
    for n, (name, label) in enumerate(zip(ids, [*labels, *answers], strict=True)):
        look = int(rng.integers(18, 30)) if label == "new_whale" else whales.index(label)
        part = "train" if n < len(labels) else "test"
        write_image(rng, raw / part / name, sign(rng, 48, look, (95, 110, 125)))
    test = sorted(zip(ids[len(labels) :], answers, strict=True))
    write_table(raw / "train.csv", ["Image", "Id"], sorted(zip(ids, labels, strict=False)))
    guess = " ".join(["new_whale", *whales[:4]])
    write_table(raw / "sample_submission.csv", ["Image", "Id"], [(i, guess) for i, _ in test])
    return names_truth("Image", "Id", [i for i, _ in test], [label for _, label in test], len(labels))


def make_hotels(raw: Path, seed: int) -> Truth:
    """A folder for each chain, the hotel in the table; the chain 0 means none."""
    rng = np.random.default_rng(seed)
    hotels = [str(n) for n in numbers(rng, 16, 100, 65_000)]
    chains = {hotel: (0, 0, 5, 70, 9, 81)[n % 6] for n, hotel in enumerate(hotels)}
    labels = deal(rng, {hotel: 4 + n % 6 for n, hotel in enumerate(hotels)})
    answers = deal(rng, dict.fromkeys(hotels, 2))
    ids = [f"{name}.jpg" for name in hexes(rng, len(labels) + len(answers), 16)]
    rows = []
    for name, label in zip(ids, labels, strict=False):
        pixels = sign(rng, 48, hotels.index(label))
        write_image(rng, raw / "train_images" / str(chains[label]) / name, pixels)
        when = f"201{rng.integers(6, 9)}-0{rng.integers(1, 10)}-{rng.integers(10, 29)} {rng.integers(10, 24)}:01:49"
        rows.append((name, chains[label], label, when))
    test = ids[len(labels) :]
    for name, label in zip(test, answers, strict=True):
        write_image(rng, raw / "test_images" / name, sign(rng, 48, hotels.index(label)))
    write_table(raw / "train.csv", ["image", "chain", "hotel_id", "timestamp"], sorted(rows))
    guess = " ".join(hotels[:5])
    write_table(raw / "sample_submission.csv", ["image", "hotel_id"], [(i, guess) for i in test])
    return names_truth("image", "hotel_id", test, answers, len(labels))


def make_whales_and_dolphins(raw: Path, seed: int) -> Truth:
    """A species and an individual for each image; new_individual is right in the test and never in training."""
    rng = np.random.default_rng(seed)
    animals = hexes(rng, 18, 12)
    species = ("bottlenose_dolphin", "beluga", "humpback_whale", "kiler_whale")
    labels = deal(rng, {a: 3 + n % 7 for n, a in enumerate(animals)})
    answers = deal(
        rng, {"new_individual": 6, **dict.fromkeys(animals[:10], 2), **dict.fromkeys(animals[10:], 1)}
    )
    ids = [f"{name}.jpg" for name in hexes(rng, len(labels) + len(answers), 14)]
    for n, (name, label) in enumerate(zip(ids, [*labels, *answers], strict=True)):
        look = int(rng.integers(18, 30)) if label == "new_individual" else animals.index(label)
        part = "train_images" if n < len(labels) else "test_images"
        write_image(rng, raw / part / name, sign(rng, 48, look, (95, 110, 125)))
    rows = [(i, species[animals.index(a) % 4], a) for i, a in zip(ids, labels, strict=False)]
    write_table(raw / "train.csv", ["image", "species", "individual_id"], sorted(rows))
    test = sorted(zip(ids[len(labels) :], answers, strict=True))
    guess = " ".join(animals[:5])
    write_table(raw / "sample_submission.csv", ["image", "predictions"], [(i, guess) for i, _ in test])
    return names_truth("image", "predictions", [i for i, _ in test], [a for _, a in test], len(labels))


INDIVIDUALS = (
    RawLayout("whale-categorization", make_whales, "mean average precision @ 5", map_at_5),
    RawLayout("hotel-id-2021", make_hotels, "mean average precision @ 5", map_at_5),
    RawLayout("happy-whale", make_whales_and_dolphins, "mean average precision @ 5", map_at_5),
)
