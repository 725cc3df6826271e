"""A hotel-id kind of competition: many classes with few images, five answers a row, MAP@5 worked out anew from the CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.data.predictions import Predictions
from made import run_comp
from made_arrays import write_competition

HOTELS = 40
FACTS = """metric = "map@5"
classes = "discover"
[template]
file = "sample_submission.csv"
kind = "topk"
k = 5
id = "image"
target = "hotel_id"
[data]
table = "train.csv"
id = "image"
label = "hotel_id"
group = "room"
images = "train_images/{chain}/{image}"
test_images = "test_images/{image}"
"""


def make(raw: Path) -> dict[str, str]:
    """The layout of the download: a folder a chain, ids of hotels that are numbers; the truth of the rows to predict."""
    rng = np.random.default_rng(7)
    colours = rng.integers(40, 216, (HOTELS, 2, 2, 3))
    ids = rng.permutation(np.arange(1000, 60_000))[:HOTELS].tolist()
    lines, truth = ["image,chain,hotel_id,room,timestamp"], {}
    for n, hotel in enumerate(ids):
        chain = n % 4
        for photo in range(4 + n % 4):
            name = f"{rng.integers(16**12):012x}.jpg"
            is_test = photo == 0
            folder = raw / ("test_images" if is_test else f"train_images/{chain}")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.kron(colours[n], np.ones((16, 16, 1))) + rng.normal(0, 30, (32, 32, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name, quality=90)
            if is_test:
                truth[name] = str(hotel)
            else:
                lines.append(f"{name},{chain},{hotel},{n}-{photo},2019-01-0{1 + photo}")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")
    rows = "".join(f"{name},{' '.join(map(str, ids[:5]))}\n" for name in sorted(truth))
    (raw / "sample_submission.csv").write_text(f"image,hotel_id\n{rows}")
    return truth


def map_at_5(truth: Mapping[str, str], told: Mapping[str, Sequence[str]]) -> float:
    """The grader's rule: the mean over rows of one over the place of the right answer among five, else nothing."""
    found = [
        1 / (1 + list(told[row]).index(right)) if right in told[row] else 0.0 for row, right in truth.items()
    ]
    return float(np.mean(found))


def test_five_hotels_a_row_are_graded_as_the_run_says(tmp_path: Path) -> None:
    write_competition(tmp_path, "hotels", FACTS)
    truth = make(tmp_path / "data" / "hotels")
    done = run_comp(tmp_path, "run", "hotels", "--folds", "3", "--json")
    assert done.code == 0, done.err
    run = tmp_path / "runs" / done.json["run"]
    (path,) = (tmp_path / "submissions" / "hotels").glob("*.csv")
    with path.open() as file:
        told = {row["image"]: row["hotel_id"].split(" ") for row in csv.DictReader(file)}
    assert list(told) == sorted(truth)
    assert {len(set(row)) for row in told.values()} == {5}
    test = Predictions.load(run / "test.npz")
    ranked = {row: best_of(test, n) for n, row in enumerate(test.ids)}
    assert told == ranked
    assert map_at_5(truth, told) > 0.8
    oof = Predictions.load(run / "oof.npz")
    with (run / "manifest.csv").open() as file:
        labels = {row["id"]: row["label"] for row in csv.DictReader(file) if row["split"] == "train"}
    again = map_at_5(labels, {row: best_of(oof, n) for n, row in enumerate(oof.ids)})
    assert done.json["oof"]["score"] == pytest.approx(again, abs=1e-12)
    assert done.json["oof"]["score"] > 0.8


def best_of(found: Predictions, n: int) -> list[str]:
    """The five likeliest classes of a row, of equals the first."""
    order = sorted(range(len(found.labels)), key=lambda c: (-found.probs[n, c], c))
    return [found.labels.names[c] for c in order[:5]]
