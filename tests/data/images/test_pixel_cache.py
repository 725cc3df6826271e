"""The pixel store changes no pixel, is whole or not there, and stays within its budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from comp.checks.image_scan import scan
from comp.data.images import pixel_cache as module
from comp.data.images.decode import load_pixels
from comp.data.images.pixel_cache import (
    DecodedSource,
    ImageDataset,
    PixelStore,
    StoreWriter,
    cached_source,
    missing,
    store_name,
)
from comp.data.images.preprocess import SIDE, Extent, Preprocess, shrunk, side_for
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.errors import InputError
from comp.workspace import cache_folder

SIZES = [(40, 60), (33, 21), (900, 1000), (800, 2000), (5, 7)]
NAMES = [f"{n}.png" for n in range(len(SIZES))]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, (height, width) in zip(NAMES, SIZES, strict=True):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    return folder


def contents_of(raw: Path) -> dict[str, str]:
    return scan(RawTree(raw), raw, NAMES).files(NAMES)


def root() -> Path:
    return cache_folder() / "pixels"


def test_what_comes_out_is_what_was_decoded(raw: Path) -> None:
    contents = contents_of(raw)
    assert missing(contents.values())
    source = cached_source(RawTree(raw), contents)
    assert isinstance(source, DecodedSource)
    assert not missing(contents.values())
    for name in NAMES:
        kept = source.load(name)
        assert isinstance(kept, np.ndarray)
        assert (kept == shrunk(load_pixels(RawTree(raw), name), SIDE)).all()
    assert source.load(NAMES[2]).shape == (768, 853, 3)  # type: ignore[union-attr]
    assert source.load(NAMES[3]).shape[0] == 768  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [16, 224, 600])
@pytest.mark.parametrize("extent", ["square", "room", "whole"])
def test_a_network_reads_the_same_pixels_with_it_and_without(raw: Path, size: int, extent: Extent) -> None:
    preprocess = Preprocess(size, (0.5,) * 3, (0.5,) * 3, crop_pct=0.9)
    plain = ImageDataset(RawTree(raw), NAMES, preprocess, extent)
    source = RawTree(raw) if side_for(preprocess) is None else cached_source(RawTree(raw), contents_of(raw))
    stored = ImageDataset(source, NAMES, preprocess, extent)
    for n in range(len(NAMES)):
        assert (plain[n] == stored[n]).all()


@pytest.mark.parametrize("size", [16, 224, 600])
@pytest.mark.parametrize("kind", ["crop", "squash", "pad"])
@pytest.mark.parametrize("extent", ["square", "room", "whole"])
def test_shapes_are_known_before_images_are_read(raw: Path, size: int, kind: str, extent: Extent) -> None:
    preprocess = Preprocess(size, (0.5,) * 3, (0.5,) * 3, fit=kind, crop_pct=0.9)
    stored = ImageDataset(cached_source(RawTree(raw), contents_of(raw)), NAMES, preprocess, extent)
    rows = np.array([3, 0, 1, 4])
    found = stored.shapes(rows)
    assert found is not None
    assert found.tolist() == [list(stored[n].shape[:2]) for n in rows.tolist()]
    unseen = ImageDataset(RawTree(raw), NAMES, preprocess, extent).shapes(rows)
    assert unseen is None if extent == "whole" else (unseen == found).all()


def test_the_second_time_nothing_is_decoded(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = contents_of(raw)
    seen: list[int] = []
    cached_source(RawTree(raw), contents, seen.append)
    assert sum(seen) == len(NAMES)
    monkeypatch.setattr(module, "decode", lambda *a: pytest.fail("decoded again"))
    assert isinstance(cached_source(RawTree(raw), contents), DecodedSource)


def test_the_look_of_the_check_fills_it(raw: Path) -> None:
    writer = StoreWriter(len(NAMES))
    found = scan(RawTree(raw), raw, NAMES, keep=writer.put)
    assert writer.finish(set(found.files(NAMES).values()))
    assert not missing(found.files(NAMES).values())


def test_other_contents_are_another_store_and_names_do_not_matter(raw: Path) -> None:
    contents = list(contents_of(raw).values())
    assert store_name(contents) == store_name([*reversed(contents), contents[0]])
    assert store_name(contents) != store_name(contents[1:])


@pytest.mark.parametrize("budget", ["0", "0.000001", "0.003"])
def test_over_the_budget_it_streams_and_nothing_stays(
    raw: Path, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_CACHE_GB", budget)
    source = RawTree(raw)
    assert cached_source(source, contents_of(raw)) is source
    assert not list(root().glob("*"))
    assert not list(root().glob(".*"))


def test_the_store_not_used_for_longest_makes_room(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = contents_of(raw)
    parts = [{NAMES[n]: contents[NAMES[n]]} for n in (2, 3)]
    for age, part in zip((50, 100), parts, strict=True):
        cached_source(RawTree(raw), part)
        os.utime(root() / store_name(part.values()), (age, age))
    held = sum((root() / store_name(part.values()) / "pixels.u8").stat().st_size for part in parts)
    monkeypatch.setenv("COMP_CACHE_GB", str((held + 10) / 1e9))
    cached_source(RawTree(raw), {NAMES[0]: contents[NAMES[0]]})
    assert [missing(part.values()) for part in parts] == [True, False]
    assert not missing([contents[NAMES[0]]])


def test_a_torn_store_is_made_again(raw: Path) -> None:
    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    file = root() / store_name(contents.values()) / "pixels.u8"
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.raises(ValueError, match="torn"):
        PixelStore(file.parent)
    source = cached_source(RawTree(raw), contents)
    assert isinstance(source, DecodedSource)
    assert (np.asarray(source.load(NAMES[0])) == load_pixels(RawTree(raw), NAMES[0])).all()


def test_a_image_that_changed_in_place_is_decoded_again_and_the_store_is_made_anew(raw: Path) -> None:
    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    file = root() / store_name(contents.values()) / "pixels.u8"
    offset = json.loads((file.parent / "index.json").read_text())[contents[NAMES[1]]][0]
    content = bytearray(file.read_bytes())
    content[offset + 7] ^= 1
    file.write_bytes(content)
    source = cached_source(RawTree(raw), contents)
    assert isinstance(source, DecodedSource)
    pixels = ImageDataset(source, NAMES, Preprocess(16, (0.5,) * 3, (0.5,) * 3), "whole")
    assert pixels.shapes(np.arange(2)) is not None
    for n in (0, 1):
        assert (pixels[n] == load_pixels(RawTree(raw), NAMES[n])).all()
    assert missing(contents.values())
    again = cached_source(RawTree(raw), contents)
    assert isinstance(again, DecodedSource)
    assert again.store.get(contents[NAMES[1]]) is not None


def test_a_damaged_image_of_a_store_that_is_not_ours_is_decoded(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    file = root() / store_name(contents.values()) / "pixels.u8"
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    source = cached_source(RawTree(raw), contents)
    monkeypatch.setattr(Path, "unlink", refused)
    assert source.load(NAMES[1]) == (raw / NAMES[1]).read_bytes(), "the file, to be decoded"


def test_two_at_once_end_with_one_whole_store(raw: Path) -> None:
    contents = contents_of(raw)
    both = threading.Barrier(2)
    found: list[object] = []

    def one() -> None:
        both.wait()
        found.append(cached_source(RawTree(raw), contents))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(source, DecodedSource) for source in found)
    assert len(found) == 2
    assert [path.name for path in root().iterdir()] == [store_name(contents.values())]


def test_rows_of_arrays_need_none() -> None:
    source = ArraySource({"a": np.zeros((2, 4, 4, 3), np.uint8)})
    assert scan(source, Path("."), ["a#0", "a#1"]).files(["a#0", "a#1"]) == {}
    assert cached_source(source, {}) is source


def test_an_unwritable_cache_costs_the_store_only(
    raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "file"))
    source = RawTree(raw)
    assert cached_source(source, contents_of(raw)) is source


def test_too_many_images_are_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_CACHE_GB", "0.001")
    monkeypatch.setattr(module, "_SAMPLE", 4)
    writer = StoreWriter(1000)
    for n in range(6):
        writer.put(f"{n}", np.zeros((20, 20, 3), np.uint8))
        assert writer.is_full == (n >= 4), "a thousand of them are 1.2 MB"
    assert not writer.finish({f"{n}" for n in range(6)})


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{",
        '{"a": [1000000000, 2, 2, 0]}',
        '{"a": [0, 2, 2]}',
        "{}",
        "[" * 100_000,
        '{"a": 1}',
        '{"a": "abcd"}',
    ],
)
def test_a_damaged_index_is_made_anew(raw: Path, index: str) -> None:
    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    (root() / store_name(contents.values()) / "index.json").write_text(index)
    source = cached_source(RawTree(raw), contents)
    assert isinstance(source, DecodedSource)
    assert (np.asarray(source.load(NAMES[0])) == load_pixels(RawTree(raw), NAMES[0])).all()


@pytest.mark.parametrize(
    "change", [lambda n: float(n), lambda n: -n, lambda n: str(n), lambda n: n == 1, lambda n: None]
)
def test_an_index_of_other_things_than_numbers_is_made_anew(raw: Path, change: Any) -> None:
    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    index = root() / store_name(contents.values()) / "index.json"
    table = json.loads(index.read_text())
    index.write_text(json.dumps({key: [o, change(h), change(w), c] for key, (o, h, w, c) in table.items()}))
    source = cached_source(RawTree(raw), contents)
    assert isinstance(source, DecodedSource)
    again = json.loads(index.read_text())  # in whatever order threads wrote it
    assert {key: place[1:] for key, place in again.items()} == {
        key: place[1:] for key, place in table.items()
    }


def test_a_image_of_another_shape_is_decoded_again(raw: Path) -> None:
    contents = contents_of(raw)
    cached_source(RawTree(raw), contents)
    index = root() / store_name(contents.values()) / "index.json"
    table = json.loads(index.read_text())
    offset, height, width, told = table[contents[NAMES[1]]]
    assert height != width
    index.write_text(json.dumps({**table, contents[NAMES[1]]: [offset, width, height, told]}))
    source = cached_source(RawTree(raw), contents)
    assert source.load(NAMES[1]) == (raw / NAMES[1]).read_bytes(), "the file, to be decoded"


@pytest.mark.parametrize("told", ["inf", "nan", "1e400", "0,5", "many", "-1"])
def test_a_budget_is_a_number(raw: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("COMP_CACHE_GB", told)
    with pytest.raises(InputError, match="number of gigabytes"):
        cached_source(RawTree(raw), contents_of(raw))


def test_what_a_killed_writer_left_goes(raw: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    parts = [root() / f".part-{pid}-1" for pid in (gone.pid, os.getpid())]
    for part in parts:
        part.mkdir(parents=True)
        (part / "pixels.u8").write_bytes(b"x")
    cached_source(RawTree(raw), contents_of(raw))
    assert [part.exists() for part in parts] == [False, True]
