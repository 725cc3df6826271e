"""Contact sheets and range tests: images that can be looked at, and nothing written on bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.pipelines.contact_sheet import MARGIN, SMALLEST, TITLE, VARIANTS
from made import run_comp


def test_a_sheet_shows_validation_variants_and_mixing(tmp_path: Path) -> None:
    ran = run_comp(tmp_path, "show", "digits", "--transforms", "--rows", "4", "--json")
    assert ran.code == 0, ran.err
    sheet = cv2.imread(ran.json["transforms"])
    assert sheet.shape[0] == 2 * TITLE + 4 * (SMALLEST + MARGIN)
    mixed = run_comp(
        tmp_path, "show", "digits", "--transforms", "--rows", "4", "--json", "--set", "regularize.cutmix=1.0"
    )
    wider = cv2.imread(mixed.json["transforms"])
    assert wider.shape[1] == sheet.shape[1] + SMALLEST + MARGIN
    left = sheet.shape[1] - (VARIANTS + 1) * (SMALLEST + MARGIN)
    cells = [
        sheet[2 * TITLE : 2 * TITLE + SMALLEST, left + n * (SMALLEST + MARGIN) :][:, :SMALLEST]
        for n in range(VARIANTS + 1)
    ]
    assert len({cell.tobytes() for cell in cells}) > VARIANTS // 2, "variants differ"
    assert all(np.ptp(cell) > 50 for cell in cells), "and show something"


@pytest.mark.parametrize(("name", "columns"), [("ten-crops", 10), ("scales", 6), ("vflip", 1)])
def test_a_sheet_shows_the_views_of_a_set(tmp_path: Path, name: str, columns: int) -> None:
    ran = run_comp(tmp_path, "show", "digits", "--views", name, "--rows", "3", "--json")
    assert ran.code == 0, ran.err
    sheet = cv2.imread(ran.json["views"])
    cell = (sheet.shape[0] - 2 * TITLE) // 3 - MARGIN
    left = sheet.shape[1] - columns * (cell + MARGIN)
    assert 0 < left < cell
    cells = [
        sheet[2 * TITLE : 2 * TITLE + cell, left + n * (cell + MARGIN) :][:, :cell] for n in range(columns)
    ]
    assert len({cell.tobytes() for cell in cells}) == columns
    assert all(np.ptp(cell) > 50 for cell in cells)


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "digits", "--transforms", "--rows", "0"),
        ("show", "digits", "--transforms", "--set", "transform=heavyy"),
        ("show", "digits", "--set", "transform=heavy"),
        ("show", "digits", "--views", "d5"),
        ("show", "digits", "--views", "auto"),
        ("show", "digits", "--views", "d4", "--transforms"),
        ("lr", "digits", "--from", "1", "--to", "0.1"),
        ("lr", "digits", "--steps", "3"),
        ("lr", "digits", "--set", "mode=probe"),
    ],
)
def test_bad_input_writes_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = run_comp(tmp_path, *arguments)
    assert ran.code == 2, ran.err
    assert not list(tmp_path.glob("*.png"))
    assert not list(tmp_path.glob("*.csv"))


def test_a_range_test_finds_a_rate_that_learns(tmp_path: Path) -> None:
    ran = run_comp(tmp_path, "lr", "digits", "--steps", "60", "--from", "1e-5", "--json", "--set", "batch=32")
    assert ran.code == 0, ran.err
    assert 1e-4 < ran.json["suggestion"] < 0.2
    assert cv2.imread(ran.json["plot"]).shape[1] > 500
    rows = list(csv.DictReader(Path(ran.json["table"]).read_text().splitlines()))
    rates = [float(row["lr"]) for row in rows]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-5)
    smooth = [float(row["smooth"]) for row in rows]
    assert min(smooth) < smooth[0] - 0.3
    assert not (tmp_path / "runs").exists()
