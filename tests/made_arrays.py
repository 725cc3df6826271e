"""Raw folders of competitions whose images are arrays, in the layouts that they were shipped in: small and made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator


def write_competition(workspace: Path, slug: str, facts: str) -> None:
    """A competition of a workspace; ``facts`` are its competition.toml without slug and title."""
    folder = workspace / "competitions" / slug.replace("-", "_")
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(f'slug = "{slug}"\ntitle = "{slug}"\n{facts}', encoding="utf-8")
    (folder / "baseline.toml").write_text(
        'mode = "probe"\ntta = ["identity"]\n[model]\nname = "pixels"\nweights = "none"\n', encoding="utf-8"
    )


ICEBERGS = """metric = "log_loss"
[template]
file = "sample_submission.csv"
kind = "prob"
id = "id"
target = "is_iceberg"
positive = "1"
[data]
table = "train.json"
test_table = "test.json"
id = "id"
label = "is_iceberg"
[images]
channels = 2
columns = ["band_1", "band_2"]
range = [-45, 35]
"""


def make_icebergs(raw: Path, train: int = 40, test: int = 12, side: int = 15) -> dict[str, int]:
    """Records of two bands in decibels with the angle of the radar, "na" in some; gives the truth of the test rows."""
    rng = np.random.default_rng(0)
    raw.mkdir(parents=True)
    truth = {}
    for part, count in (("train", train), ("test", test)):
        records: list[dict[str, Any]] = []
        for n in range(count):
            label = int(rng.integers(2))
            bands = [rng.normal(mean, 3, (side, side)) for mean in (-22, -26)]
            bands[0][5:10, 5:10] += 15 * label
            lists = {f"band_{k}": band.round(4).ravel().tolist() for k, band in enumerate(bands, 1)}
            angle: Any = "na" if part == "train" and n % 7 == 0 else round(float(rng.normal(39, 3)), 4)
            record: dict[str, Any] = {"id": f"{part[:2]}{n:04x}", **lists, "inc_angle": angle}
            if part == "train":
                record["is_iceberg"] = label
            else:
                truth[record["id"]] = label
            records.append(record)
        (raw / f"{part}.json").write_text(json.dumps(records), encoding="utf-8")
    rows = "".join(f"{name},0.5\n" for name in truth)
    (raw / "sample_submission.csv").write_text(f"id,is_iceberg\n{rows}", encoding="utf-8")
    return truth


def file_facts(suffix: str, images: str) -> str:
    """Facts of a table of labels and a file an id, whose [images] are ``images``."""
    return f"""[template]
file = "sample_submission.csv"
kind = "label"
id = "id"
target = "target"
[data]
table = "train_labels.csv"
id = "id"
label = "target"
images = "train/{{id}}.{suffix}"
test_images = "test/{{id}}.{suffix}"
[images]
{images}
"""


def make_files(
    raw: Path, suffix: str, write: Callable[[Path, int, Rng], None], train: int = 40, test: int = 12
) -> dict[str, str]:
    """Labels 0 and 1 by id, and a file an id; ``write`` makes one of a label. Gives the truth of the test rows."""
    rng = np.random.default_rng(0)
    answers: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for part, count in (("train", train), ("test", test)):
        (raw / part).mkdir(parents=True)
        for n in range(count):
            label, name = int(rng.integers(2)), f"{part[:2]}{n:010x}"
            write(raw / part / f"{name}.{suffix}", label, rng)
            answers[part][name] = str(label)
    rows = "".join(f"{name},{label}\n" for name, label in answers["train"].items())
    (raw / "train_labels.csv").write_text(f"id,target\n{rows}", encoding="utf-8")
    asked = "".join(f"{name},0\n" for name in answers["test"])
    (raw / "sample_submission.csv").write_text(f"id,target\n{asked}", encoding="utf-8")
    return answers["test"]


def write_signal(path: Path, label: int, rng: Rng) -> None:
    """Six observations of 27 x 24, float16, one after another; of label 1 every other shows a line."""
    array = rng.normal(0, 1, (6, 27, 24)).astype(np.float16)
    array[::2, :, 10:12] += 4 * label
    np.save(path, array)


def write_dicom(
    path: Path,
    values: np.ndarray[Any, Any],
    kind: str = "MONOCHROME2",
    rescale: Sequence[float] = (1.0, 0.0),
    bits: int = 12,
) -> None:
    """A DICOM file of one frame of unsigned values (H, W); ``rescale`` is slope and intercept."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, kind
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, bits, bits - 1, 0
    file.RescaleSlope, file.RescaleIntercept = rescale
    file.WindowCenter, file.WindowWidth = 9999, 1  # a file's own, which must not count
    file.PixelData = values.astype(np.uint16).tobytes()
    file.save_as(path, enforce_file_format=True)


def write_scan(path: Path, label: int, rng: Rng) -> None:
    """A scan in Hounsfield units about the window [40, 400], of label 1 with a bright part; every other one inverted."""
    units = rng.normal(0, 20, (20, 20))
    units[5:10, 5:10] += 150 * label
    is_inverted = rng.integers(2) == 1
    stored = np.rint((80 - units if is_inverted else units) + 1024).clip(0, 4095)
    write_dicom(path, stored, "MONOCHROME1" if is_inverted else "MONOCHROME2", (1.0, -1024.0))
