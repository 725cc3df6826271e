"""Fingerprints: one look at every image, and no second one as long as nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comp.checks.duplicates.candidates import perceptual
from comp.checks.image_index import COLUMNS, PRINT_BYTES, ImageFacts, ImageIndex, as_row
from comp.checks.image_scan import load, scan
from comp.checks.kept_looks import VERSION, LooksWriter
from comp.checks.kept_looks import load as load_kept
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.errors import InputError
from gallery import save, texture

PATHS = [f"{n}.png" for n in range(12)]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for number, path in enumerate(PATHS):
        save(folder / path, texture(number))
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "fingerprints" / "one"


def look_at(raw: Path, kept: Path | None, paths: list[str] = PATHS) -> ImageIndex:
    return scan(RawTree(raw), raw, paths, kept)


def told(found: ImageIndex, stamps: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything in every look, to be compared."""
    return {
        path: (
            *(look if stamps else look[1:]),
            found.perceptual([path]).tobytes(),
            found.regions([path]).tobytes(),
        )
        for path, look in found.items()
    }


def written(kept: Path) -> dict[str, bytes]:
    """The files that a look kept, by name."""
    return {path.name: path.read_bytes() for path in sorted(kept.iterdir())}


class Counting:
    """A source that remembers what was read; it gives files as they lie."""

    gives_files = True

    def __init__(self, raw: Path) -> None:
        self.tree = RawTree(raw)
        self.read: list[str] = []

    def load(self, path: str) -> bytes:
        self.read.append(path)
        return self.tree.load(path)


def test_a_look_tells_what_is_in_the_file(raw: Path) -> None:
    save(raw / "0.png", texture(0, 40)[:30])
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "X100 "
    Image.fromarray(texture(1)).convert("L").save(raw / "1.jpg", exif=exif)
    look, grey = (look_at(raw, None, ["0.png", "1.jpg"])[path] for path in ("0.png", "1.jpg"))
    assert (look.height, look.width, look.kind, look.tags, look.error) == (30, 40, "PNG RGB", {}, "")
    assert look.file_bytes == (raw / "0.png").stat().st_size
    assert look.mean == pytest.approx(texture(0, 40)[:30].mean(axis=2).mean(), abs=0.5)
    assert (grey.kind, grey.tags["EXIF Make"], grey.tags["EXIF Model"]) == ("JPEG L", "Maker", "X100")
    assert "encoding tables" in grey.tags


def test_the_same_pixels_have_one_hash_and_another_shape_another(raw: Path) -> None:
    save(raw / "same.bmp", texture(0))
    flat = np.zeros((10, 20, 3), np.uint8)
    save(raw / "wide.png", flat)
    save(raw / "tall.png", flat.transpose(1, 0, 2).copy())
    found = look_at(raw, None, ["0.png", "same.bmp", "wide.png", "tall.png"])
    assert found["0.png"].pixel_sha == found["same.bmp"].pixel_sha
    assert found["0.png"].file_sha != found["same.bmp"].file_sha
    assert found["wide.png"].pixel_sha != found["tall.png"].pixel_sha


def test_unchanged_files_are_not_even_opened_again(raw: Path, kept: Path) -> None:
    first = look_at(raw, kept)
    assert first.decoded == len(PATHS)
    source = Counting(raw)
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    again = scan(source, raw, PATHS, kept)
    assert (again.decoded, source.read) == (0, [])
    assert told(again) == told(first)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def test_a_touched_file_is_read_but_not_decoded(raw: Path, kept: Path) -> None:
    first = look_at(raw, kept)
    os.utime(raw / "3.png", ns=(1, 1))
    source = Counting(raw)
    again = scan(source, raw, PATHS, kept)
    assert (again.decoded, source.read) == (0, ["3.png"])
    assert told(again, stamps=False) == told(first, stamps=False)
    assert scan(source, raw, PATHS, kept).decoded == 0
    assert source.read == ["3.png"], "its new times are kept"


def test_a_changed_file_is_decoded(raw: Path, kept: Path) -> None:
    first = look_at(raw, kept)
    before = (raw / "3.png").stat()
    content = bytearray(99)
    save(raw / "3.png", texture(99))
    content = bytearray((raw / "3.png").read_bytes())
    (raw / "3.png").write_bytes(bytes(content))
    os.utime(raw / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns))  # times may lie
    again = look_at(raw, kept)
    assert again.decoded == 1
    assert again["3.png"].pixel_sha != first["3.png"].pixel_sha
    assert again["3.png"].pixel_sha == look_at(raw, None)["3.png"].pixel_sha


def test_a_file_of_the_same_size_and_time_but_other_content_is_seen(raw: Path, kept: Path) -> None:
    save(raw / "flat.bmp", texture(1))
    paths = ["flat.bmp"]
    first = look_at(raw, kept, paths)
    before = (raw / "flat.bmp").stat()
    save(raw / "flat.bmp", texture(2))
    os.utime(raw / "flat.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (raw / "flat.bmp").stat().st_size == before.st_size
    again = look_at(raw, kept, paths)
    assert again.decoded == 1
    assert again["flat.bmp"].pixel_sha != first["flat.bmp"].pixel_sha


def test_a_moved_file_and_a_new_copy_are_not_decoded(raw: Path, kept: Path) -> None:
    look_at(raw, kept)
    (raw / "0.png").rename(raw / "moved.png")
    shutil.copy(raw / "1.png", raw / "copy.png")
    again = look_at(raw, kept, ["moved.png", "copy.png", *PATHS[1:]])
    assert again.decoded == 0
    assert again["copy.png"].pixel_sha == again["1.png"].pixel_sha


@pytest.mark.parametrize("suffix", [".npz", ".u8"])
@pytest.mark.parametrize("fault", ["cut", "cut short", "empty", "text", "flipped", "another zip", "gone"])
def test_a_torn_file_of_fingerprints_is_ignored_and_replaced(
    raw: Path, kept: Path, fault: str, suffix: str
) -> None:
    first = told(look_at(raw, kept))
    (file,) = kept.glob(f"*{suffix}")
    content = file.read_bytes()
    if fault == "another zip":
        with zipfile.ZipFile(file, "w") as other:
            other.writestr("readme.txt", "hello")
    elif fault == "gone":
        file.unlink()
    else:
        torn = {
            "cut": content[:-10],
            "cut short": content[:1000],
            "empty": b"",
            "text": b"not an archive",
            "flipped": content[:1000] + bytes(b ^ 255 for b in content[1000:1200]) + content[1200:],
        }
        file.write_bytes(torn[fault])
    assert len(load(kept)) == 0
    again = look_at(raw, kept)
    assert again.decoded == len(PATHS)
    assert told(again) == first
    assert look_at(raw, kept).decoded == 0


def test_fingerprints_that_are_cut_off_under_a_command_end_it_in_a_line(raw: Path, kept: Path) -> None:
    found = look_at(raw, kept)
    (file,) = kept.glob("*.u8")
    os.truncate(file, 1000)
    with pytest.raises(InputError, match="cut off"):
        found.perceptual(PATHS)


META = {"version": VERSION, "kinds": [""], "errors": [""], "tags": [[]], "sum": 0}


@pytest.mark.parametrize(
    "meta",
    [
        [],
        {"version": 1},
        {"version": VERSION},
        META | {"kinds": 3},
        META | {"kinds": []},
        META | {"tags": [3]},
        META | {"sum": 1},
    ],
)
def test_fingerprints_of_another_shape_are_ignored(tmp_path: Path, meta: object) -> None:
    np.savez(
        tmp_path / "00000-f.npz",
        table=np.zeros(1, COLUMNS),
        paths=np.frombuffer(b"a", np.uint8),
        meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
    )
    (tmp_path / "00000-f.u8").write_bytes(bytes(PRINT_BYTES))
    assert len(load(tmp_path)) == 0


def test_what_failed_is_looked_at_again_each_time(raw: Path, kept: Path) -> None:
    whole = (raw / "3.png").read_bytes()
    (raw / "3.png").write_bytes(whole[:-60])
    (raw / "4.png").write_bytes(b"")
    first = look_at(raw, kept)
    assert "3.png" in first["3.png"].error
    assert "zero bytes" in first["4.png"].error
    again = look_at(raw, kept)
    assert again.decoded == 2
    assert told(again) == told(first)
    (raw / "3.png").write_bytes(whole)
    mended = look_at(raw, kept)
    assert (mended.decoded, mended["3.png"].error) == (2, "")
    assert look_at(raw, kept).decoded == 1, "only the empty one"


def test_an_error_names_its_own_path_where_another_file_had_the_same_bytes(raw: Path, kept: Path) -> None:
    whole = (raw / "4.png").read_bytes()
    (raw / "4.png").write_bytes(b"")
    assert "4.png" in look_at(raw, kept)["4.png"].error
    (raw / "4.png").write_bytes(whole)
    (raw / "3.png").write_bytes(b"")
    found = look_at(raw, kept)
    assert found["3.png"].error == "3.png: zero bytes"
    assert found["4.png"].error == ""


def test_a_missing_file_has_an_error_and_is_looked_for_again(raw: Path, kept: Path) -> None:
    away = raw.parent / "away.png"
    (raw / "3.png").rename(away)
    assert look_at(raw, kept)["3.png"].error
    away.rename(raw / "3.png")
    found = look_at(raw, kept)
    assert (found["3.png"].error, found.decoded) == ("", 1)


def test_members_of_an_archive_are_read_but_not_decoded_again(raw: Path, kept: Path, tmp_path: Path) -> None:
    first = look_at(raw, None)
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    with zipfile.ZipFile(zipped / "train.zip", "w") as archive:
        for path in PATHS:
            archive.write(raw / path, f"train/{path}")
    paths = [f"train/{path}" for path in PATHS]
    for decoded in (len(PATHS), 0):
        found = look_at(zipped, kept, paths)
        assert found.decoded == decoded
    assert [found[path].pixel_sha for path in paths] == [first[path].pixel_sha for path in PATHS]


def test_rows_of_an_array_are_looked_at_once(kept: Path, tmp_path: Path) -> None:
    pixels = np.stack([texture(n, 16) for n in range(8)])
    paths = [f"train#{n}" for n in range(8)]
    first = scan(ArraySource({"train": pixels}), tmp_path, paths, kept)
    again = scan(ArraySource({"train": pixels}), tmp_path, paths, kept)
    assert (first.decoded, again.decoded) == (8, 0)
    assert first["train#3"].kind == "array"
    assert (first["train#3"].height, first["train#3"].file_bytes) == (16, 16 * 16 * 3)
    pixels[3] = texture(99, 16)
    changed = scan(ArraySource({"train": pixels}), tmp_path, paths, kept)
    assert changed.decoded == 1
    assert changed["train#3"].pixel_sha != first["train#3"].pixel_sha


def test_what_is_seen_does_not_depend_on_order_or_on_timing(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / "1.png", raw / "copy.png")  # equal files, seen by several threads at once
    paths = [*PATHS, "copy.png"]
    kept = [tmp_path / f"{n}" for n in range(4)]
    first = look_at(raw, kept[0], paths)
    assert list(first) == paths
    for one in kept[1:]:
        assert told(look_at(raw, one, paths)) == told(first)
        assert written(one) == written(kept[0])
    backwards = look_at(raw, None, paths[::-1])
    assert told(backwards) == told(first)
    assert first.decoded == backwards.decoded == len(paths)


def test_every_image_is_counted_off(raw: Path, kept: Path) -> None:
    seen: list[int] = []
    scan(RawTree(raw), raw, PATHS, kept, seen.append)
    assert sum(seen) == len(PATHS)


def test_no_images_are_no_fingerprints(tmp_path: Path, kept: Path) -> None:
    nothing = look_at(tmp_path, kept, [])
    assert len(nothing) == 0
    assert nothing.perceptual([]).shape == (0, 1156)
    assert len(load(kept)) == 0


def test_the_digest_follows_contents_and_their_order(raw: Path) -> None:
    found = look_at(raw, None)
    digest = found.digest(PATHS)
    assert digest == look_at(raw, None).digest(PATHS)
    assert digest != found.digest(PATHS[::-1])
    save(raw / "3.png", texture(99))
    assert digest != look_at(raw, None).digest(PATHS)


def test_names_in_any_script_survive(raw: Path, kept: Path) -> None:
    names = ["사과.png", "a b,c.png", "x#1.png"]
    for number, name in enumerate(names):
        save(raw / name, texture(50 + number))
    first = look_at(raw, kept, names)
    assert all(isinstance(look, ImageFacts) and not look.error for look in first.values())
    again = look_at(raw, kept, names)
    assert again.decoded == 0
    assert told(again) == told(first)


def test_a_scan_that_is_stopped_goes_on_where_it_was(
    raw: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comp.checks.image_scan._AT_ONCE", 2)
    seen: list[int] = []

    def stopped(count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(RawTree(raw), raw, PATHS, kept, stopped)
    again = look_at(raw, kept)
    assert again.decoded == len(PATHS) - 6
    assert told(again) == told(look_at(raw, None))
    assert look_at(raw, kept).decoded == 0


def test_segments_hold_what_one_would_and_those_of_gone_files_go(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comp.checks.kept_looks.ROWS", 4)
    kept = tmp_path / "kept"
    first = look_at(raw, kept)
    assert len(list(kept.glob("*.u8"))) == 3
    again = look_at(raw, kept)
    assert again.decoded == 0
    assert told(again) == told(first) == told(look_at(raw, None))
    assert told(load(kept)) == told(first)
    for n in range(5):  # the first segment whole, and one image of the second
        save(raw / PATHS[n], texture(50 + n))
    changed = look_at(raw, kept)
    assert changed.decoded == 5
    assert told(changed) == told(look_at(raw, None)) == told(load(kept))
    assert len(load_kept(kept).table) == len(PATHS) + 1, "the row of the changed image stays in its segment"
    for n in range(7):
        save(raw / PATHS[n], texture(80 + n))
    look_at(raw, kept)
    assert told(look_at(raw, kept)) == told(look_at(raw, None))
    assert len(load_kept(kept).table) == len(PATHS), "what was left of the second segment was written anew"


def test_what_fails_again_is_not_written_again(raw: Path, kept: Path) -> None:
    (raw / "3.png").write_bytes(b"")
    look_at(raw, kept)
    before = written(kept)
    assert look_at(raw, kept).decoded == 1
    assert written(kept) == before


@given(st.lists(st.sampled_from(PATHS), min_size=1, unique=True), st.integers(1, 5))
def test_columns_are_what_single_images_say(some: list[str], rows: int) -> None:
    pixels = {f"p#{n}": texture(n, 8 + n) for n in range(len(PATHS))}

    class Source:
        def load(self, path: str) -> np.ndarray:
            return pixels[path]

    paths = [f"p#{PATHS.index(path)}" for path in some] + ["p#99"]
    pixels["p#99"] = pixels[paths[0]]  # the same pixels again
    found = scan(Source(), Path("."), paths)
    assert found.column("height", paths).tolist() == [found[path].height for path in paths]
    assert found.contents(paths) == [found[path].pixel_sha for path in paths]
    assert found.sorted_by_content(paths) == sorted(paths, key=lambda path: found[path].pixel_sha)
    assert found.same_pixels(paths) == [[paths[0], "p#99"]]
    assert found.perceptual(paths[:rows]).tobytes() == b"".join(
        perceptual(pixels[path]).tobytes() for path in paths[:rows]
    )


def test_a_known_image_takes_few_bytes_of_memory(tmp_path: Path) -> None:
    facts = ImageFacts(
        (9, 9, 9), "ab" * 32, "cd" * 32, 32, 32, 900, "JPEG RGB", 1.0, 1.0, "", False, 8, 0, 1, {}
    )

    def held(count: int) -> int:
        writer = LooksWriter(tmp_path / str(count), load_kept(None), count)
        row, prints = as_row(facts, writer.known.words), np.zeros(PRINT_BYTES, np.uint8)
        for n in range(count):
            writer.add(f"train/{n:09d}.jpg", row, prints)
        writer.flush()
        tracemalloc.start()
        found = load(tmp_path / str(count))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found) == count
        return size

    assert (held(6000) - held(2000)) / 4000 < 700, "as objects it was 3,500, and fingerprints are 1,768"


def test_places_are_of_the_paths_that_are_asked_for() -> None:
    paths = [f"train/{n}.jpg" for n in range(1500)]
    index = ImageIndex(tuple(paths))
    backwards = paths[::-1]
    for _ in range(2):  # the second time they are known
        assert index.places(paths).tolist() == list(range(1500))
        assert index.places(iter(backwards)).tolist() == list(range(1499, -1, -1))
        assert index.places(paths[5:8]).tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="read-only"):
        index.places(paths)[0] = 3
    paths.reverse()
    assert index.places(paths)[0] == 1499
    with pytest.raises(KeyError):
        index.places(["train/none.jpg"])
