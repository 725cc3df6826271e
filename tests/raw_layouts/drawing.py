"""Small images with a signal: coloured marks on noisy grounds that all differ.

Every image of a competition has the same size and noise and the same number of marks, whatever its label,
so that only colours and forms tell the label, and nothing that a file's size or bytes could say.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

Pixels = np.ndarray  # uint8 (side, side, 3), or (side, side) where grey
Colour = tuple[int, int, int]

HUES: tuple[Colour, ...] = (
    (205, 50, 50),
    (50, 185, 60),
    (60, 80, 210),
    (205, 190, 50),
    (185, 60, 195),
    (50, 190, 195),
)
GREY: Colour = (125, 125, 125)
FORMS = ("disc", "cross", "square", "ring", "diamond")
BYTES_OF_A_VALUE = {".jpg": 0.72, ".jpeg": 0.72, ".png": 0.95}  # more than any of these images needs
NOISE = 10.0  # grey levels, standard deviation


def ground(rng: np.random.Generator, side: int, tint: Colour | None = None) -> np.ndarray:
    """Smooth texture float (side, side, 3) of muted colours, around ``tint`` if there is one."""
    base = (
        np.full(3, rng.uniform(80, 165)) + rng.uniform(-14, 14, 3) if tint is None else np.array(tint, float)
    )
    light = rng.uniform(-38, 38, (5, 5, 1)) + rng.uniform(-10, 10, (5, 5, 3))
    coarse = Image.fromarray(np.clip(base + light, 0, 255).astype(np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float)


def mask(form: str, side: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Where a mark lies, bool (side, side)."""
    steps = np.arange(side) + 0.5
    across, down = np.abs(steps - centre[0]), np.abs(steps - centre[1])[:, None]
    distance = np.hypot(across, down)
    if form == "disc":
        return distance <= radius
    if form == "ring":
        return (distance <= radius) & (distance >= 0.5 * radius)
    if form == "square":
        return np.maximum(across, down) <= 0.88 * radius
    if form == "diamond":
        return across + down <= 1.25 * radius
    return (np.minimum(across, down) <= 0.36 * radius) & (np.maximum(across, down) <= radius)


def finish(rng: np.random.Generator, canvas: np.ndarray) -> Pixels:
    """The canvas with the noise that every image has."""
    return np.clip(canvas + rng.normal(0, NOISE, canvas.shape), 0, 255).astype(np.uint8)


def dab(
    rng: np.random.Generator,
    canvas: np.ndarray,
    colour: Colour,
    form: str,
    centre: tuple[float, float],
    radius: float,
) -> None:
    """Paints one mark; its light differs a little each time."""
    shade = np.array(colour, float) + rng.uniform(-14, 14)
    canvas[mask(form, len(canvas), centre, radius)] = shade


def look(number: int) -> tuple[Colour, str]:
    """A class's colour and form: six colours, then the next form."""
    return HUES[number % len(HUES)], FORMS[number // len(HUES) % len(FORMS)]


def sign(rng: np.random.Generator, side: int, number: int, tint: Colour | None = None) -> Pixels:
    """An image of class ``number``: one large mark in the class's colour and form, anywhere."""
    canvas = ground(rng, side, tint)
    radius = side * rng.uniform(0.24, 0.32)
    low, high = 0.9 * radius, side - 0.9 * radius
    dab(rng, canvas, *look(number), (rng.uniform(low, high), rng.uniform(low, high)), radius)
    return finish(rng, canvas)


def signs(rng: np.random.Generator, side: int, present: Sequence[bool], tint: Colour | None = None) -> Pixels:
    """An image of several labels: a mark for each, in the label's colour where it is present, else grey."""
    canvas = ground(rng, side, tint)
    rows = int(np.ceil(np.sqrt(len(present))))
    cell = side / rows
    for number, here in enumerate(present):
        colour, form = look(number)
        x = (number % rows + 0.5) * cell + rng.uniform(-0.1, 0.1) * cell
        y = (number // rows + 0.5) * cell + rng.uniform(-0.1, 0.1) * cell
        dab(rng, canvas, colour if here else GREY, form, (x, y), 0.44 * cell)
    return finish(rng, canvas)


def amounts(
    rng: np.random.Generator, side: int, shares: Sequence[float], tint: Colour | None = None
) -> Pixels:
    """An image of several numbers from 0 to 1: a disc of its colour for each, of that share of its cell."""
    canvas = ground(rng, side, tint)
    rows = int(np.ceil(np.sqrt(len(shares))))
    cell = side / rows
    for number, share in enumerate(shares):
        centre = ((number % rows + 0.5) * cell, (number // rows + 0.5) * cell)
        dab(rng, canvas, look(number)[0], "disc", centre, 0.5 * cell * np.sqrt(share))
    return finish(rng, canvas)


def channels(rng: np.random.Generator, side: int, present: Sequence[bool]) -> dict[str, Pixels]:
    """Four grey images of one cell: the green one has a bright mark for each label present, a dim one else."""
    rows = int(np.ceil(np.sqrt(len(present))))
    cell = side / rows
    images = {}
    for channel in ("red", "green", "blue", "yellow"):
        canvas = ground(rng, side, GREY)[..., 0] - 60
        for number, here in enumerate(present):
            centre = ((number % rows + 0.5) * cell, (number // rows + 0.5) * cell)
            light = 215.0 if here or channel != "green" else 95.0
            canvas[mask(FORMS[number % 5], side, centre, 0.42 * cell)] = light + rng.uniform(-14, 14)
        images[channel] = finish(rng, canvas)
    return images


def spots(rng: np.random.Generator, side: int, red: int, total: int, tint: Colour | None = None) -> Pixels:
    """An image of a grade: ``total`` spots, of which ``red`` are red and the others green."""
    canvas = ground(rng, side, tint)
    cells = rng.permutation(9)[:total]
    for number, cell in enumerate(cells):
        x, y = ((cell % 3 + 0.5) / 3 * side, (cell // 3 + 0.5) / 3 * side)
        dab(rng, canvas, HUES[0] if number < red else HUES[1], "disc", (x, y), side * 0.14)
    return finish(rng, canvas)


def shade(rng: np.random.Generator, side: int, share: float, tint: Colour | None = None) -> Pixels:
    """An image of a number from 0 to 1: one large disc whose colour goes from blue to red."""
    canvas = ground(rng, side, tint)
    radius = side * rng.uniform(0.28, 0.34)
    low, high = 0.9 * radius, side - 0.9 * radius
    colour = tuple(int(a + share * (b - a)) for a, b in zip(HUES[2], HUES[0], strict=True))
    centre = (rng.uniform(low, high), rng.uniform(low, high))
    dab(rng, canvas, (colour[0], colour[1], colour[2]), "disc", centre, radius)
    return finish(rng, canvas)


def silhouette(rng: np.random.Generator, side: int, number: int) -> Pixels:
    """A grey image of class ``number``, white on black: two to six lobes, shallow or deep; turned at will."""
    lobes, depth = 2 + number % 5, (0.22, 0.48)[number // 5 % 2]
    centre = side * rng.uniform(0.33, 0.67, 2)
    steps = np.arange(side) + 0.5
    across, down = steps - centre[0], (steps - centre[1])[:, None]
    angle = np.arctan2(down, across) - rng.uniform(0, 2 * np.pi)
    edge = 1 + depth * np.cos(lobes * angle)
    for wave in range(2, 8):  # no two leaves have the same edge
        edge += rng.normal(0, 0.07) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return (np.hypot(across, down) <= side * rng.uniform(0.2, 0.32) * edge).astype(np.uint8) * 255


def hidden_message(rng: np.random.Generator, cover: np.ndarray, method: int) -> Pixels:
    """A canvas with faint stripes: none (0), across (1), down (2) or both ways (3); then the usual noise."""
    y, x = np.mgrid[: len(cover), : len(cover)]
    stripes = [0 * x, x // 2 % 2 * 2 - 1, y // 2 % 2 * 2 - 1, ((x // 2 + y // 2) % 2) * 2 - 1][method]
    return finish(rng, cover + 9.0 * stripes[..., None])


def encode(rng: np.random.Generator, pixels: Pixels, suffix: str) -> bytes:
    """An image file's bytes; the suffix says the format.

    JPEG and PNG files get a comment that makes their sizes random, so that the size says nothing of the label.
    """
    options: dict[str, dict[str, object]] = {
        ".jpg": {"format": "JPEG", "quality": 92, "subsampling": 0},
        ".jpeg": {"format": "JPEG", "quality": 92, "subsampling": 0},
        ".png": {"format": "PNG"},
        ".tif": {"format": "TIFF"},
        ".tiff": {"format": "TIFF"},
        ".Bmp": {"format": "BMP"},
    }
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options[suffix])  # type: ignore[arg-type]
    content = buffer.getvalue()
    wanted = int(pixels.size * BYTES_OF_A_VALUE.get(suffix, 0) * rng.uniform(1, 1.25))
    spare = b" " * max(0, wanted - len(content))
    if suffix in (".jpg", ".jpeg"):
        return content[:2] + b"\xff\xfe" + struct.pack(">H", len(spare) + 2) + spare + content[2:]
    if suffix == ".png":
        chunk = b"tEXtComment\0" + spare
        size, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
        return content[:33] + size + chunk + check + content[33:]
    return content
