"""Sheets of images for the page of a run: what its network saw in training and validation, and where it looked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.data.images.decode import preview
from comp.data.images.pixel_cache import ImageDataset
from comp.pipelines.contact_sheet import Column, Shown, picked, sheet, training_columns
from comp.recipe import Recipe
from comp.report.run_report.mistakes import worst_rows
from comp.runs.progress import model_folder
from comp.runs.run import Run
from comp.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from comp.report.run_report.run_data import RunData

ROWS, EPOCHS, CELL = 8, 4, 112
MOST_LOOKED = 12

Mosaic = tuple[str, str, bytes]


def training_mosaic(recipe: Recipe, workspace: Workspace, train: pd.DataFrame, data: RunData) -> Mosaic:
    """Images of each class as validation reads them, with the answer to them, beside what some epochs of training read."""
    from comp.pipelines.contact_sheet import preprocess_of

    answer = dict(zip(data.oof.ids, data.oof.answer_names, strict=True))
    table = picked(train[train["id"].isin(answer)], ROWS)
    shown = Shown(workspace, recipe, preprocess_of(recipe, workspace), table, data.source)
    columns = training_columns(shown, 0 if recipe.mode == "probe" else EPOCHS)
    rows = zip(table["id"], table["label"], strict=True)
    words = [f"{label}: {'right' if answer[i] == label else 'answered ' + answer[i]}" for i, label in rows]
    told = "each row an image: as validation reads it, then as epochs of training did"
    if recipe.mode == "probe":
        told = "images as the network reads them; a probe trains on these alone"
    return "Training and validation", told, _jpeg(columns, words)


def attention_mosaic(run: Run, data: RunData, recipe: Recipe) -> list[Mosaic]:
    """Where the network of their own fold looked, for the worst mistakes; empty for a network without feature maps, of
    several models the first.
    """
    from comp.inference.grad_cam import grad_cam
    from comp.models.checkpoint import load_checkpoint

    if not data.labels.task.is_single_label:
        return []
    model = model_folder(run.folder, 0, len(recipe.each))
    images: list[NDArray[np.uint8]] = []
    heats: list[list[NDArray[np.uint8]]] = [[], []]
    words: list[str] = []
    load = lru_cache(load_checkpoint)
    for one in worst_rows(data, MOST_LOOKED):
        net, sidecar = load(model / f"fold-{one.fold}")
        pixels = ImageDataset(data.source, [one.path], sidecar.preprocess)[0][None]
        shown = preview(pixels[0])
        columns = [int(data.oof.answered[one.place]), int(data.oof.truth[one.place])]
        for n, column in enumerate(columns):
            heat = grad_cam(net, sidecar.preprocess, pixels, np.array([column]))
            if heat is None:
                return []
            heats[n].append(_over(shown, heat[0]))
        images.append(shown)
        words.append(f"{one.label}, answered {one.answer}")
    if not images:
        return []
    titled: list[Column] = [("image", images), ("for answer", heats[0]), ("for label", heats[1])]
    told = "red parts spoke most for the answer that was given, and for the label (Grad-CAM)"
    return [("Where the network looked", told, _jpeg(titled, words))]


def _over(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Heat (S, S) of 0 to 1 in colours over an image (S, S, 3)."""
    colours = cv2.cvtColor(
        cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB
    )
    return np.asarray(cv2.addWeighted(pixels, 0.55, colours, 0.45, 0), dtype=np.uint8)


def _jpeg(columns: list[Column], words: list[str]) -> bytes:
    drawn = sheet(columns, words, "", CELL)
    return cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])[
        1
    ].tobytes()
