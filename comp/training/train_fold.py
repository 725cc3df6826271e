"""Trains one fold, says what happens in it, keeps its checkpoint, and predicts the rows that it held out."""

from __future__ import annotations

import copy
import csv
import io
import math
import os
import pickle
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp import events
from comp.data.device_memory import release_memory
from comp.data.images.pixel_cache import ImageDataset
from comp.data.loading.prefetch import loader_pool
from comp.data.predictions import Predictions, mean_of_views
from comp.data.several_images import row_names
from comp.errors import InputError
from comp.files import make_folder, write_text
from comp.inference.forward import Probs, judged_again, probabilities
from comp.inference.predict import chosen, keep_controls
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import Noise, Sidecar, save_checkpoint
from comp.models.net import Net
from comp.models.runtime import accelerator as make_accelerator
from comp.runs.contents import (
    ANSWERS,
    FITTED,
    home_of,
    judged_file,
    read_result,
    require_of_fold,
    write_result,
)
from comp.runs.progress import HISTORY
from comp.training.early_stopping import BEST_FILE
from comp.training.linear_probe import (
    FrozenFeatures,
    apply_head,
    frozen_features,
    solve_on,
    views_to_solve,
    with_beside,
)
from comp.training.loop import final_weights, new_net, train
from comp.training.losses import solved_for, with_copies, write_copies
from comp.training.plan import (
    FoldResult,
    FoldRows,
    TrainPlan,
    answered_rows,
    needs_features,
    rows_of_fold,
    unseen_classes,
)
from comp.training.state import FILE as STATE
from comp.training.state import SIDECAR, Epoch, TrainState
from comp.training.time_limit import OutOfTime

if TYPE_CHECKING:
    from comp.training.peers import Peers


class FoldEvents:
    """Says what happens in fold k of a plan to those who listen."""

    def __init__(self, plan: TrainPlan, k: int) -> None:
        run, folder = home_of(plan.fold_folder(k))
        self._facts: dict[str, Any] = {
            "run": run,
            "slug": plan.slug,
            "folder": folder,
            "fold": k,
            "folds": plan.folds.k,
            "model": plan.recipe.model.name,
        }
        self._metric, self._is_refit = plan.metric.name, plan.refit
        self._epochs = 0 if plan.recipe.mode == "probe" else plan.recipe.epochs
        self._since = time.perf_counter()
        self._seconds: list[float] = []  # of each epoch here

    def started(self) -> None:
        self._since = time.perf_counter()
        events.emit(events.FoldStarted(**self._facts, epochs=self._epochs))

    def epoch_ended(self, epoch: Epoch) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now
        pace = sum(self._seconds) / len(self._seconds)
        events.emit(
            events.EpochEnded(
                **self._facts,
                epoch=epoch.epoch,
                epochs=self._epochs,
                train_loss=epoch.loss,
                valid_loss=epoch.valid_loss,
                metric=self._metric,
                score=epoch.valid_metric,
                lr=epoch.lr,
                images_per_second=epoch.images_per_second,
                seconds=self._seconds[-1],
                seconds_left=pace * (self._epochs - epoch.epoch),
            )
        )

    def ended(self, result: FoldResult, finished_before: bool = False) -> None:
        events.emit(
            events.FoldEnded(
                **self._facts,
                metric=self._metric,
                score=None if self._is_refit else result.score,
                rows=result.rows,
                seconds=result.seconds,
                finished_before=finished_before,
            )
        )

    def failed(self, failure: Any) -> None:
        """``failure`` is the CompError that ended the fold."""
        stopped = isinstance(failure, OutOfTime)
        events.emit(
            events.FoldEnded(
                **self._facts,
                metric=self._metric,
                score=None,
                rows=0,
                seconds=0.0,
                failure=failure.value if stopped else f"{failure.rule}: {failure.value}",
                is_stopped=stopped,
            )
        )


class HistoryFile(events.RunListener):
    """Keeps a fold's history.csv up with its epochs: written anew after each, so that it is whole at any moment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY
        self._epochs: list[Epoch] = []

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """The epochs that training goes on from; whatever an attempt before wrote of later ones no longer holds."""
        self._epochs = list(epochs)
        self._write()

    def on_epoch(self, event: events.EpochEnded) -> None:
        self._epochs.append(
            Epoch(
                event.epoch,
                event.train_loss,
                event.valid_loss,
                event.score,
                event.lr,
                event.images_per_second,
            )
        )
        self._write()

    def _write(self) -> None:
        out = io.StringIO()
        writer = csv.DictWriter(out, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in self._epochs)
        write_text(self._path, out.getvalue())


def run_fold(plan: TrainPlan, k: int, features: FrozenFeatures | None = None) -> FoldResult:
    """Fold k from its rows to its OOF predictions; everything is written into ``plan.fold_folder(k)``.

    ``features`` are those of the frozen backbone where they are known already; where the plan needs them and they are
    not given they are computed. ``result.json`` comes last: a fold that has one is finished, and is read instead of
    trained again.
    """
    folder = make_folder(plan.fold_folder(k))
    if is_finished(folder):
        return read_fold(folder, k, plan.refit)
    if features is None and needs_features(plan):
        features = frozen_features(plan, k)
    torch.set_num_threads(plan.recipe.threads or 1)  # from its classifier on, whatever ran before it
    started, heard = time.perf_counter(), FoldEvents(plan, k)
    heard.started()
    part = rows_of_fold(plan, k)
    if plan.recipe.mode == "probe":
        assert features is not None, "probe needs the frozen features"
        net, judged = _probe(plan, k, part, features)
        speed, accumulate = 0.0, 1
    else:
        if plan.teacher is not None:
            from comp.training.distillation import with_teacher

            part = with_teacher(plan, k, part)
        net = new_net(plan, k) if features is None else with_solved_head(plan, k, part, features)
        fitted = part
        part = with_copies(plan, k, part)
        write_copies(plan, part, folder)
        history = HistoryFile(folder)
        with events.listening(history):
            state = _trained(plan, k, part, net, heard, history)
        speed = float(np.mean([epoch.images_per_second for epoch in state.history]))
        accumulate, net, weights = state.accumulate, state.net, final_weights(state, folder)
        del state  # the optimizer's memory is needed no longer
        judged, part = _judge(plan, net, weights, part), fitted
    if "content" in part.table:
        fitted_on = plan.fitted_before(k).union(part.table["content"].iloc[part.fitted])
        write_text(folder / FITTED, "\n".join(sorted(fitted_on)) + "\n")
    noise, exact = _judged_again(plan, net, part, judged["kept"]["identity"])
    sidecar = save_checkpoint(
        folder,
        net,
        slug=plan.slug,
        fold=k,
        model=plan.recipe.model,
        labels=plan.labels,
        preprocess=plan.preprocess,
        precision=plan.recipe.precision,
        train_sha256=plan.folds.fingerprint,
        device=plan.recipe.device,
        noise=noise,
        unseen=unseen_classes(plan, part),
    )
    where = {"node": plan.node or platform.node(), "pid": os.getpid()}
    facts = {"seconds": time.perf_counter() - started, "images_per_second": speed, "accumulate": accumulate}
    return _finish(plan, folder, k, part, judged, exact, facts | where, sidecar)


def _trained(
    plan: TrainPlan, k: int, part: FoldRows, net: Net, heard: FoldEvents, history: HistoryFile
) -> TrainState:
    """The fold after its last step, trained by this process, or by several that it leads."""
    folder, recipe = plan.fold_folder(k), plan.recipe
    if (recipe.processes or 1) == 1:
        return train(plan, k, part, net, folder, heard.epoch_ended, history.begin)
    from comp.training.peers import together

    device = make_accelerator(recipe).device
    work = pickle.dumps(partial(_help_train, plan, k))
    with together(recipe.processes or 1, work, device, recipe.threads or 1) as peers:
        return train(plan, k, part, net, folder, heard.epoch_ended, history.begin, peers)


def _help_train(plan: TrainPlan, k: int, peers: Peers) -> None:
    """What the others of several processes do; the rows are those of the one that leads, and so is the network."""
    part = rows_of_fold(plan, k)
    if plan.teacher is not None:
        from comp.training.distillation import with_teacher

        part = with_teacher(plan, k, part)  # its answers lie in the fold's folder by now
    part = with_copies(plan, k, part)
    train(plan, k, part, new_net(plan, k), plan.fold_folder(k), lambda epoch: None, peers=peers)


def is_finished(folder: Path) -> bool:
    """Whether a fold's folder is whole: its result is written last."""
    return (folder / "result.json").is_file()


def read_fold(folder: Path, k: int, refit: bool = False) -> FoldResult:
    """A finished fold, or a ``refit``, as its folder tells it. ``oof`` of a refit are its control rows, which it trained on.

    Raises
    ------
    InputError
        Where a file is missing or damaged, was changed since, or is of another fold or run.
    """
    table = read_result(folder)
    if table.get("fold", k) != k or bool(table.get("refit")) != refit:
        value = f"{folder / 'result.json'} is of {'a refit' if table.get('refit') else 'fold'} {table.get('fold')}"
        raise InputError("a fold's folder is its own", value, "put back the right one")
    name = judged_file(table)
    names = [name, *(f"oof-{name}.npz" for name in table.get("beside", []))]
    names += [f"oof-views-{name}.npz" for name in table.get("sets", [])]
    require_of_fold(folder, names)
    oof, of_all = Predictions.load(folder / name), name
    rows = table["rows"] if not refit else table["controls"]
    if len(oof) != rows:
        value = f"{folder / name} has {len(oof)} rows, result.json says {rows}"
        raise InputError(
            "a fold's predictions answer its rows", value, "remove result.json: it is trained again"
        )
    return FoldResult(
        k,
        _number(table["score"]),
        _number(table["identity_score"]),
        int(table["rows"]),
        float(table["seconds"]),
        float(table["images_per_second"]),
        oof,
        {name: _beside(folder / f"oof-{name}.npz", folder / of_all, oof) for name in table.get("beside", [])},
        int(table.get("accumulate", 1)),
        {name: Predictions.load(folder / f"oof-views-{name}.npz") for name in table.get("sets", [])},
    )


def _beside(path: Path, file: Path, oof: Predictions) -> Predictions:
    """Predictions of a file, which may be the one that has the ``oof`` rows."""
    return oof if path.samefile(file) else Predictions.load(path)


def _number(final_weights: float | None) -> float:
    """A kept score; null is one that is undefined, as ROC AUC of a single class."""
    return math.nan if final_weights is None else float(final_weights)


def _finish(
    plan: TrainPlan,
    folder: Path,
    k: int,
    part: FoldRows,
    judged: dict[str, dict[str, Probs]],
    exact: Probs | None,
    facts: dict[str, Any],
    sidecar: Sidecar,
) -> FoldResult:
    """Writes what a fold came to, ``result.json`` last; ``judged`` is by weights and view, ``exact`` the control rows in
    fp32 where the fold was judged in half precision, ``sidecar`` that of its checkpoint.
    """
    known = {"model.safetensors": sidecar.weights_sha256}
    ids = tuple(part.table["id"].iloc[part.held_out])
    rows = ids if plan.refit else tuple(dict.fromkeys(row_names(part.table.iloc[part.held_out])))
    targets = part.targets[part.held_out]

    def predictions(weights: str, views: list[str]) -> Predictions:
        nonlocal targets
        probs = mean_of_views(
            {name: judged[weights][name] for name in views}, plan.recipe.tta_mean, plan.labels
        )
        if not plan.refit:
            targets, probs = answered_rows(plan, part, probs)
        return Predictions(rows, plan.labels, probs, plan.folds.fingerprint)

    paths = list(part.table["path"].iloc[part.held_out])
    keep_controls(folder, plan.source, ids, paths, judged["kept"]["identity"], plan.labels, exact)
    if plan.refit:
        unscored = {"fold": k, "refit": True, "score": None, "identity_score": None}
        predictions("kept", ["identity"]).save(folder / judged_file(unscored))
        counts = {"rows": len(part.fitted), "controls": len(ids)}
        return _finished(plan, folder, k, {**unscored, **counts, **facts}, known)
    oof = predictions("kept", plan.recipe.views)
    has_views = set(plan.recipe.views) != {"identity"}
    beside = {"identity_view": predictions("kept", ["identity"]) if has_views else oof}
    if "plain" in judged:
        beside["plain_weights"] = predictions("plain", plan.recipe.views)
    if "plain_fit" in judged:
        beside["plain_fit"] = predictions("plain_fit", ["identity"])
    if plan.recipe.checkpoint == "best" or plan.recipe.stop is not None:
        beside["last_epoch"] = predictions("last" if "last" in judged else "kept", ["identity"])
    oof.save(folder / "oof.npz")
    for name, other in beside.items():
        other.save_beside(folder / f"oof-{name}.npz", oof, folder / "oof.npz")
    for name, views in plan.sets.items():
        predictions("kept", views).save(folder / f"oof-views-{name}.npz")
    score, identity = (plan.metric(targets, one.probs) for one in (oof, beside["identity_view"]))
    told = {"fold": k, "score": score, "identity_score": identity, "rows": len(rows), "beside": list(beside)}
    return _finished(plan, folder, k, {**told, "sets": list(plan.sets), **facts}, known)


def _finished(
    plan: TrainPlan, folder: Path, k: int, facts: dict[str, Any], known: dict[str, str]
) -> FoldResult:
    """Writes the result that says that a fold is whole, and clears away what training would go on from."""
    write_result(folder, facts, known)
    release_memory()
    for left in (STATE, SIDECAR, BEST_FILE, ANSWERS):  # the fold is finished: nothing is left to go on from
        (folder / left).unlink(missing_ok=True)
    return read_fold(folder, k, plan.refit)


def _judge(
    plan: TrainPlan, net: Net, weights: dict[str, dict[str, Tensor]], part: FoldRows
) -> dict[str, dict[str, Probs]]:
    """The held-out rows by each of a fold's weights; the network has those that are kept in the end."""
    judged = {}
    for name in sorted(weights, key="kept".__eq__):  # the kept ones last, so that they stay
        net.load_state_dict(weights[name])
        views = {"kept": plan.views, "plain": plan.recipe.views}.get(name, ["identity"])
        judged[name] = _predict_held_out(plan, net.eval(), part, views)
    return judged


def with_solved_head(plan: TrainPlan, k: int, part: FoldRows, features: FrozenFeatures) -> Net:
    """Fold k's network with the best linear classifier on its frozen features."""
    net = new_net(plan, k)
    features = with_beside(plan, net, part, features)
    ids, targets = list(part.table["id"].iloc[part.fitted]), part.targets[part.fitted]
    views, soft = views_to_solve(plan, k, part, features, net), solved_for(plan.labels, part, part.fitted)
    solve_on(plan, net, features, views, ids, targets, soft)
    return net


def _probe(
    plan: TrainPlan, k: int, part: FoldRows, features: FrozenFeatures
) -> tuple[Net, dict[str, dict[str, Probs]]]:
    """Fold k's classifier on frozen features, and its held-out rows; beside them those of one that knows no other view
    than the image as it is.
    """
    held_out = list(part.table["id"].iloc[part.held_out])
    net = with_solved_head(plan, k, part, features).eval()
    features = with_beside(plan, net, part, features)
    judged = {"kept": apply_head(net, features, plan.views, held_out, plan.labels)}
    if plan.solved_views != ["identity"]:
        plain = copy.deepcopy(net)
        ids, targets = list(part.table["id"].iloc[part.fitted]), part.targets[part.fitted]
        soft = solved_for(plan.labels, part, part.fitted)
        solve_on(plan, plain, features, ["identity"], ids, targets, soft)
        judged["plain_fit"] = apply_head(plain, features, ["identity"], held_out, plan.labels)
    return net, judged


def _predict_held_out(plan: TrainPlan, net: Net, part: FoldRows, views: list[str]) -> dict[str, Probs]:
    device = make_accelerator(plan.recipe).device
    views = list(dict.fromkeys(["identity", *views]))
    pixels = ImageDataset(plan.images, list(part.table["path"]), plan.preprocess, budget=0)
    net = _on_device(plan, net, device)
    with (
        loader_pool(plan.recipe.threads or 1) as pool,
        events.task("held-out rows", len(part.held_out)) as bar,
    ):
        rows: NDArray[np.int64] = part.held_out
        return probabilities(
            net, pool, pixels, rows, views, plan.recipe, device, bar.advance, labels=plan.labels
        )


def _judged_again(plan: TrainPlan, net: Net, part: FoldRows, oof: Probs) -> tuple[Noise, Probs | None]:
    """The noise of the fold's control rows, which are among the held-out rows that were judged ``oof`` (N, C)."""
    places = chosen(list(part.table["id"].iloc[part.held_out]))
    rows = part.held_out[places]
    device = make_accelerator(plan.recipe).device
    pixels = ImageDataset(plan.images, list(part.table["path"]), plan.preprocess, budget=0)
    net = _on_device(plan, net, device)
    with loader_pool(plan.recipe.threads or 1) as pool:
        return judged_again(net, pool, pixels, rows, oof[places], plan.recipe, device, plan.labels)


def _on_device(plan: TrainPlan, net: Net, device: Any) -> Net:
    """The network as rows are judged by it; its norms are folded on the CPU, as prediction does it."""
    net = net.cpu()
    if plan.recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    fuse_frozen_batchnorm(net, plan.preprocess.size, plan.preprocess.channels)
    return net.to(device)


@dataclass(frozen=True)
class FoldJob:
    """The training of fold ``k``: calling it trains the fold, here or in any process that pickle takes it to.

    What it comes to lies in the fold's folder, ``result.json`` last. ``features`` are those of all folds where they are
    known; where they are needed and absent the job computes them.
    """

    plan: TrainPlan
    k: int
    features: FrozenFeatures | None = None

    def __call__(self) -> FoldResult:
        return run_fold(self.plan, self.k, self.features)


class Ended(NamedTuple):
    """A fold that is over, by the number of its job: ``failure`` is what was raised in it, ``result`` what it came to where that
    is known without reading its folder.
    """

    fold: int
    failure: Exception | None = None
    result: FoldResult | None = None
