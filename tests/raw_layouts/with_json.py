"""Competitions whose labels stand in a JSON file in the manner of COCO."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import sign
from .grading import accuracy, macro_f1
from .layout import RawLayout, Truth
from .writing import deal, hexes, names, numbers, write_image, write_json, write_table

SPECIES = ("Abies alba", "Acer rubrum", "Betula nana", "Carex nigra", "Drosera rotundifolia", "Erica cinerea")
MORE_SPECIES = (
    "Fagus sylvatica",
    "Galium verum",
    "Hedera helix",
    "Iris sibirica",
    "Juncus effusus",
    "Luzula nivea",
)
ANIMALS = {
    0: "empty",
    2: "tayassu pecari",
    3: "dasyprocta punctata",
    70: "canis familiaris",
    96: "bos taurus",
    372: "leopardus pardalis",
    571: "homo sapiens",
    675: "end",
}


def _image(number: int | str, name: str) -> dict[str, object]:
    return {"file_name": name, "height": 48, "id": number, "license": 0, "width": 48}


def make_herbarium(raw: Path, seed: int) -> Truth:
    """metadata.json for each part; folders by category in train, by number in test; a long tail of species."""
    rng = np.random.default_rng(seed)
    species = (*SPECIES, *MORE_SPECIES)
    labels = deal(rng, [22, 18, 15, 12, 10, 8, 6, 5, 4, 3, 3, 3])
    answers = deal(rng, [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1])
    ids = sorted(numbers(rng, len(labels), 1_000, 2_259_000))
    head = {
        "contributor": "",
        "date_created": "2021-03-01",
        "description": "",
        "url": "",
        "version": "1",
        "year": 2021,
    }
    shared = {"info": head, "licenses": [{"id": 0, "name": "CC BY-NC", "url": ""}]}
    images, annotations = [], []
    for number, label in zip(ids, labels, strict=True):
        name = f"images/{int(label) // 100:03d}/{int(label) % 100:02d}/{number}.jpg"
        write_image(rng, raw / "train" / name, sign(rng, 48, int(label), tint=(160, 150, 130)))
        images.append(_image(number, name))
        annotations.append(
            {"category_id": int(label), "id": number, "image_id": number, "institution_id": number % 5}
        )
    categories = [
        {"family": f"{name.split()[0]}aceae", "id": n, "name": name, "order": "Rosales"}
        for n, name in enumerate(species)
    ]
    locations = [{"id": n, "name": name} for n, name in enumerate(("NY", "BPBM", "NL", "BRI", "AK"))]
    whole = {
        "annotations": annotations,
        "categories": categories,
        "images": images,
        "institutions": locations,
    }
    write_json(raw / "train" / "metadata.json", whole | shared, indent=4)
    test_images = []
    for n, label in enumerate(answers):
        name = f"images/{n // 1000:03d}/{n}.jpg"
        write_image(rng, raw / "test" / name, sign(rng, 48, int(label), tint=(160, 150, 130)))
        test_images.append(_image(str(n), name))
    write_json(raw / "test" / "metadata.json", {"images": test_images} | shared, indent=4)
    test = [str(n) for n in range(len(answers))]
    write_table(raw / "sample_submission.csv", ["Id", "Predicted"], [(i, 0) for i in test])
    perfect = {i: (label,) for i, label in zip(test, answers, strict=True)}
    return Truth("sample_submission.csv", "Id", ("Predicted",), perfect, len(labels))


def _camera_image(
    rng: np.random.Generator, name: str, location: int, sequence: str, frame: int
) -> dict[str, object]:
    day, hour = int(rng.integers(1, 29)), int(rng.integers(0, 24))
    return {
        "seq_num_frames": 2,
        "location": location,
        "datetime": f"2013-06-{day:02d} {hour:02d}:05:29.000",
        "frame_num": frame,
        "seq_id": sequence,
        "width": 48,
        "height": 48,
        "file_name": f"{name}.jpg",
        "id": name,
    }


def make_camera_traps(raw: Path, seed: int) -> Truth:
    """Annotations in JSON; the test part's JSON lists what to predict; other locations there; rare classes.

    The categories' numbers have gaps, one category has no image, and the template's cells are random.
    """
    rng = np.random.default_rng(seed)
    labels = deal(rng, {"0": 44, "96": 22, "372": 16, "2": 12, "571": 8, "3": 6, "70": 4})
    answers = deal(rng, {"0": 12, "96": 7, "372": 5, "2": 4, "571": 3, "3": 2, "70": 1})
    ids = [f"{name}-21bc-11ea-a13a-137349068a90" for name in hexes(rng, len(labels) + len(answers), 8)]
    train, test = ids[: len(labels)], ids[len(labels) :]
    look_of = {number: n for n, number in enumerate(ANIMALS)}
    locations = numbers(rng, 18, 1, 552)
    grounds = {location: tuple(int(c) for c in rng.integers(85, 150, 3)) for location in locations}
    sequences = names(len(ids), lambda: "-".join(hexes(rng, 1, k)[0] for k in (8, 4, 4, 4, 12)))
    groups, lists = {}, {}
    for part, part_ids, part_labels in (("train", train, labels), ("test", test, answers)):
        rows = []
        for n, (name, label) in enumerate(zip(part_ids, part_labels, strict=True)):
            location = locations[n // 2 % 14] if part == "train" else locations[14 + n // 2 % 4]
            ground = grounds[location]
            write_image(
                rng,
                raw / part / f"{name}.jpg",
                sign(rng, 48, look_of[int(label)], (ground[0], ground[1], ground[2])),
            )
            rows.append(
                _camera_image(rng, name, location, sequences[n // 2 + 60 * (part == "test")], n % 2 + 1)
            )
            if part == "train":
                groups[name] = str(location)
        lists[part] = rows
    _write_camera_tables(raw, rng, lists, train, labels)
    write_table(
        raw / "sample_submission.csv", ["Id", "Category"], [(i, int(rng.integers(0, 676))) for i in test]
    )
    perfect = {i: (label,) for i, label in zip(test, answers, strict=True)}
    return Truth("sample_submission.csv", "Id", ("Category",), perfect, len(train), groups)


def _write_camera_tables(
    raw: Path,
    rng: np.random.Generator,
    lists: dict[str, list[dict[str, object]]],
    train: list[str],
    labels: list[str],
) -> None:
    """The annotations, the test part's list, and what a detector saw in both parts."""
    info = {
        "contributor": "Wildlife Conservation Society",
        "date_created": "2020-02-11",
        "version": "1.0",
        "year": 2020,
    }
    categories = [{"id": n, "name": name, "count": labels.count(str(n))} for n, name in ANIMALS.items()]
    marks = ("-".join(hexes(rng, 1, k)[0] for k in (8, 4, 4, 4, 12)) for _ in train)
    annotations = [
        {"count": 1, "image_id": name, "category_id": int(label), "id": mark}
        for name, label, mark in zip(train, labels, marks, strict=True)
    ]
    whole = {"annotations": annotations, "images": lists["train"], "categories": categories, "info": info}
    write_json(raw / "iwildcam2020_train_annotations.json", whole)
    write_json(
        raw / "iwildcam2020_test_information.json",
        {"images": lists["test"], "categories": categories, "info": info},
    )
    seen = [
        {
            "detections": [
                {"category": "1", "bbox": [0.2, 0.3, 0.4, 0.3], "conf": round(float(rng.random()), 3)}
            ],
            "id": row["id"],
            "max_detection_conf": round(float(rng.random()), 3),
        }
        for part in ("train", "test")
        for row in lists[part]
    ]
    detected = {
        "images": seen,
        "detection_categories": {"1": "animal", "2": "person"},
        "info": {"detector": "megadetector_v3"},
    }
    write_json(raw / "iwildcam2020_megadetector_results.json", detected)


WITH_JSON = (
    RawLayout("herbarium-2021", make_herbarium, "macro F1 score", macro_f1),
    RawLayout("iwildcam-2020", make_camera_traps, "categorization accuracy", accuracy),
)
