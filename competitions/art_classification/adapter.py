"""A sample of paintings: the facts of competition.toml read them, but a sample by facts alone has other names of files."""

from __future__ import annotations

from pathlib import Path

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def sample(raw: Path, seed: int) -> None:
    """Made-up images in the real layout: 12 a class, 30 test files without leading zeros, and the template."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)

    def image(path: Path, index: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
        pixels = (cv2.resize(pixels, (96, 96), interpolation=cv2.INTER_CUBIC) // 2).astype(np.uint8)
        centre = tuple(int(v) for v in rng.integers(30, 66, 2))
        colour = tuple(int(v) for v in np.roll([250, 120, 20], index))
        cv2.ellipse(pixels, centre, (12 + 2 * index, 28 - 2 * index), 25.0 * index, 0, 360, colour, -1)
        cv2.imwrite(str(path), pixels)

    for index, name in enumerate(CLASSES):
        for number in range(12):
            image(raw / "train" / name / f"pic_{number + 1:03}.jpg", index)
    for number in range(30):
        image(raw / "test" / "0" / f"{number + 1}.jpg", int(rng.integers(len(CLASSES))))
    rows = "".join(f"{number},0\r\n" for number in range(30))
    (raw / "test_answer_sample_.csv").write_bytes(f",answer value\r\n{rows}".encode())
