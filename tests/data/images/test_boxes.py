"""Boxes of images: which pixels they are, by the path alone."""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.data.images.boxes import Box, BoxSource, split_box, with_files, without_box
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource, gives, gives_files
from comp.errors import ImageError

PIXELS = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)


def test_a_path_says_its_box_and_reads_back() -> None:
    for box, text in (
        (Box(10, 20, 100, 70), "#xywh=10,20,100,70"),
        (Box(-3.25, 0, 1e-5, 70, margin=0.1), "#xywh=-3.25,0,1e-05,70&margin=0.1"),
        (Box(12.5, 25, 50, 50, True, 0.5), "#xywh=percent:12.5,25,50,50&margin=0.5"),
        (Box(1, 2, 3, 4, margin=0.1, of=(640, 480)), "#xywh=1,2,3,4&margin=0.1&of=640x480"),
    ):
        assert box.fragment == text
        assert split_box(f"a/b#1.jpg{text}") == ("a/b#1.jpg", box)
        assert without_box(f"a/b#1.jpg{text}") == "a/b#1.jpg"
    assert split_box("train#17") == ("train#17", None)


@pytest.mark.parametrize(
    "text", ["1,2,3", "1,2,3,x", "1,2,0,4", "1,2,3,-4", "1,2,3,4&margin=-1", "1.2.3,0,1,1"]
)
def test_what_is_no_box_is_refused_by_name(text: str) -> None:
    with pytest.raises(ImageError, match=re.escape(f"a.jpg#xywh={text}")):
        split_box(f"a.jpg#xywh={text}")


@pytest.mark.parametrize(
    ("box", "wanted"),  # x0, x1, y0, y1 of an image of 60 x 40
    [
        (Box(10, 5, 20, 10), (10, 30, 5, 15)),
        (Box(10, 5, 20, 10, margin=0.1), (8, 32, 3, 17)),  # two pixels, a tenth of the longer side
        (Box(0.1 + 0.2, 1, 10, 10), (0, 11, 1, 11)),  # parts of pixels count as whole ones
        (Box(3 * 0.1 * 10, 0, 9, 9), (3, 12, 0, 9)),  # 3.0000000000000004 is 3
        (Box(-5, -5, 10, 10), (0, 5, 0, 5)),
        (Box(50, 30, 100, 100), (50, 60, 30, 40)),
        (Box(1, 1, 50, 30, margin=5), (0, 60, 0, 40)),
        (Box(25, 25, 50, 50, percent=True), (15, 45, 10, 30)),
        (Box(25, 25, 50, 50, percent=True, margin=0.1), (12, 48, 7, 33)),  # of 30 x 20 pixels
        (Box(59, 39, 1, 1), (59, 60, 39, 40)),
    ],
)
def test_the_pixels_of_a_box(box: Box, wanted: tuple[int, int, int, int]) -> None:
    assert box.within(60, 40, "a.jpg") == wanted
    x0, x1, y0, y1 = wanted
    crop = BoxSource(ArraySource({"a": PIXELS[None]})).load(f"a#0{box.fragment}")
    assert crop.shape == (y1 - y0, x1 - x0, 3)  # type: ignore[union-attr]
    assert np.array_equal(crop, PIXELS[y0:y1, x0:x1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "box", [Box(60, 0, 9, 9), Box(0, 40, 9, 9), Box(-9, 0, 9, 9), Box(0, -9, 9, 9), Box(100, 0, 9, 9, True)]
)
def test_a_box_outside_its_image_is_refused(box: Box) -> None:
    with pytest.raises(ImageError, match="nothing of it lies in 60 x 40 pixels"):
        box.within(60, 40, "a.jpg")


def test_an_image_of_another_size_than_the_box_was_drawn_on() -> None:
    assert Box(0, 0, 5, 5, of=(60, 40)).within(60, 40, "a.jpg") == (0, 5, 0, 5)
    with pytest.raises(ImageError, match="drawn on 120 x 80 pixels, the image has 60 x 40"):
        Box(0, 0, 5, 5, of=(120, 80)).within(60, 40, "a.jpg")
    with pytest.raises(ImageError, match="60 x 40 as EXIF turns it"):
        Box(0, 0, 5, 5, of=(40, 60)).within(60, 40, "a.jpg")


def test_boxes_are_of_the_image_as_exif_turns_it(tmp_path: Path) -> None:
    image, exif = Image.fromarray(PIXELS), Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: shown turned by a quarter, clockwise
    content = io.BytesIO()
    image.save(content, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(content.getvalue())
    source = BoxSource(RawTree(tmp_path))
    upright = np.rot90(PIXELS, -1)
    assert upright.shape == (60, 40, 3)
    assert np.array_equal(source.load("a.png#xywh=5,45,10,12"), upright[45:57, 5:15])  # type: ignore[arg-type]


@dataclass
class Counting:
    """A source that counts how often it is asked."""

    own: ArraySource
    asked: list[str] = field(default_factory=list)

    def load(self, path: str) -> np.ndarray:
        self.asked.append(path)
        return self.own.load(path)


def test_one_photograph_is_read_once_for_boxes_that_follow_each_other() -> None:
    counting = Counting(ArraySource({"a": np.stack([PIXELS, PIXELS + 1])}))
    source = BoxSource(counting)
    for row in (0, 0, 0, 1, 0):
        crop = source.load(f"a#{row}#xywh=1,2,3,4")
        assert np.array_equal(crop, (PIXELS + row)[2:6, 1:4])  # type: ignore[arg-type]
    assert counting.asked == ["a#0", "a#1", "a#0"]


def test_a_path_without_a_box_is_refused_unless_whole_images_stand_beside() -> None:
    own = ArraySource({"a": PIXELS[None]})
    with pytest.raises(ImageError, match="every row is of a box of its image"):
        BoxSource(own).load("a#0")
    assert np.array_equal(BoxSource(own, whole=True).load("a#0"), PIXELS)


def test_the_source_speaks_of_the_file_and_travels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    source = BoxSource(RawTree(tmp_path), whole=True)
    assert source.file_of("a.png#xywh=1,2,3,4") == "a.png"
    assert gives_files(source)
    assert gives(source, "a.png#xywh=1,2,3,4")
    assert not gives(source, "b.png#xywh=1,2,3,4")
    again = pickle.loads(pickle.dumps(source))
    assert again.whole
    assert np.array_equal(again.load("a.png#xywh=1,2,3,4"), PIXELS[2:6, 1:4])


def test_extra_rows_are_whole_files_or_boxes_of_them(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "extra.png"
    Image.fromarray(PIXELS).save(path)
    source = with_files(BoxSource(RawTree(tmp_path / "raw")))
    assert source.load(str(path)) == path.read_bytes()
    assert np.array_equal(source.load(f"{path}#xywh=1,2,3,4"), PIXELS[2:6, 1:4])  # type: ignore[arg-type]
