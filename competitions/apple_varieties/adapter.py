"""A sample of apples: the facts of competition.toml read them, but a sample by facts alone has classes of equal size."""

from __future__ import annotations

from pathlib import Path


def sample(raw: Path, seed: int) -> None:
    """Made-up apples in the real layout: four codes, as unequal as the real ones, 30 to predict."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    counts = {"HJ": 40, "HR": 24, "SG": 12, "AR": 10}
    colours = {"HJ": (40, 40, 220), "HR": (60, 150, 200), "SG": (60, 200, 90), "AR": (30, 60, 120)}
    names = iter(
        ["".join(rng.choice(list("abcdefghjkmnpqrstuvwxyzABCDEFGH23456789"), 10)) for _ in range(400)]
    )

    def image(folder: str, code: str) -> str:
        name = f"{next(names)}.jpg"
        pixels = rng.integers(110, 256, (8, 8, 3)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
        centre = tuple(int(v) for v in rng.integers(50, 78, 2))
        radii = (int(rng.integers(30, 42)), int(rng.integers(28, 40)))
        colour = tuple(int(v) for v in np.clip(np.array(colours[code]) + rng.integers(-15, 16, 3), 0, 255))
        cv2.ellipse(pixels, centre, radii, float(rng.integers(0, 180)), 0, 360, colour, -1)
        (raw / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(raw / folder / name), pixels)
        return name

    rows = [(image("train", code), code) for code, n in counts.items() for _ in range(n)]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    tests = [image("test", str(rng.choice(list(counts)))) for _ in range(30)]
    (raw / "train.csv").write_text("img_id,a_type\n" + "".join(f"{name},{code}\n" for name, code in rows))
    (raw / "test.csv").write_text("img_id\n" + "".join(f"{name}\n" for name in tests))
    (raw / "sample_submission.csv").write_text("img_id,a_type\n" + "".join(f"{name},AR\n" for name in tests))
