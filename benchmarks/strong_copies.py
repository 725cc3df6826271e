"""Strong changes of an image, which the closer look (`comp check --thorough`) is for: each kind a name and a function.

`STRONG` are promised in part, by the recall that docs/near-duplicates.md gives; `BEYOND` and `MIXED`, whose names stand
in brackets, are measured and not promised. Images are uint8 BGR (H, W, 3), as OpenCV reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
from image_changes import Change, Image, clipped, cropped, encoded, grey

Mix = Callable[[Image, Image, np.random.Generator], Image]


def sign(rng: np.random.Generator) -> int:
    return 1 if rng.integers(2) else -1


def mirrored(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def rotated(image: Image, degrees: float, border: int = cv2.BORDER_CONSTANT, *, whole: bool = False) -> Image:
    """Turned about its middle; `whole` makes the image so large that no corner is lost."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    size = (width, height)
    if whole:
        along, across = abs(turn[0, 0]), abs(turn[0, 1])
        size = (int(height * across + width * along), int(height * along + width * across))
        turn[:, 2] += (size[0] / 2 - width / 2, size[1] / 2 - height / 2)
    return cv2.warpAffine(image, turn, size, borderMode=border)


def random_crop(image: Image, rng: np.random.Generator, least: float, most: float = 1.0) -> Image:
    """A part with that share of the area and sides of 3:4 to 4:3, resized to 224 x 224."""
    height, width = image.shape[:2]
    area = rng.uniform(least, most) * height * width
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    wide, high = min(width, round((area * ratio) ** 0.5)), min(height, round((area / ratio) ** 0.5))
    left, top = rng.integers(0, width - wide + 1), rng.integers(0, height - high + 1)
    return cv2.resize(image[top : top + high, left : left + wide], (224, 224))


def rectangle(image: Image, rng: np.random.Generator, share: float) -> tuple[slice, slice]:
    """Somewhere in the image, a rectangle with that share of its area."""
    height, width = image.shape[:2]
    high = min(height - 2, int((share * height * width * rng.uniform(0.6, 1.6)) ** 0.5))
    wide = min(width - 2, int(share * height * width / max(high, 1)))
    top, left = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
    return slice(top, top + high), slice(left, left + wide)


def erased(image: Image, rng: np.random.Generator, share: float, level: int | None) -> Image:
    """Without a rectangle: filled with one grey `level`, or with noise where that is None."""
    where = rectangle(image, rng, share)
    result = image.copy()
    part = result[where]
    result[where] = rng.integers(0, 256, part.shape) if level is None else level
    return result


def on_canvas(image: Image, rng: np.random.Generator, factor: float) -> Image:
    """Somewhere on a black, white or grey ground whose sides are `factor` times as long."""
    height, width = image.shape[:2]
    result = np.full((int(height * factor), int(width * factor), 3), (0, 255, 128)[rng.integers(3)], np.uint8)
    top, left = rng.integers(0, result.shape[0] - height + 1), rng.integers(0, result.shape[1] - width + 1)
    result[top : top + height, left : left + width] = image
    return result


def shifted(image: Image, rng: np.random.Generator, share: float, border: int = cv2.BORDER_CONSTANT) -> Image:
    height, width = image.shape[:2]
    move = np.array([[1, 0, share * width * sign(rng)], [0, 1, share * height * sign(rng)]], np.float32)
    return cv2.warpAffine(image, move, (width, height), borderMode=border)


def sheared(image: Image, rng: np.random.Generator, degrees: float) -> Image:
    height, width = image.shape[:2]
    slope = np.tan(np.radians(degrees)) * sign(rng)
    across = np.array([[1, slope, -slope * height / 2], [0, 1, 0]], np.float32)
    down = np.array([[1, 0, 0], [slope, 1, -slope * width / 2]], np.float32)
    return cv2.warpAffine(image, across if rng.integers(2) else down, (width, height))


def in_perspective(image: Image, rng: np.random.Generator, share: float) -> Image:
    """Each corner is taken from up to that share of a side further inside."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inwards = 1 - 2 * corners
    size = np.array([width, height], np.float32)
    source = ((corners + rng.uniform(0, share, (4, 2)) * inwards) * size).astype(np.float32)
    return cv2.warpPerspective(image, cv2.getPerspectiveTransform(source, corners * size), (width, height))


def random_grid(image: Image, rng: np.random.Generator, cells: int, share: float) -> Image:
    """As Augmentor's `random_distortion`: the inner knots of a grid each move by up to that share of the longer side."""
    height, width = image.shape[:2]
    knots = np.zeros((cells + 1, cells + 1, 2), np.float32)
    reach = share * max(height, width)
    knots[1:-1, 1:-1] = rng.uniform(-reach, reach, (cells - 1, cells - 1, 2))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(knots, x * cells / (width - 1), y * cells / (height - 1), cv2.INTER_LINEAR)
    return cv2.remap(image, x + moved[..., 0], y + moved[..., 1], cv2.INTER_LINEAR)


def hue_turned(image: Image, degrees: float, saturation: float = 1.0, value: float = 1.0) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + degrees / 2) % 180
    hsv[..., 1:] = np.clip(hsv[..., 1:] * (saturation, value), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)


def solarised(image: Image) -> Image:
    return np.where(image < 128, image, 255 - image).astype(np.uint8)


def posterised(image: Image) -> Image:
    return (image >> 6 << 6) + 32


def equalised(image: Image) -> Image:
    return np.stack([cv2.equalizeHist(np.ascontiguousarray(image[:, :, k])) for k in range(3)], axis=2)


def channels_swapped(image: Image, rng: np.random.Generator) -> Image:
    orders = ([2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1])
    return np.ascontiguousarray(image[:, :, orders[rng.integers(5)]])


def jittered(image: Image, rng: np.random.Generator, share: float, hue: float) -> Image:
    """As torchvision's ColorJitter: brightness, contrast and saturation by that share, hue by degrees."""
    image = hue_turned(image, rng.uniform(-hue, hue), rng.uniform(1 - share, 1 + share))
    level = rng.uniform(1 - share, 1 + share) * image.astype(np.float32)
    return clipped((level - level.mean()) * rng.uniform(1 - share, 1 + share) + level.mean())


def by_albumentations(make: Callable[[], Any]) -> Change:
    def change(image: Image, rng: np.random.Generator) -> Image:
        composed = A.Compose([make()], seed=int(rng.integers(1 << 31)))
        return np.ascontiguousarray(
            composed(image=np.ascontiguousarray(image[:, :, ::-1]))["image"][:, :, ::-1]
        )

    return change


def blended(image: Image, other: Image, share: float) -> Image:
    """`share` of the image, the rest of the other one laid over it."""
    resized = cv2.resize(other, (image.shape[1], image.shape[0]))
    return clipped(image * share + resized * (1 - share))


def patched(image: Image, other: Image, rng: np.random.Generator, share: float) -> Image:
    """A rectangle of that share of the area shows the same place of the other image (CutMix)."""
    where = rectangle(image, rng, share)
    result = image.copy()
    result[where] = cv2.resize(other, (image.shape[1], image.shape[0]))[where]
    return result


GEOMETRIC: Final[dict[str, Change]] = {
    "turned 15 degrees": lambda i, r: rotated(i, 15 * sign(r)),
    "turned 45 degrees": lambda i, r: rotated(i, 45 * sign(r)),
    "turned by any angle, edge mirrored": lambda i, r: rotated(i, r.uniform(10, 350), cv2.BORDER_REFLECT_101),
    "turned by any angle, nothing cut": lambda i, r: rotated(i, r.uniform(10, 350), whole=True),
    "sheared 15 degrees": lambda i, r: sheared(i, r, 15),
    "perspective 10 %": lambda i, r: in_perspective(i, r, 0.1),
    "perspective 20 %": lambda i, r: in_perspective(i, r, 0.2),
    "central half": lambda i, r: cropped(i, 0.25, 0.25, 0.25, 0.25),
    "crop 15 % every side": lambda i, r: cropped(i, 0.15, 0.15, 0.15, 0.15),
    "crop 30 % one side": lambda i, r: cropped(i, *(np.eye(4)[r.integers(4)] * 0.3)),
    "random crop of 25 to 100 %": lambda i, r: random_crop(i, r, 0.25),
    "zoomed in by 1.5": lambda i, r: cv2.resize(cropped(i, *(1 / 6,) * 4), i.shape[1::-1]),
    "shifted 15 %, edge mirrored": lambda i, r: shifted(i, r, 0.15, cv2.BORDER_REFLECT_101),
    "shifted 25 %": lambda i, r: shifted(i, r, 0.25),
    "canvas 1.5 times as large": lambda i, r: on_canvas(i, r, 1.5),
    "canvas twice as large": lambda i, r: on_canvas(i, r, 2),
    "scaled, shifted and turned up to 45": by_albumentations(
        lambda: A.Affine(scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), rotate=(-45, 45), p=1)
    ),
    "elastic": by_albumentations(lambda: A.ElasticTransform(alpha=120, sigma=10, p=1)),
    "grid distortion": by_albumentations(
        lambda: A.GridDistortion(num_steps=5, distort_limit=(-0.3, 0.3), p=1)
    ),
    "random distortion (Augmentor)": lambda i, r: random_grid(i, r, 4, 8 / 227),
    "optical distortion": by_albumentations(lambda: A.OpticalDistortion(distort_limit=(-0.5, 0.5), p=1)),
}
COLOUR: Final[dict[str, Change]] = {
    "negative": lambda i, r: 255 - i,
    "solarised": lambda i, r: solarised(i),
    "equalised": lambda i, r: equalised(i),
    "posterised to 2 bits": lambda i, r: posterised(i),
    "channels swapped": channels_swapped,
    "hue turned 90 degrees": lambda i, r: hue_turned(i, 90),
    "hue turned by any angle": lambda i, r: hue_turned(i, r.uniform(45, 315)),
    "gamma 0.4 or 2.5": lambda i, r: clipped(255 * (i / 255.0) ** r.choice([0.4, 2.5])),
    "colour jitter, strong": lambda i, r: jittered(i, r, 0.8, 72),
    "clahe": by_albumentations(lambda: A.CLAHE(p=1)),
}
SPOILED: Final[dict[str, Change]] = {
    "noise, sd 50": lambda i, r: clipped(i + r.normal(0, 50, i.shape)),
    "motion blur": by_albumentations(lambda: A.MotionBlur(blur_limit=(7, 11), p=1)),
    "erased 30 %, grey": lambda i, r: erased(i, r, 0.3, 128),
    "erased 30 %, noise": lambda i, r: erased(i, r, 0.3, None),
    "coarse dropout": by_albumentations(
        lambda: A.CoarseDropout(
            num_holes_range=(4, 8), hole_height_range=(0.1, 0.25), hole_width_range=(0.1, 0.25), p=1
        )
    ),
    "fog": by_albumentations(lambda: A.RandomFog(p=1)),
    "rain": by_albumentations(lambda: A.RandomRain(p=1)),
    "sun flare": by_albumentations(lambda: A.RandomSunFlare(p=1)),
    "shadow": by_albumentations(lambda: A.RandomShadow(p=1)),
}


def any_two(image: Image, rng: np.random.Generator) -> Image:
    """One geometric change and one of colours, drawn at random."""
    for changes in (list(GEOMETRIC.values()), list(COLOUR.values())):
        image = np.ascontiguousarray(changes[rng.integers(len(changes))](image, rng))
    return image


TOGETHER: Final[dict[str, Change]] = {
    "quarter turn + crop 15 + JPEG 30": lambda i, r: encoded(cropped(np.rot90(i), *(0.15,) * 4), ".jpg", 30),
    "mirrored + turned 30": lambda i, r: rotated(mirrored(i), 30 * sign(r)),
    "negative + central half": lambda i, r: cropped(255 - i, 0.25, 0.25, 0.25, 0.25),
    "negative + mirrored + turned": lambda i, r: rotated(255 - mirrored(i), r.uniform(10, 350)),
    "hue + perspective": lambda i, r: hue_turned(in_perspective(i, r, 0.1), 90),
    "erased 30 % + turned 15": lambda i, r: rotated(erased(i, r, 0.3, 0), 15),
    "canvas + mirrored": lambda i, r: on_canvas(mirrored(i), r, 2),
    "random crop + mirrored + jitter": lambda i, r: jittered(mirrored(random_crop(i, r, 0.35)), r, 0.4, 36),
    "grey + turned 45 + half size": lambda i, r: cv2.resize(
        rotated(grey(i), 45), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "solarised + sheared 15": lambda i, r: sheared(solarised(i), r, 15),
    "posterised + turned 15": lambda i, r: rotated(posterised(i), 15),
    "any geometric one + any of colour": any_two,
}
STRONG: Final[dict[str, Change]] = GEOMETRIC | COLOUR | SPOILED | TOGETHER
BEYOND: Final[dict[str, Change]] = {
    "(one bit)": lambda i, r: np.where(i >= 128, 255, 0).astype(np.uint8),
    "(grid dropout)": by_albumentations(lambda: A.GridDropout(ratio=0.5, p=1)),
}
PATCHED: Final[dict[str, Mix]] = {"30 % of another image": lambda i, o, r: patched(i, o, r, 0.3)}
MIXED: Final[dict[str, Mix]] = {
    "(mix, 70 % of it)": lambda i, o, r: blended(i, o, 0.7),
    "(mix, 50 % of it)": lambda i, o, r: blended(i, o, 0.5),
}
