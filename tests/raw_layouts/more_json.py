"""More competitions with JSON: archives of iNaturalist, Herbarium 2022."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import Pixels, sign
from .grading import macro_f1, top_1_error
from .layout import RawLayout, Truth
from .writing import deal, hexes, numbers, tar_of_images, write_image, write_json, write_table

KINGDOMS = ("Plants", "Insects", "Birds", "Reptiles")
GENERA = ("Abies", "Acer", "Betula", "Carex", "Drosera")
HEAD = {
    "contributor": "",
    "date_created": "2019-02-28",
    "description": "",
    "url": "",
    "version": "1.0",
    "year": 2019,
}


def make_inaturalist(raw: Path, seed: int) -> Truth:
    """Two tar.gz; training and validation have a JSON each and share an archive; test ids are numbers."""
    rng = np.random.default_rng(seed)
    train, validation = deal(rng, [26, 18, 14, 11, 8, 6, 5, 4, 3, 3]), deal(rng, [2] * 10)
    answers = deal(rng, [3] * 10)
    ids = hexes(rng, len(train) + len(validation) + len(answers), 32)
    licenses = [{"id": 0, "name": "CC BY-NC", "url": ""}]
    categories = [{"id": n, "kingdom": KINGDOMS[n % 4], "name": f"species {n}"} for n in range(10)]
    known: dict[str, Pixels] = {}
    number = 0
    for part, labels in (("train", train), ("val", validation)):
        images, annotations = [], []
        for label in labels:
            name = f"train_val2019/{KINGDOMS[int(label) % 4]}/{label}/{ids[number]}.jpg"
            known[name] = sign(rng, 40, int(label))
            images.append(_image(number, name))
            annotations.append({"category_id": int(label), "id": number, "image_id": number})
            number += 1
        whole = {"annotations": annotations, "categories": categories, "images": images}
        write_json(raw / f"{part}2019.json", whole | {"info": HEAD, "licenses": licenses}, indent=4)
    tar_of_images(rng, raw / "train_val2019.tar.gz", dict(sorted(known.items())))
    first = 268_243
    test = {f"test2019/{i}.jpg": sign(rng, 40, int(y)) for i, y in zip(ids[number:], answers, strict=True)}
    tar_of_images(rng, raw / "test2019.tar.gz", test)
    images = [_image(first + n, name) for n, name in enumerate(test)]
    write_json(raw / "test2019.json", {"images": images, "info": HEAD, "licenses": licenses}, indent=4)
    guess = int(rng.integers(10))
    rows = [(first + n, guess) for n in range(len(answers))]
    write_table(raw / "kaggle_sample_submission.csv", ["id", "predicted"], rows)
    truth = {str(first + n): (label,) for n, label in enumerate(answers)}
    return Truth("kaggle_sample_submission.csv", "id", ("predicted",), truth, number)


def _image(number: int, name: str) -> dict[str, object]:
    return {"file_name": name, "height": 40, "id": number, "license": 0, "rights_holder": "", "width": 40}


def make_herbarium_2022(raw: Path, seed: int) -> Truth:
    """A JSON object for training and a JSON list for the test; categories have gaps; "000/00/00000__001.jpg"."""
    rng = np.random.default_rng(seed)
    categories = sorted([0, 3, *numbers(rng, 10, 4, 15_505)])
    labels = deal(
        rng, {str(c): (20, 16, 13, 11, 9, 8, 7, 7, 7, 7, 7, 7)[n] for n, c in enumerate(categories)}
    )
    answers = deal(rng, {str(c): 4 if n < 4 else 2 for n, c in enumerate(categories)})
    images, annotations = [], []
    for n, label in enumerate(labels):
        category = int(label)
        name = f"{category:05d}__{labels[: n + 1].count(label):03d}"
        path = f"{category // 100:03d}/{category % 100:02d}/{name}.jpg"
        pixels = sign(rng, 48, categories.index(category), (165, 155, 130))
        write_image(rng, raw / "train_images" / path, pixels)
        images.append({"image_id": name, "file_name": path, "license": 0})
        genus = categories.index(category) % 5
        annotations.append(
            {"genus_id": genus, "institution_id": n % 7, "category_id": category, "image_id": name}
        )
    whole = {
        "annotations": annotations,
        "images": images,
        "categories": [_species(n, c) for n, c in enumerate(categories)],
        "genera": [{"genus_id": n, "genus": name} for n, name in enumerate(GENERA)],
        "institutions": [{"institution_id": n, "collectionCode": f"H{n}"} for n in range(7)],
        "distances": [{"genus_id_x": 0, "genus_id_y": n, "distance": 100.5 + n} for n in range(1, 5)],
        "license": [{"id": 0, "name": "CC BY-NC", "url": ""}],
    }
    write_json(raw / "train_metadata.json", whole, indent=4)
    listed = []
    for n, label in enumerate(answers):
        path = f"{n // 1000:03d}/test-{n:06d}.jpg"
        pixels = sign(rng, 48, categories.index(int(label)), (165, 155, 130))
        write_image(rng, raw / "test_images" / path, pixels)
        listed.append({"image_id": str(n), "file_name": path, "license": 0})
    write_json(raw / "test_metadata.json", listed, indent=4)
    rows = [(n, 42) for n in range(len(answers))]
    write_table(raw / "sample_submission.csv", ["Id", "Predicted"], rows)
    truth = {str(n): (label,) for n, label in enumerate(answers)}
    return Truth("sample_submission.csv", "Id", ("Predicted",), truth, len(labels))


def _species(number: int, category: int) -> dict[str, object]:
    genus = GENERA[number % 5]
    return {
        "category_id": category,
        "scientificName": f"{genus} {number}",
        "family": f"{genus}aceae",
        "genus": genus,
        "species": str(number),
        "authors": "L.",
    }


MORE_JSON = (
    RawLayout("inaturalist-2019", make_inaturalist, "top-1 classification error", top_1_error, 0.0, False),
    RawLayout("herbarium-2022", make_herbarium_2022, "macro F1 score", macro_f1),
)
