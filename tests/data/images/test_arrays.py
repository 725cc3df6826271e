"""Images that are not photographs of 8 bits: one scale for the whole set, their order of brightness, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from comp.data.competitions.array_facts import ArrayFacts
from comp.data.images.array_files import read_values
from comp.data.images.array_source import ArrayImages, ScaledSource, by_scale
from comp.data.images.decode import preview
from comp.data.images.dicom import read_dicom
from comp.data.images.preprocess import Preprocess, fit, shrunk
from comp.data.images.raw_tree import RawTree
from comp.data.images.record_arrays import RecordArrays
from comp.data.images.scale import Scale, Values
from comp.data.images.source import AdapterSource
from comp.errors import ImageError, InputError
from made_arrays import write_dicom


def saved(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def source_of(raw: Path, images: ArrayImages, paths: list[str] | None = None) -> ScaledSource:
    return ScaledSource(RawTree(raw), images, raw, lambda: paths or sorted(p.name for p in raw.iterdir()))


@pytest.mark.parametrize("kind", ["npy16", "npyfloat", "tif16", "tiffloat", "png16"])
@pytest.mark.parametrize("measured", [False, True])
def test_constant_images_rise_as_their_values_do(tmp_path: Path, kind: str, measured: bool) -> None:
    values = np.linspace(1000, 60000, 12)
    for n, value in enumerate(values):
        path = tmp_path / f"{n:02}.{kind[:3]}"
        array = np.full((8, 8), value, np.float32 if "float" in kind else np.uint16)
        if kind.startswith("npy"):
            np.save(path, array)
        elif kind == "tiffloat":
            Image.fromarray(array).save(path)
        else:
            cv2.imwrite(str(path), array)
    source = source_of(tmp_path, ArrayImages(1, None if measured else (0, 65535)))
    levels = [source.load(path.name) for path in sorted(tmp_path.iterdir())]
    assert all(one.shape == (8, 8, 3) and one.dtype == np.uint8 for one in levels)
    means = [float(one.mean()) for one in levels]
    assert means == sorted(means)
    assert len(set(means)) == 12
    if not measured:
        kept = values.astype(np.uint16) if "float" not in kind else values
        assert means == [float(np.rint(value / 65535 * 255)) for value in kept]


def test_channels_have_a_scale_each_and_files_none_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(3):
        np.save(tmp_path / f"{n}.npy", rng.normal((0, 1000), (1, 10), (9, 9, 2)) + n)
    source = source_of(tmp_path, ArrayImages(2, None))
    together = np.concatenate([np.load(path).reshape(-1, 2) for path in sorted(tmp_path.iterdir())])
    low, high = np.percentile(together, [0.1, 99.9], axis=0)
    assert np.allclose(source.scale.numbers, (low, high))
    wanted = np.rint(np.clip((np.load(tmp_path / "1.npy") - low) / (high - low), 0, 1) * 255)
    assert np.abs(source.load("1.npy").astype(int) - wanted).max() <= 1
    again = pickle.loads(pickle.dumps(source))
    assert again.scale.numbers == source.scale.numbers


def test_dicom_has_its_units_and_is_inverted_after_the_scale(tmp_path: Path) -> None:
    stored = np.arange(16).reshape(4, 4) * 20 + 1000
    write_dicom(tmp_path / "a.dcm", stored, "MONOCHROME2", (2.0, -2000.0))
    write_dicom(tmp_path / "b.dcm", stored, "MONOCHROME1", (2.0, -2000.0))
    units = stored * 2.0 - 2000.0
    assert np.array_equal(read_dicom((tmp_path / "a.dcm").read_bytes(), "a.dcm")[0], units)
    source = source_of(tmp_path, ArrayImages(1, (0, 500)))
    wanted = np.rint(np.clip(units / 500, 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(source.load("a.dcm")[..., 0], wanted)
    inverted = np.rint((1 - np.clip(units / 500, 0, 1)) * 255).astype(np.uint8)
    assert np.array_equal(source.load("b.dcm")[..., 0], inverted)
    torn = (tmp_path / "a.dcm").read_bytes()[:-9]
    with pytest.raises(ImageError, match="one frame of grey values"):
        read_dicom(torn, "a.dcm")


def test_records_of_a_json_table(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "x": list(range(9)), "y": [[1, 2, 3]] * 3},
        {"id": "b", "x": [1, 2], "y": [3]},
        {"id": "c"},
    ]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    source = RecordArrays(tmp_path, ["x", "y"])
    image = source.load("t.json#0")
    assert image[1].tolist() == [[3.0, 1.0], [4.0, 2.0], [5.0, 3.0]]
    for row, told in ((1, "no square"), (2, "it has no 'x'"), (3, "t.json#3")):
        with pytest.raises(ImageError, match=told):
            source.load(f"t.json#{row}")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((5, 5, 3)), "float64 of \\(5, 5, 3\\); \\[images\\] channels = 2"),
        (np.zeros((2, 5, 2)), "both have 2 entries"),
        (np.full((2, 5, 5), np.nan), "50 of 50 values are NaN or infinite"),
        (np.zeros((2, 0, 5)), "found float64 of \\(2, 0, 5\\)"),
        (np.zeros((2, 5, 5), complex), "complex128"),
    ],
)
def test_arrays_that_are_refused(array: Any, told: str) -> None:
    with pytest.raises(ImageError, match=told) as raised:
        ArrayImages(2, (0, 1)).read(saved(array), "x.npy")
    assert "x.npy" in raised.value.value


def test_what_is_stated_of_arrays_is_taken() -> None:
    channels_first = np.arange(18.0).reshape(2, 3, 3)
    assert np.array_equal(read_values(saved(channels_first), "a", 2).array, channels_first.transpose(1, 2, 0))
    assert read_values(saved(np.zeros((2, 5, 2))), "a", 2, "first").array.shape == (5, 2, 2)
    holes = ArrayImages(1, (0, 1), fill=0.5).read(saved(np.array([[np.nan, 1.0]])), "a")
    assert holes.array[..., 0].tolist() == [[0.5, 1.0]]
    with pytest.raises(ImageError, match="zero bytes"):
        read_values(b"", "a", 2)
    with pytest.raises(ImageError):
        read_values(saved(channels_first)[:-8], "a", 2)
    out = io.BytesIO()
    np.savez(out, red=np.zeros((4, 4)), far=np.ones((4, 4)))
    assert read_values(out.getvalue(), "a", 2, "", ["far", "red"]).array[0, 0].tolist() == [1.0, 0.0]
    with pytest.raises(ImageError, match="red, far"):
        read_values(out.getvalue(), "a", 2)


def test_tiffs_of_many_channels() -> None:
    import tifffile

    array = np.random.default_rng(0).integers(0, 4000, (6, 7, 5)).astype(np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, array, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(read_values(out.getvalue(), "a.tif", 5).array, array)


@pytest.mark.parametrize(
    "kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
)
def test_a_tiff_of_one_band_has_the_numbers_it_was_written_with(kind: type[np.generic]) -> None:
    import tifffile

    low, high = (
        (-1e30, 1e30) if np.issubdtype(kind, np.floating) else (np.iinfo(kind).min, np.iinfo(kind).max)
    )
    array = np.linspace(low / 4, high / 4 * 3, 64).reshape(8, 8).astype(kind)
    out = io.BytesIO()
    tifffile.imwrite(out, array, photometric="minisblack")
    found = read_values(out.getvalue(), "a.tif", 1)
    assert np.array_equal(found.array[..., 0], array)
    assert found.kind == str(array.dtype)


def test_dicom_with_a_table_of_units_is_refused(tmp_path: Path) -> None:
    import pydicom

    path = tmp_path / "a.dcm"
    write_dicom(path, np.full((4, 4), 7))
    file = pydicom.dcmread(path)
    file.ModalityLUTSequence = [pydicom.Dataset()]
    file.save_as(path)
    with pytest.raises(ImageError, match="ModalityLUTSequence"):
        read_dicom(path.read_bytes(), "a.dcm")


def test_what_an_adapter_gives_is_measured_anew_each_time(tmp_path: Path) -> None:
    class Given:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def load(self, path: str) -> Any:
            return np.arange(100, dtype=np.float32).reshape(10, 10) * self.factor

    class Adapter:
        file = "adapter.py"

        def source(self, raw: Path) -> Any: ...

    ends = []
    for factor in (1.0, 50.0):  # the same paths by other code
        own = AdapterSource(Given(factor), Adapter(), tmp_path, any_array=True)
        ends.append(ScaledSource(own, ArrayImages(1, None), tmp_path, lambda: ["a"]).scale.high[0])
    assert ends[1] == pytest.approx(50 * ends[0])


def test_a_run_reads_by_its_own_scale_and_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 4), 10, np.uint16))
    np.save(tmp_path / "b.npy", np.full((4, 4), 10, np.float32))
    trained = Scale((0.0,), (20.0,), "uint16")
    source = by_scale(source_of(tmp_path, ArrayImages(1, None)), trained)
    assert source.load("a.npy")[0, 0].tolist() == [128, 128, 128]
    with pytest.raises(ImageError, match=r"b\.npy: float32; the run was trained on uint16"):
        source.load("b.npy")
    with pytest.raises(InputError, match="the scale that it was trained on"):
        by_scale(source_of(tmp_path, ArrayImages(1, (0.0, 30.0))), trained)
    with pytest.raises(InputError, match="as it was trained"):
        by_scale(RawTree(tmp_path), trained)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"channels": 2}, "the scale is stated once"),
        ({"range": [1, 1]}, "lo below hi"),
        ({"range": [0, 1], "window": [0, 1]}, "the scale is stated once"),
        ({"channels": 2, "range": [0, 1], "columns": ["a"]}, "a channel each"),
        ({"range": "file"}, "percentile"),
    ],
)
def test_facts_that_contradict(facts: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ArrayFacts.model_validate(facts)


def test_a_window_is_a_range() -> None:
    assert ArrayFacts(window=(40, 400)).ends == (-160, 240)


@pytest.mark.parametrize("channels", [2, 4, 5, 6, 9])
@pytest.mark.parametrize("how", ["crop", "squash", "pad"])
def test_squares_of_any_number_of_channels_are_those_of_each(channels: int, how: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, channels)).astype(np.uint8)
    wanted = Preprocess(24, (0.5,) * channels, (0.2,) * channels, "bilinear", how)
    found = fit(shrunk(pixels, 32), wanted)
    assert found.shape == (24, 24, channels)
    one = Preprocess(24, (0.5,) * 3, (0.2,) * 3, "bilinear", how)
    alone = fit(shrunk(np.repeat(pixels[:, :, -1:], 3, axis=2), 32), one)
    assert np.array_equal(found[:, :, -1], alone[:, :, 0])
    assert Preprocess.from_json(wanted.as_json()) == wanted


def test_previews_show_all_channels() -> None:
    two = np.dstack([np.full((2, 2), 10, np.uint8), np.full((2, 2), 20, np.uint8)])
    assert preview(two)[0, 0].tolist() == [10, 20, 15]
    six = np.dstack([np.full((2, 2), n, np.uint8) for n in (0, 2, 10, 20, 100, 110)])
    assert preview(six)[0, 0].tolist() == [1, 15, 105]


def test_values_beyond_the_range_are_counted() -> None:
    array = np.array([[[-1.0], [0.0], [1.0], [3.0]]])
    levels, outside = Scale((0.0,), (2.0,)).apply(Values(array, "float64"))
    assert levels[0, :, 0].tolist() == [0, 0, 128, 255]
    assert outside == 0.5
