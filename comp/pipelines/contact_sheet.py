"""Contact sheets: what the network will see in training, or under the views of a set, beside what validation sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.competitions.competition import find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.images.decode import preview
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Preprocess
from comp.data.images.source import ImageSource
from comp.errors import InputError, UnknownName, WeightsError
from comp.files import make_folder, require_output, write_bytes
from comp.pipelines.request import load_recipe, recipe_file
from comp.recipe import Recipe
from comp.views import ALIASES, VIEW_SETS, VIEWS, require_views, views_named
from comp.workspace import Workspace

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
Column = tuple[str, list[Pixels]]
VARIANTS = 7
SMALLEST, MARGIN, TITLE = 112, 6, 22


def contact_sheet(
    slug: str,
    *,
    views: str | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    rows: int = 8,
    out: str | Path | None = None,
) -> Path:
    """Draws images of each class as validation sees them, and as seven epochs of training in fold 0 would; the last
    column shows mixing and erasing, where the recipe has any. With ``views``, the name of a set or of one view: as the
    network reads them under these.

    Returns the PNG that was written, by default ``<workspace>/<slug>-transforms.png`` or ``-views.png``.

    Raises
    ------
    CompError
        For a mistake in the recipe, missing data, an image that cannot be read, or a set that does not exist.
    """
    names = () if views is None else _view_names(views)
    out = require_output(out)
    shown = _shown(slug, workspace, data, recipe, overrides, rows)
    if views is None:
        title = f"transform: {_name(shown.recipe)}"
        kind, columns = "transforms", training_columns(shown)
    else:
        kind, columns, title = "views", _view_columns(shown, names), f"views: {views}"
    target = out or shown.place.root / f"{slug}-{kind}.png"
    make_folder(target.parent)
    write_bytes(target, _png(columns, list(shown.table["label"]), title))
    return target


def _view_names(views: str) -> Sequence[str]:
    """The views of a set, or one view; UnknownName for what is neither."""
    known = views_named(views)
    if views not in VIEW_SETS and known[0] not in (*VIEWS, *ALIASES):
        raise UnknownName("set of views", views, [*VIEW_SETS, *VIEWS, *ALIASES], "docs/views.md shows them")
    return require_views(known)


def training_columns(shown: Shown, epochs: int = VARIANTS) -> list[Column]:
    """Validation, so many epochs, and mixing where the recipe has any; without epochs validation alone."""
    from comp.data.augment.policies import TrainTransform
    from comp.data.loading.train_loader import Augmenter

    wanted, preprocess, table = shown.recipe, shown.preprocess, shown.table
    paths = list(table["path"])
    plain = ImageDataset(shown.source, paths, preprocess)
    columns = [("validation", [plain[n] for n in range(len(paths))])]
    if not epochs:
        return columns
    transform = TrainTransform(wanted.transform, preprocess)
    variants = Augmenter(transform, wanted.seed, 0, _kind_of_device(wanted))
    roomy = ImageDataset(shown.source, paths, preprocess, transform.extent)
    for epoch in range(epochs):
        seen = [variants.one(roomy[n], int(row), epoch) for n, row in enumerate(table["row"])]
        columns.append((f"epoch {epoch + 1}", seen))
    if mixed := _mixed(wanted, preprocess, columns[1][1], list(table["label"])):
        columns.append(("mixed", mixed))
    return columns


def _view_columns(shown: Shown, names: Sequence[str]) -> list[Column]:
    """Each view as the network reads it."""
    import torch

    from comp.inference.forward import squares_of, view
    from comp.views import OWN, WIDE, square_of

    squares = squares_of(names, shown.preprocess)
    pixels = ImageDataset(shown.source, list(shown.table["path"]), shown.preprocess)
    fitted = [pixels.squares(n, list(squares.values())) for n in range(len(pixels))]
    stacks = {
        square: torch.from_numpy(np.stack(every)).permute(0, 3, 1, 2).float()
        for square, every in zip(squares, zip(*fitted, strict=True), strict=True)
    }
    columns = []
    for name in names:
        seen = view(name, stacks[square_of(name)], shown.preprocess.size).permute(0, 2, 3, 1)
        title = name if square_of(name) in (OWN, WIDE) else f"{name} ({squares[square_of(name)].size})"
        columns.append((title, _as_pixels(seen)))
    return columns


def _as_pixels(seen: torch.Tensor) -> list[Pixels]:
    """Values (N, S, S, 3) of 0 to 255, rounded."""
    import torch

    return list(seen.round().clamp(0, 255).to(torch.uint8).numpy())


@dataclass(frozen=True)
class Shown:
    """The images of a sheet: of which rows, and how a recipe's network reads them."""

    place: Workspace
    recipe: Recipe
    preprocess: Preprocess
    table: pd.DataFrame
    source: ImageSource


def _shown(
    slug: str,
    workspace: str | Path | None,
    data: str | Path | None,
    recipe: str | Path | None,
    overrides: Sequence[str],
    rows: int,
) -> Shown:
    if not 1 <= rows <= 200:
        raise InputError("`rows` is 1 to 200", str(rows), "for example `rows=8`")
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    path = recipe_file(competition, recipe)
    wanted = load_recipe(competition, path, bool(recipe), overrides, None, False).each[0]
    competition.require_layout(raw)
    table = picked(competition.read(raw).train, rows)
    preprocess = preprocess_of(wanted, ws, competition.channels)
    return Shown(ws, wanted, preprocess, table, competition.source(raw))


def _kind_of_device(recipe: Recipe) -> str:
    """Of the device that would train, as far as pixels depend on it."""
    import torch

    return "cuda" if recipe.device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"


def picked(train: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Rows in turn from each class, chosen by SHA-256 of their id; ``row`` is their number in the manifest."""
    key = [hashlib.sha256(i.encode("utf-8", "surrogatepass")).hexdigest() for i in train["id"]]
    table = train.assign(row=np.arange(len(train)), key=key).sort_values("key")
    table["turn"] = table.groupby("label").cumcount()
    return table.sort_values(["turn", "label"]).head(rows).sort_values(["label", "turn"])


def preprocess_of(recipe: Recipe, workspace: Workspace, channels: int | None = None) -> Preprocess:
    """How the network of a recipe reads images, whether or not its weights are at hand; ``channels`` as ``resolve`` has it."""
    from comp.models.net import resolve

    try:
        return resolve(recipe.model, recipe.mode, workspace.weight_folders(), channels)[1]
    except WeightsError:  # the images can be shown without the weights
        part = recipe.model.model_copy(update={"weights": "none"})
        return resolve(part, recipe.mode, [], channels)[1]


def _mixed(recipe: Recipe, preprocess: Preprocess, images: list[Pixels], labels: list[str]) -> list[Pixels]:
    """The images as one batch, mixed and erased as the recipe wants it; empty where it wants nothing."""
    import torch

    from comp.data.augment.batch_ops import mix
    from comp.models.net import normalise

    part = recipe.regularize
    if not (part.mixup or part.cutmix or part.erasing):
        return []
    names = sorted(set(labels))
    y = torch.tensor([names.index(label) for label in labels])
    x = normalise(torch.from_numpy(np.stack(images)), preprocess)
    x, _ = mix(x, y, len(names), part, np.random.default_rng(recipe.seed))
    mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
    return _as_pixels((x.permute(0, 2, 3, 1) * std + mean) * 255)


def _name(recipe: Recipe) -> str:
    given = recipe.transform
    return given if isinstance(given, str) else ", ".join(str(one.get("name")) for one in given)


def _png(columns: list[Column], labels: list[str], told: str) -> bytes:
    side = columns[0][1][0].shape[0]
    cell = max(side, SMALLEST, 8 * max(len(title) for title, _ in columns))
    drawn = sheet(columns, labels, told, cell)
    return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()


def sheet(columns: list[Column], labels: list[str], told: str, cell: int) -> Pixels:
    """Columns of images under their titles, a label before each row, as pixels (H, W, 3); ``cell`` is the side of an image."""
    left = 12 + 9 * max(len(_latin(label)) for label in labels)
    width = left + len(columns) * (cell + MARGIN)
    drawn = np.full((2 * TITLE + len(labels) * (cell + MARGIN), width, 3), 255, np.uint8)
    _write(drawn, told, 6, 16)
    for c, (title, images) in enumerate(columns):
        x = left + c * (cell + MARGIN)
        _write(drawn, title, x, TITLE + 14)
        for r, image in enumerate(images):
            y = 2 * TITLE + r * (cell + MARGIN)
            how = cv2.INTER_NEAREST if image.shape[0] <= cell else cv2.INTER_AREA
            large = cv2.resize(preview(image), (cell, cell), interpolation=how)
            drawn[y : y + cell, x : x + cell] = large
    for r, label in enumerate(labels):
        _write(drawn, _latin(label), 6, 2 * TITLE + r * (cell + MARGIN) + cell // 2)
    return drawn


def _latin(label: str) -> str:
    """What the plain font of OpenCV can write of a label."""
    return label[:24].encode("ascii", "replace").decode()


def _write(sheet: Pixels, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
