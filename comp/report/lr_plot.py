"""The plot of a learning-rate range test, as a PNG."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 60
INK, GREY, LIGHT, BLUE, RED = (40, 40, 40), (150, 150, 150), (230, 230, 230), (190, 90, 20), (40, 40, 200)
GREEN = (60, 140, 20)


def lr_plot(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smooth: NDArray[np.float64],
    marks: dict[str, float],
    title: str,
    suggestion: float | None = None,
) -> bytes:
    """The loss over the logarithm of the rate: each step (S,) in grey, smoothed in blue, ``marks`` as thin lines, the
    ``suggestion`` as a thick one with a dot on the smoothed loss and its rate in a box. A PNG.
    """
    sheet = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    low, high = math.log10(rates[0]), math.log10(max(rates[-1], rates[0] * 10))
    bottom = float(min(smooth.min(), losses.min()))
    top = float(min(np.percentile(losses, 97), smooth[0] * 3 + 0.1))
    top = max(top, bottom + 1e-3)

    def x(rate: float) -> int:
        return round(LEFT + (math.log10(rate) - low) / (high - low) * (WIDTH - LEFT - RIGHT))

    def y(loss: float) -> int:
        along = (min(loss, top) - bottom) / (top - bottom)
        return round(HEIGHT - BOTTOM - along * (HEIGHT - TOP - BOTTOM))

    for decade in range(math.ceil(low), math.floor(high) + 1):
        cv2.line(sheet, (x(10.0**decade), TOP), (x(10.0**decade), HEIGHT - BOTTOM), LIGHT, 1)
        _write(sheet, f"1e{decade}", x(10.0**decade) - 14, HEIGHT - BOTTOM + 20)
    for n in range(6):
        loss = bottom + (top - bottom) * n / 5
        cv2.line(sheet, (LEFT, y(loss)), (WIDTH - RIGHT, y(loss)), LIGHT, 1)
        _write(sheet, f"{loss:.2f}", 12, y(loss) + 5)
    for values, colour, thick in ((losses, GREY, 1), (smooth, BLUE, 2)):
        points = np.array([[x(r), y(v)] for r, v in zip(rates, values, strict=True)], np.int32)
        cv2.polylines(sheet, [points], False, colour, thick, cv2.LINE_AA)
    for n, (name, rate) in enumerate(marks.items()):
        if rates[0] <= rate <= 10**high:
            cv2.line(sheet, (x(rate), TOP), (x(rate), HEIGHT - BOTTOM), RED, 1, cv2.LINE_AA)
            _write(sheet, f"{name} {rate:.1e}", min(x(rate) + 5, WIDTH - 190), TOP + 16 + 18 * n, RED)
    if suggestion is not None and rates[0] <= suggestion <= 10**high:
        at = (x(suggestion), y(float(np.interp(math.log(suggestion), np.log(rates), smooth))))
        cv2.line(sheet, (at[0], TOP), (at[0], HEIGHT - BOTTOM), GREEN, 3, cv2.LINE_AA)
        cv2.circle(sheet, at, 9, GREEN, -1, cv2.LINE_AA)
        cv2.circle(sheet, at, 9, (255, 255, 255), 2, cv2.LINE_AA)
        _boxed(sheet, f"suggested {suggestion:.1e}", at[0], HEIGHT - BOTTOM - 14)
    _write(sheet, title, LEFT, 24)
    _write(sheet, "learning rate", WIDTH // 2 - 45, HEIGHT - 14)
    return cv2.imencode(".png", sheet)[1].tobytes()


def _write(sheet: NDArray[np.uint8], text: str, x: int, y: int, colour: tuple[int, int, int] = INK) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def _boxed(sheet: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """A text in white on green beside ``x``, within the sheet."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
    left = x + 8 if x + 24 + width < WIDTH - RIGHT else x - 24 - width
    cv2.rectangle(sheet, (left, y - height - 8), (left + width + 16, y + 8), GREEN, -1)
    cv2.putText(sheet, text, (left + 8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
