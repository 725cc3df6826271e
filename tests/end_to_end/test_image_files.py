"""Image files as people have them, through the real command: damaged, deep, transparent, oddly named, too large."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.data.competitions.scaffold import scaffold
from comp.workspace import Workspace
from made import Outcome, run_comp


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


@pytest.fixture
def folders(workspace: Path) -> Path:
    """The raw folder of a new competition with class folders: 12 images of each of three classes, 10 to predict."""
    scaffold("leaves", "folders", Workspace(workspace))
    assert run_comp(workspace, "data", "leaves", "--sample").code == 0
    return workspace / "data" / "leaves"


def check(workspace: Path, slug: str = "leaves", *more: object) -> Outcome:
    return run_comp(workspace, "check", slug, "--folds", 2, "--json", *more)


def found(outcome: Outcome, name: str) -> list[dict[str, object]]:
    return [f for f in outcome.json["findings"] if f["check"] == name]


def test_damaged_and_rangeless_images_are_errors_with_their_files(workspace: Path, folders: Path) -> None:
    image = Image.open(folders / "train/circle/1.jpg")
    image.load()
    jpeg, png = encoded(image.resize((200, 200)), "JPEG"), encoded(image, "PNG")
    (folders / "train/circle/1.jpg").write_bytes(jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    (folders / "train/circle/2.jpg").write_bytes(png[:60] + bytes([png[60] ^ 1]) + png[61:])
    grey = np.asarray(image.convert("L"), np.float32)
    (folders / "train/circle/3.jpg").write_bytes(encoded(Image.fromarray(grey / 255), "TIFF"))
    outcome = check(workspace)
    assert outcome.code == 1
    (error,) = found(outcome, "unreadable-image")
    assert (error["severity"], error["count"]) == ("error", 3)
    assert set(error["examples"]) == {f"train/circle/{n}.jpg" for n in (1, 2, 3)}
    allowed = check(workspace, "leaves", "--allow", "unreadable-image=three scans are broken")
    assert allowed.code == 0, allowed.err


def test_16_bits_have_one_scale_and_a_note_and_dark_sets_a_warning(workspace: Path, folders: Path) -> None:
    for part, scale in (("circle", 257), ("square", 257)):
        for path in sorted((folders / "train" / part).iterdir()):
            grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * scale
            path.write_bytes(encoded(Image.fromarray(grey), "PNG"))
    outcome = check(workspace)
    assert outcome.code == 0, outcome.err
    assert found(outcome, "value-range") == []
    assert any("24 images have 16 bits a value" in note for note in outcome.json["stats"]["notes"])
    for path in sorted((folders / "train").rglob("*.jpg")) + sorted((folders / "test").iterdir()):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        deep = (grey if grey.max() < 256 else grey // 257) * 16
        path.write_bytes(encoded(Image.fromarray(deep.astype(np.uint16)), "PNG"))
    (warning,) = found(check(workspace), "value-range")
    assert (warning["severity"], warning["count"]) == ("warning", 46)


def test_strokes_in_alpha_alone_are_no_duplicates(workspace: Path, folders: Path) -> None:
    """The case that started it: 36 false exact duplicates under conflicting labels."""
    rng = np.random.default_rng(0)
    for path in sorted((folders / "train").rglob("*.jpg")):
        alpha = (rng.integers(0, 2, (8, 8)) * 255).repeat(6, 0).repeat(6, 1).astype(np.uint8)
        ink = np.dstack([np.zeros((48, 48, 3), np.uint8), alpha])
        path.write_bytes(encoded(Image.fromarray(ink), "PNG"))
    outcome = check(workspace)
    assert outcome.code == 0, outcome.err
    assert found(outcome, "exact-duplicate") == found(outcome, "conflicting-labels") == []
    assert found(outcome, "blank-image") == []
    assert any("36 images have transparent pixels" in note for note in outcome.json["stats"]["notes"])


def test_every_file_of_a_class_folder_is_read_or_named(workspace: Path, folders: Path) -> None:
    """The case that started it: 36 of 48 files were missing without a word."""
    circle = folders / "train" / "circle"
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".ppm": "PPM", "": "JPEG", ".scan": "PNG"}
    for number, (suffix, format_) in enumerate(kinds.items(), start=1):
        old = circle / f"{number}.jpg"
        image = Image.open(old)
        image.load()
        old.unlink()
        (circle / f"{number}{suffix}").write_bytes(encoded(image, format_))
    (circle / "7.jpg").rename(circle / "7.heic")
    (circle / "7.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (circle / "8.jpg").write_bytes((circle / "8.jpg").read_bytes())
    (circle / "deeper").mkdir()
    (circle / "9.jpg").rename(circle / "deeper" / "9.jpg")
    (circle / "about.txt").write_text("twelve circles")
    outcome = check(workspace)
    assert outcome.code == 0, outcome.err
    assert outcome.json["stats"]["train"] == 34
    named = {tuple(f["examples"]): f for f in found(outcome, "unlisted-file")}
    assert set(named) == {
        ("train/circle/7.heic",),
        ("train/circle/deeper/9.jpg",),
        ("train/circle/about.txt",),
    }
    assert named[("train/circle/7.heic",)]["severity"] == "warning"
    assert "1 .heic" in named[("train/circle/7.heic",)]["message"]
    assert named[("train/circle/deeper/9.jpg",)]["severity"] == "warning"
    assert named[("train/circle/about.txt",)]["severity"] == "info"


def test_later_pages_and_frames_are_said(workspace: Path, folders: Path) -> None:
    image = Image.open(folders / "train/circle/1.jpg")
    image.load()
    other = image.rotate(90)
    more = {"save_all": True, "append_images": [other, image.rotate(45)]}
    for number, format_ in enumerate(("TIFF", "GIF", "PNG", "WEBP"), start=1):
        (folders / "train/circle" / f"{number}.jpg").write_bytes(encoded(image, format_, **more))
    (warning,) = found(check(workspace), "several-pages")
    assert (warning["severity"], warning["count"]) == ("warning", 4)
    assert "train/circle/1.jpg (3)" in warning["message"]


@pytest.mark.parametrize("name", ["train/circle/huge.jpg", "sample_submission.csv"])
def test_a_file_of_30_gb_is_refused_before_it_is_read(workspace: Path, folders: Path, name: str) -> None:
    with (folders / name).open("wb") as file:
        file.truncate(30 << 30)
    assert (folders / name).stat().st_blocks * 512 < 1 << 20, "a sparse file"
    outcome = check(workspace)
    if name.endswith(".csv"):
        assert outcome.code == 2
        assert "sample_submission.csv" in outcome.err
        assert "COMP_MAX_TABLE_GB=33" in outcome.err
    else:
        (error,) = found(outcome, "unreadable-image")
        assert outcome.code == 1
        assert "train/circle/huge.jpg" in error["message"]
        assert "COMP_MAX_MEGAPIXELS" in error["message"]
    os.truncate(folders / name, 0)


def test_a_large_image_is_allowed_by_the_limit_that_its_error_names(
    workspace: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures are not remembered: the same workspace reads it as soon as the limit allows."""
    monkeypatch.setenv("COMP_MAX_MEGAPIXELS", "0.01")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 150, 3)).astype(np.uint8))
    for number, format_ in enumerate(("JPEG", "PNG", "TIFF"), start=1):
        (folders / "train/circle" / f"{number}.jpg").write_bytes(encoded(image.rotate(90 * number), format_))
    (error,) = found(check(workspace), "unreadable-image")
    assert error["count"] == 3
    assert "150 x 150 pixels, over the limit of 0.01 megapixels" in error["message"]
    monkeypatch.setenv("COMP_MAX_MEGAPIXELS", "1")
    assert found(check(workspace), "unreadable-image") == []
    monkeypatch.setenv("COMP_MAX_MEGAPIXELS", "many")
    (folders / "train/circle/1.jpg").write_bytes(encoded(image, "PNG"))
    wrong = check(workspace)
    assert wrong.code == 2
    assert "COMP_MAX_MEGAPIXELS" in wrong.err


# --- arrays of an adapter -------------------------------------------------------------------------------------------


@pytest.fixture
def arrays(workspace: Path) -> Path:
    scaffold("grid", "array", Workspace(workspace))
    assert run_comp(workspace, "data", "grid", "--sample").code == 0
    return workspace / "data" / "grid"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda a: (a / 255).astype(np.float32), "float32 (28, 28, 3)"),
        (lambda a: a.astype(np.int64), "int64 (28, 28, 3)"),
        (lambda a: a.astype(np.uint16), "uint16 (28, 28, 3)"),
        (lambda a: a.transpose(0, 3, 1, 2), "uint8 (3, 28, 28)"),
        (lambda a: a[..., 0], "uint8 (28, 28)"),
        (lambda a: np.concatenate([a, a[..., :1]], axis=3), "uint8 (28, 28, 4)"),
    ],
    ids=["float32", "int64", "uint16", "channels first", "grey", "RGBA"],
)
def test_arrays_of_another_kind_are_refused_with_their_row(
    workspace: Path, arrays: Path, change: object, kind: str
) -> None:
    for name in ("train", "test"):
        stored = dict(np.load(arrays / f"{name}.npz"))
        stored["images"] = change(stored["images"])  # type: ignore[operator]
        np.savez(arrays / f"{name}.npz", **stored)
    outcome = check(workspace, "grid")
    assert outcome.code == 2
    for word in ("adapter.py", "train#0", kind, "uint8 (H, W, 3)"):
        assert word in outcome.err


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        ("None", "found None"),
        ("[1, 2]", "found a list"),
        (
            "self.own.load(path)[:, :, :2] if path == 'train#5' else self.own.load(path)",
            "train#5: found uint8 (28, 28, 2)",
        ),
        ("np.array([None, 1], dtype=object)", "found object (2,)"),
        ("self.missing", "AttributeError"),
        ("open('/no/such/file', 'rb').read()", "FileNotFoundError"),
    ],
)
def test_whatever_a_source_gives_is_judged_row_by_row(
    workspace: Path, arrays: Path, gives: str, words: str
) -> None:
    file = workspace / "competitions" / "grid" / "adapter.py"
    wrapped = f"""

class Odd:
    def __init__(self, own):
        self.own = own

    def load(self, path):
        return {gives}


_before = source


def source(raw):
    return Odd(_before(raw))
"""
    file.write_text(file.read_text() + wrapped)
    outcome = check(workspace, "grid")
    assert outcome.code == 2, outcome.err
    assert "adapter.py" in outcome.err
    assert words in outcome.err


def test_an_adapter_that_was_corrected_is_believed(workspace: Path, folders: Path) -> None:
    """What another source gave, or refused, for the same files is not remembered."""
    file = workspace / "competitions" / "leaves" / "adapter.py"
    plain = file.read_text()
    odd = """

class Odd:
    def load(self, path):
        from comp.errors import ImageError
        {body}

    def __init__(self, raw):
        self.tree = RawTree(raw)


def source(raw):
    return Odd(raw)
"""
    file.write_text(plain + odd.format(body="raise ImageError('no', f'{path}: not today')"))
    assert check(workspace).code == 1
    file.write_text(plain + odd.format(body="return self.tree.load('train/circle/1.jpg')"))
    same = check(workspace)
    assert found(same, "exact-duplicate"), "every row shows one image"
    file.write_text(plain + odd.format(body="return self.tree.load(path)"))
    right = check(workspace)
    assert right.code == 0, right.err
    assert found(right, "exact-duplicate") == []
