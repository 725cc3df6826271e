"""Changes of an image that a copy may have gone through, and that the plain near-duplicate search promises to find."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


def encoded(image: Image, suffix: str, quality: int = 0) -> Image:
    flag = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}.get(suffix)
    good, code = cv2.imencode(suffix, image, [flag, quality] if flag is not None else [])
    assert good
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


def clipped(values: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def resized(image: Image, factor: float, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    how = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    return cv2.resize(
        image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=how
    )


def cropped(image: Image, left: float, top: float, right: float, bottom: float) -> Image:
    height, width = image.shape[:2]
    return image[
        int(height * top) : height - int(height * bottom), int(width * left) : width - int(width * right)
    ]


def any_crop(image: Image, rng: np.random.Generator, most: float) -> Image:
    return cropped(image, *rng.uniform(0, most, 4))


def one_side(image: Image, rng: np.random.Generator, share: float) -> Image:
    return cropped(image, *(np.eye(4)[rng.integers(4)] * share))


def turned(image: Image, rng: np.random.Generator) -> Image:
    image = np.rot90(image, rng.integers(4))
    return image[:, ::-1] if rng.integers(2) else image


def blurred(image: Image, pixels: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), max(0.3, pixels * max(image.shape[:2]) / 227))


def grey(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def bordered(image: Image, share: float, colour: NDArray[np.integer]) -> Image:
    wide = max(1, round(share * max(image.shape[:2])))
    return cv2.copyMakeBorder(
        image, wide, wide, wide, wide, cv2.BORDER_CONSTANT, value=[int(c) for c in colour]
    )


def captioned(image: Image, rng: np.random.Generator, size: float = 1.0) -> Image:
    height, width = image.shape[:2]
    scale = width / 400 * size * rng.uniform(0.8, 1.5)
    at = (int(rng.uniform(0, 0.4) * width), int(rng.uniform(0.2, 0.95) * height))
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    return cv2.putText(
        np.ascontiguousarray(image).copy(),
        "sample 2024",
        at,
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        colour,
        max(1, round(scale * 2)),
    )


def recoloured(image: Image, rng: np.random.Generator) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-5, 5)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.5), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)


def tilted(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.08)
    return cv2.warpAffine(image, turn, (width, height))


BLACK, WHITE = np.zeros(3, np.int64), np.full(3, 255)
PROMISED: dict[str, Change] = {
    "JPEG 30": lambda i, r: encoded(i, ".jpg", 30),
    "JPEG 60": lambda i, r: encoded(i, ".jpg", 60),
    "JPEG 95": lambda i, r: encoded(i, ".jpg", 95),
    "PNG": lambda i, r: encoded(i, ".png"),
    "WebP 30": lambda i, r: encoded(i, ".webp", 30),
    "WebP 80": lambda i, r: encoded(i, ".webp", 80),
    "resize 0.25": lambda i, r: resized(i, 0.25, r),
    "resize 0.5": lambda i, r: resized(i, 0.5, r),
    "resize 1.5": lambda i, r: resized(i, 1.5, r),
    "resize 2": lambda i, r: resized(i, 2.0, r),
    "mirror": lambda i, r: i[:, ::-1],
    "upside down": lambda i, r: i[::-1],
    "quarter turns": lambda i, r: np.rot90(i, r.integers(1, 4)),
    "crop 5 % one side": lambda i, r: one_side(i, r, 0.05),
    "crop 10 % one side": lambda i, r: one_side(i, r, 0.1),
    "crop 10 % two sides": lambda i, r: cropped(i, 0.1, 0.1, 0, 0),
    "crop 5 % every side": lambda i, r: cropped(i, 0.05, 0.05, 0.05, 0.05),
    "crop 10 % every side": lambda i, r: cropped(i, 0.1, 0.1, 0.1, 0.1),
    "crop 0-10 % each side": lambda i, r: any_crop(i, r, 0.1),
    "brightness x1.25": lambda i, r: clipped(i * 1.25),
    "brightness x0.75": lambda i, r: clipped(i * 0.75),
    "brightness +64": lambda i, r: clipped(i + 64.0),
    "brightness -64": lambda i, r: clipped(i - 64.0),
    "contrast +25 %": lambda i, r: clipped((i - 128.0) * 1.25 + 128),
    "contrast -25 %": lambda i, r: clipped((i - 128.0) * 0.75 + 128),
    "blur 1 px of 227": lambda i, r: blurred(i, 1),
    "blur 2 px of 227": lambda i, r: blurred(i, 2),
    "greyscale": lambda i, r: grey(i),
    "border 3 % black": lambda i, r: bordered(i, 0.03, BLACK),
    "border 5 % white": lambda i, r: bordered(i, 0.05, WHITE),
    "border 5 % colour": lambda i, r: bordered(i, 0.05, r.integers(0, 256, 3)),
    "text": lambda i, r: captioned(i, r),
    "text, large": lambda i, r: captioned(i, r, 2),
    "colour": recoloured,
    "turn + JPEG 50": lambda i, r: encoded(turned(i, r), ".jpg", 50),
    "turn + crop 5 + JPEG 60": lambda i, r: encoded(any_crop(turned(i, r), r, 0.05), ".jpg", 60),
    "turn + crop 10 + JPEG 60": lambda i, r: encoded(any_crop(turned(i, r), r, 0.1), ".jpg", 60),
    "turn + resize 0.5": lambda i, r: resized(turned(i, r), 0.5, r),
    "grey + crop 5 + brightness": lambda i, r: clipped(grey(any_crop(i, r, 0.05)) * r.uniform(0.75, 1.25)),
    "crop 5 + resize 0.5 + blur": lambda i, r: blurred(resized(any_crop(i, r, 0.05), 0.5, r), 1),
    "turn + text + JPEG 60": lambda i, r: encoded(captioned(turned(i, r), r), ".jpg", 60),
    "border 3 + brightness + JPEG 60": lambda i, r: encoded(
        clipped(bordered(i, 0.03, BLACK) * 1.15), ".jpg", 60
    ),
}
BEYOND: dict[str, Change] = {
    "(crop 13 % every side)": lambda i, r: cropped(i, 0.13, 0.13, 0.13, 0.13),
    "(crop 20 % one side)": lambda i, r: one_side(i, r, 0.2),
    "(border 10 % black)": lambda i, r: bordered(i, 0.1, BLACK),
    "(tilt 3 degrees)": lambda i, r: tilted(i, r.choice([-3.0, 3.0])),
    "(noise, sd 25)": lambda i, r: clipped(i + r.normal(0, 25, i.shape)),
    "(JPEG 10)": lambda i, r: encoded(i, ".jpg", 10),
    "(blur 4 px of 227)": lambda i, r: blurred(i, 4),
    "(brightness x1.5)": lambda i, r: clipped(i * 1.5),
}
