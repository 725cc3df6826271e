"""Takes the screenshots of this folder from the pages of finished runs.

    python docs/images/make.py RUN_FOLDER MANY_CLASSES_RUN_FOLDER

RUN_FOLDER is of `comp run digits`: its images come with scikit-learn, so that they may be shown here. Of the second run
(over a hundred classes) only the confusion matrix is shown, which has no image in it. Both lie in one workspace, whose runs
the page of all runs lists. The check page is of a small set that this script draws. It needs playwright (`.[dev]`)
and Chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MOST_BYTES = 400_000


def draw_leaves(folder: Path) -> None:
    """A raw folder of 48 drawn leaves in three classes, with faults: copies of training images (smaller, mirrored,
    of another quality) among the test images, a copy with another label, and one file twice."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    colours = {"healthy": (70, 150, 60), "rust": (40, 110, 190), "mildew": (150, 170, 150)}
    for name, colour in colours.items():
        (folder / "train" / name).mkdir(parents=True)
        for number in range(16):
            image = np.full((160, 160, 3), 235, np.uint8)
            image[:] = np.clip(image + rng.normal(0, 6, image.shape), 0, 255)
            axes = (int(rng.integers(30, 48)), int(rng.integers(50, 72)))
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(image, (80, 80), axes, turn, 0, 360, [c * 0.9 for c in colour], -1, cv2.LINE_AA)
            for _ in range(int(rng.integers(8, 20))):
                spot = (int(rng.integers(45, 115)), int(rng.integers(45, 115)))
                shade = rng.uniform(0.4, 1.4)
                cv2.circle(
                    image,
                    spot,
                    int(rng.integers(2, 8)),
                    [min(255, c * shade) for c in colour],
                    -1,
                    cv2.LINE_AA,
                )
            cv2.imwrite(str(folder / "train" / name / f"{number:02}.png"), image)
    (folder / "test").mkdir()
    rust = [cv2.imread(str(folder / "train" / "rust" / f"{number:02}.png")) for number in range(4)]
    cv2.imwrite(str(folder / "test" / "a.jpg"), cv2.resize(rust[0], (120, 120), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "test" / "b.png"), cv2.flip(rust[1], 1))
    cv2.imwrite(str(folder / "test" / "c.jpg"), rust[2], [cv2.IMWRITE_JPEG_QUALITY, 60])
    cv2.imwrite(str(folder / "train" / "healthy" / "16.jpg"), rust[3], [cv2.IMWRITE_JPEG_QUALITY, 80])
    shutil.copy(folder / "train" / "mildew" / "00.png", folder / "train" / "mildew" / "16.png")


def save(png: bytes, name: str) -> None:
    """Writes a screenshot with the 256 colours that suit it best, if that keeps it below 400 kB; refuses it otherwise."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(HERE / name, optimize=True)
    size = (HERE / name).stat().st_size
    print(f"{name}: {image.width} × {image.height}, {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{name} has more than {MOST_BYTES} bytes: make it smaller")


def open_page(
    browser: Any, page: Path, width: int, height: int, scheme: str = "light", scale: float = 1
) -> Any:
    """A page from disk in a window of its own."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
    )
    shown = context.new_page()
    shown.goto(page.as_uri())
    shown.wait_for_timeout(300)
    return shown


def write_page(page: Path, workspace: Path, *command: str) -> Path:
    """The page that a command writes with ``--html``; 1, by which a check says what it found, is no failure."""
    words = [
        sys.executable,
        "-m",
        "comp.cli.main",
        *command,
        "--workspace",
        str(workspace),
        "--html",
        str(page),
    ]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not page.exists():
        raise SystemExit(done.stderr)
    return page


def main(run: Path, many: Path) -> None:
    """Writes the five images."""
    from playwright.sync_api import sync_playwright

    workspace = run.resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        work = Path(folder)
        draw_leaves(work / "leaves")
        (work / "workspace").mkdir()
        report = write_page(work / "report.html", workspace, "report", run.name)
        classes = write_page(work / "many.html", workspace, "report", many.name)
        runs = write_page(work / "runs.html", workspace, "report", "--all")
        check = write_page(
            work / "check.html", work / "workspace", "check", str(work / "leaves"), "--metric", "accuracy"
        )
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        save(open_page(browser, report, 1400, 900).screenshot(), "report.png")
        save(open_page(browser, report, 390, 844, "dark", 2).screenshot(), "report-phone.png")
        save(open_page(browser, classes, 860, 900).locator("#confusions").screenshot(), "confusion.png")
        save(open_page(browser, check, 1400, 900).screenshot(), "check.png")
        save(open_page(browser, runs, 1400, 900).screenshot(), "runs.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
