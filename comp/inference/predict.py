"""Predictions of rows by the checkpoints of a run, averaged, and the control rows that prove that they are read as in validation."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from comp import events
from comp.config import Shape, read_shaped
from comp.data.images.preprocess import Pixels, Preprocess
from comp.data.images.source import ImageSource, layer
from comp.data.labels import LabelMap
from comp.data.open_set import mean_of_models
from comp.data.predictions import Predictions, average, mean_of_views
from comp.data.side_features import SideSource
from comp.errors import CheckFailed, InputError, WeightsError
from comp.files import write_bytes, write_json
from comp.inference.feature_cache import FeatureCache
from comp.inference.forward import (
    activated,
    apply_classifier,
    backbone_outputs,
    facts_of_features,
    joined,
)
from comp.models.checkpoint import Noise, Sidecar, load_checkpoint, read_sidecar
from comp.models.net import Net
from comp.models.runtime import computes
from comp.recipe import Recipe
from comp.runs.contents import read_result, require_of_fold
from comp.runs.run import RESULT

MOST = 16
# how far probabilities of control rows may come back: FACTOR times the noise of their run, within these bounds
FACTOR = 4.0
LEAST = {"fp32": 1e-3, "bf16": 0.02, "fp16": 0.02}
UTMOST = {"fp32": 0.01, "bf16": 0.25, "fp16": 0.25}
_MARK = "\x00control"  # in no path and no id of a real row

_HEADERS = threading.Lock()

Probs = NDArray[np.float64]


class _Row(Shape):
    """A line of ``control.json``: the sample, the file with its image, and its probabilities by class name; ``exact`` in
    fp32, where the fold was judged in half precision. Older ones have none.
    """

    id: str
    file: str
    probs: dict[str, float]
    exact: dict[str, float] | None = None
    side: list[str] | None = None  # the cells beside the image, where it has side features


@dataclass(frozen=True)
class ControlRow:
    """One control row: its id among the rows to predict, its path for ``ControlRowSource``, and the identity-view
    probabilities (C,) that its own fold gave it; ``exact`` are those in fp32, where it was judged in half precision.
    """

    id: str
    path: str
    sample: str
    probs: Probs
    exact: Probs | None = None
    side: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControlRowSource:
    """A source that also knows the control rows kept in run folders."""

    own: ImageSource

    def load(self, path: str) -> bytes | NDArray[np.uint8]:
        if not path.startswith(_MARK):
            return self.own.load(path)
        file = Path(path.removeprefix(_MARK))
        content = file.read_bytes()
        if file.suffix == ".npy":
            # numpy reads a header by ``ast.parse``, which fails where two threads are in it (CPython gh-106905).
            with _HEADERS:
                return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.uint8)
        return content

    def squares(self, path: str, side: int | None, wanted: Sequence[Preprocess]) -> list[Pixels] | None:
        """What the own source has decoded already; control rows are read as they were kept."""
        given = None if path.startswith(_MARK) else getattr(self.own, "squares", None)
        found: list[Pixels] | None = given and given(path, side, wanted)
        return found


def chosen(ids: Sequence[str]) -> list[int]:
    """The places of min(16, n) ids, chosen and ordered by their SHA-256."""
    order = sorted(
        range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode("utf-8", "surrogatepass")).digest()
    )
    return order[:MOST]


def keep_controls(
    folder: Path,
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    probs: Probs,
    labels: LabelMap,
    exact: Probs | None = None,
) -> None:
    """Keeps a fold's ``chosen`` held-out images, byte for byte, with their identity-view probabilities (N, C) in the order
    of ``ids``, and ``exact`` (n, C), those in fp32 of the chosen ones.

    They are all that a later prediction needs to prove itself, even where the train folder is gone.
    """
    rows: list[dict[str, Any]] = []
    beside = layer(source, SideSource)
    for n in chosen(ids):
        content = source.load(paths[n])
        name = f"control/{len(rows):02}" + (".image" if isinstance(content, bytes) else ".npy")
        if not isinstance(content, bytes):
            out = io.BytesIO()
            np.save(out, content)
            content = out.getvalue()
        write_bytes(folder / name, content)
        row = {"id": ids[n], "file": name, "probs": dict(zip(labels.columns, probs[n].tolist(), strict=True))}
        if beside is not None:
            row["side"] = list(beside.cells_of([paths[n]])[0])
        if exact is not None:
            row["exact"] = dict(zip(labels.columns, exact[len(rows)].tolist(), strict=True))
        rows.append(row)
    write_json(folder / "control.json", rows)


def control_table(folder: Path) -> list[_Row]:
    """The control rows of a fold as its ``control.json`` has them.

    Raises
    ------
    InputError
        Where a file of them is missing, damaged, or not what the fold wrote.
    CheckFailed
        For no control rows, or fewer than the fold has to have: they would prove nothing.
    """
    path = folder / "control.json"
    require_of_fold(folder, [path.name])
    rows: list[_Row] = read_shaped(path, list[_Row], "train this fold again")
    outside = [row.file for row in rows if PurePosixPath(row.file).parts[:-1] != ("control",)]
    if outside:
        value = f"{path} names {outside[0]!r}"
        raise InputError("control rows lie beside their fold", value, "train this fold again")
    require_of_fold(folder, [row.file for row in rows])
    result = read_result(folder) if (folder / RESULT).is_file() else {"rows": len(rows)}
    held_out = result.get("controls") or result["rows"]
    if len({row.id for row in rows}) < max(1, min(MOST, held_out)):
        kind = "" if result.get("refit") else "held-out "
        value = f"control-rows: {path} has {len(rows)}, for {held_out} {kind}rows"
        raise CheckFailed("a run's predictions prove themselves", value, "train this fold again")
    return rows


def read_controls(folder: Path, labels: LabelMap) -> list[ControlRow]:
    """The control rows of a fold; their probabilities were kept by class name and come in the order of ``labels``,
    so that another label map cannot pass. Raises as ``control_table`` does.
    """

    def by_class(named: dict[str, float]) -> Probs:
        return np.array([named.get(name, np.nan) for name in labels.columns], dtype=np.float64)

    return [
        ControlRow(
            f"{_MARK}{folder}/{n}",
            f"{_MARK}{folder / row.file}",
            row.id,
            by_class(row.probs),
            by_class(row.exact) if row.exact is not None else None,
            tuple(row.side or ()),
        )
        for n, row in enumerate(control_table(folder))
    ]


def shuffled(count: int, seed: int = 0) -> NDArray[np.int64]:
    """A fixed shuffle of ``count`` rows, so that control rows stand among the test rows."""
    return np.random.default_rng(seed).permutation(count)


def exactly(controls: Sequence[ControlRow]) -> list[ControlRow]:
    """The rows with their probabilities in fp32; none where they were not kept."""
    return [replace(row, probs=row.exact) for row in controls if row.exact is not None]


def tolerance(precision: str, noise: Noise) -> float:
    """How far the probabilities of control rows that were judged in ``precision`` may come back.

    Other kernels, batches and devices round otherwise: the noise that the run measured, by ``FACTOR``; not less than
    ``LEAST``, which is also for runs that measured none, and never more than ``UTMOST``, which still tells another model's
    mean and std, or a turned label map (docs/decisions/0011).
    """
    largest = max(noise.get(precision, {}).values(), default=0.0)
    return min(max(LEAST[precision], FACTOR * largest), UTMOST[precision])


def max_abs_difference(
    controls: Sequence[ControlRow], found: dict[str, Probs], span: Probs | float = 1.0
) -> tuple[float, str]:
    """The largest |Δp| between what the rows were judged and what came back by their ids, and the sample's id; in parts of
    each column's ``span`` (D,).
    """
    worst, sample = 0.0, ""
    for row in controls:
        difference = float((np.abs(found[row.id] - row.probs) / span).max())
        if difference > worst or not np.isfinite(difference):
            worst, sample = difference, row.sample
    return worst, sample


def control_row_error(
    folder: Path, difference: float, sample: str, most: float = LEAST["fp32"]
) -> CheckFailed:
    """The error of control rows that came back changed by more than ``most``."""
    value = f"control-rows: {folder.name}, sample {sample!r} came back {difference:.3f} away from the probabilities that were kept (at most {most:.3g})"
    remedy = "the checkpoint's preprocessing, label map or precision is not what it was judged with: restore its files, or train this fold again"
    return CheckFailed("the test path must give what validation gave", value, remedy)


@dataclass(frozen=True)
class KeptFor:
    """Where frozen features of the rows to predict are kept, and the contents (N,) of these rows, in their order."""

    folder: Path | None
    contents: Sequence[str]


def mean_of_folds(each: Mapping[Path, Predictions]) -> Predictions:
    """The mean of what checkpoints answer, by their folders."""
    parts = list(each.values())
    if not parts[0].labels.task.unknown:
        return average(parts)
    return mean_of_models(parts, [read_sidecar(folder).unseen for folder in each])


def predict_each(
    checkpoints: Sequence[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    fingerprint: str = "",
    kept: KeptFor | None = None,
    what: str = "test rows",
    *,
    precision: str | None = None,
) -> dict[Path, Predictions]:
    """The probabilities of each checkpoint over the views of ``recipe.views``, by its folder.

    Each checkpoint reads images through its own preprocessing; those that share a frozen backbone and the
    preprocessing read them once. Every checkpoint's control rows stand shuffled among the rows, and are found
    again by id: their identity view must give their OOF probabilities.

    Parameters
    ----------
    checkpoints : folders with model.safetensors, model.json and control.json
    source : ImageSource
    ids, paths : sequences of str, (N,)
    recipe : Recipe
        Resolved; its device and views are used, the precision is the checkpoint's, or fp32 where the device does not
        compute in that.
    fingerprint : str
        Of the rows, kept in the result.
    kept : KeptFor, optional
        Where the features of a backbone that several checkpoints share are kept. Control rows never come from there.
    what : str
        Is predicted, for the line of progress.
    precision : str, optional
        Instead of the checkpoint's own, on a GPU that computes in it and as long as the control rows come back in it.

    Raises
    ------
    WeightsError
        If a checkpoint is missing, torn, or has another label map than the first.
    CheckFailed
        If control rows come back changed, or a checkpoint has none.
    """
    sidecars = {folder: read_sidecar(folder) for folder in checkpoints}
    labels = sidecars[checkpoints[0]].labels
    for folder, sidecar in sidecars.items():
        if sidecar.labels != labels:
            value = f"{folder} has another than {checkpoints[0]}"
            raise WeightsError("checkpoints of one run share a label map", value, "train again")
    shared: dict[tuple[str, object, str, str], list[Path]] = {}
    for folder, sidecar in sidecars.items():
        precisions = sidecar.precision, _precision(sidecar, recipe)
        shared.setdefault((sidecar.backbone_sha256, sidecar.preprocess, *precisions), []).append(folder)
    for judged in sorted({judged for _, _, judged, used in shared if judged != used}):
        events.log(
            f"  judged in {judged}, predicted in fp32: {recipe.device} does not compute in {judged} here"
        )
    with events.task(what, len(ids) * len(shared)) as bar:

        def one(folders: list[Path], device: int | None) -> dict[Path, Probs]:
            cached = kept if len(folders) > 1 else None
            return _in_time(folders, source, ids, paths, recipe, bar, cached, device, precision)

        several = torch.cuda.device_count() if recipe.device == "cuda" else 1
        found = _each(one, list(shared.values()), several)
    return {folder: Predictions(tuple(ids), labels, found[folder], fingerprint) for folder in checkpoints}


def predict(
    checkpoints: Sequence[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    fingerprint: str = "",
    kept: KeptFor | None = None,
    precision: str | None = None,
) -> Predictions:
    """The mean of what ``predict_each`` gives."""
    each = predict_each(checkpoints, source, ids, paths, recipe, fingerprint, kept, precision=precision)
    return mean_of_folds(each)


def _each(
    one: Callable[[list[Path], int | None], dict[Path, Probs]], groups: list[list[Path]], gpus: int
) -> dict[Path, Probs]:
    """What ``one`` gives for each group of checkpoints, side by side where there are several GPUs."""
    if gpus > 1 and len(groups) > 1:
        from comp.inference.several_gpus import spread

        return spread(one, groups, gpus)
    return {folder: probs for group in groups for folder, probs in one(group, None).items()}


def _in_time(
    folders: list[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    bar: events.Task,
    kept: KeptFor | None,
    device: int | None,
    wanted: str | None,
) -> dict[Path, Probs]:
    """``_by_backbone`` in the precision that was asked for, where the control rows come back in that; else in their own."""
    own = _precision(read_sidecar(folders[0]), recipe)
    if wanted and wanted != own and recipe.device == "cuda" and computes(wanted, recipe.device):
        try:
            return _by_backbone(folders, source, ids, paths, recipe, bar, None, device, wanted)
        except CheckFailed as problem:
            events.log(f"  not in {wanted}: {problem.value}; in {own} instead")
    return _by_backbone(folders, source, ids, paths, recipe, bar, kept, device)


def _by_backbone(
    folders: list[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    bar: events.Task,
    kept: KeptFor | None,
    device: int | None = None,
    half: str | None = None,
) -> dict[Path, Probs]:
    """Probabilities (N, C) by checkpoint, for checkpoints with one backbone: its features once, then each head."""
    net, sidecar = load_checkpoint(folders[0])
    recipe = recipe.model_copy(update={"precision": half or _precision(sidecar, recipe)})
    controls = {folder: read_controls(folder, sidecar.labels) for folder in folders}
    among = [row for folder in folders for row in controls[folder]]
    views = list(dict.fromkeys(["identity", *recipe.views]))
    cache = _cache(kept, sidecar, recipe)
    known = {name: cache.load(name) if cache else None for name in views}
    whole = all(features is not None for features in known.values())
    rows = [] if whole else list(zip(ids, paths, strict=True))  # kept features leave the control rows alone
    rows += [(row.id, row.path) for row in among]
    bar.expect(len(rows) - len(ids))
    order = shuffled(len(rows))
    mixed = [rows[n] for n in order]
    places = [path for _, path in mixed]
    seen = backbone_outputs(
        net, sidecar, ControlRowSource(source), places, views, recipe, bar.advance, device
    )
    place = {name: n for n, (name, _) in enumerate(mixed)}
    wanted = np.array([] if whole else [place[name] for name in ids], dtype=np.int64)
    features = {
        name: ready if whole and ready is not None else seen[name][wanted] for name, ready in known.items()
    }
    if cache is not None and not whole:
        for name, values in features.items():
            cache.keep(name, values)
    found: dict[Path, Probs] = {}
    for folder in folders:
        one = net if folder == folders[0] else load_checkpoint(folder)[0]
        head, rows_here = one.head, np.array([place[row.id] for row in controls[folder]], dtype=np.int64)
        own = _joined(one, seen["identity"][rows_here], [row.side for row in controls[folder]])
        identity = activated(apply_classifier(head, own), sidecar.labels)
        back = {row.id: probs for row, probs in zip(controls[folder], identity, strict=True)}
        beside = one.side.beside(source, paths) if one.side is not None else None
        in_fp32 = partial(_in_fp32, net, one, sidecar, source, controls[folder], recipe, device)
        _require_controls(folder, controls[folder], back, recipe.precision, in_fp32)
        by_view = {
            name: activated(apply_classifier(head, joined(features[name], beside)), sidecar.labels)
            for name in recipe.views
        }
        found[folder] = mean_of_views(by_view, recipe.tta_mean, sidecar.labels)
    return found


def _cache(kept: KeptFor | None, sidecar: Sidecar, recipe: Recipe) -> FeatureCache | None:
    if kept is None or kept.folder is None:
        return None
    facts = facts_of_features(recipe, sidecar.model, sidecar.preprocess, sidecar.backbone_sha256)
    return FeatureCache(kept.folder, facts, kept.contents)


def _precision(sidecar: Sidecar, recipe: Recipe) -> str:
    """What a checkpoint predicts in: what it was judged in, or fp32 where only the device it was judged on does that."""
    same = sidecar.device == recipe.device or (not sidecar.device and sidecar.precision == "bf16")
    if (same and recipe.device != "cuda") or computes(sidecar.precision, recipe.device):
        return sidecar.precision
    return "fp32"


def _require_controls(
    folder: Path,
    controls: list[ControlRow],
    back: dict[str, Probs],
    precision: str,
    in_fp32: Callable[[], dict[str, Probs]],
) -> None:
    """Refuses control rows that came back changed from among the test rows: ``back`` by id, in ``precision``.

    Those of a half precision also have to come back in fp32, by themselves, as they were judged in it: there hardly any
    noise covers what another preprocessing changes.
    """
    sidecar, exact = read_sidecar(folder), exactly(controls)
    judged = sidecar.precision
    if precision == judged:
        most = tolerance(judged, sidecar.noise)
        difference, sample = max_abs_difference(controls, back, sidecar.labels.span)
        if not difference <= most and (exact or judged == "fp32"):
            raise control_row_error(folder, difference, sample, most)
        if judged == "fp32" or (difference <= most and not exact):
            return
        if not exact:  # an older checkpoint
            events.log(
                f"  {folder.name}: control rows differ by {difference:.3f} in {judged}; trying again in fp32"
            )
        back = in_fp32()
    elif precision != "fp32":  # asked for, for speed
        difference, sample = max_abs_difference(controls, back, sidecar.labels.span)
        if not difference <= LEAST[precision]:
            raise control_row_error(folder, difference, sample, LEAST[precision])
        back = in_fp32()
    most = tolerance("fp32", sidecar.noise) if exact or judged == "fp32" else LEAST[judged]
    difference, sample = max_abs_difference(exact or controls, back, sidecar.labels.span)
    if not difference <= most:
        raise control_row_error(folder, difference, sample, most)


def _in_fp32(
    net: Net,
    one: Net,
    sidecar: Sidecar,
    source: ImageSource,
    controls: list[ControlRow],
    recipe: Recipe,
    device: int | None,
) -> dict[str, Probs]:
    """The identity-view probabilities of control rows by themselves, in fp32, by id."""
    full = recipe.model_copy(update={"precision": "fp32"})
    paths = [row.path for row in controls]
    seen = backbone_outputs(
        net, sidecar, ControlRowSource(source), paths, ["identity"], full, lambda n: None, device
    )
    own_features = _joined(one, seen["identity"], [row.side for row in controls])
    probs = activated(apply_classifier(one.head, own_features), sidecar.labels)
    return {row.id: own for row, own in zip(controls, probs, strict=True)}


def _joined(net: Net, features: NDArray[np.float32], cells: list[tuple[str, ...]]) -> NDArray[np.float32]:
    """The features of control rows, with what stood beside their images."""
    return joined(features, net.side.encode(cells) if net.side is not None else None)
