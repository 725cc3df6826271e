"""What a worker of a cluster does: it trains one fold in a folder of its own, and says and sends what comes of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import queue
import shutil
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch

from comp import events
from comp._version import __version__
from comp.config import whole_number
from comp.data.images.source import Pixels
from comp.errors import CompError, InputError
from comp.files import lives, write_text
from comp.runs.run import STARTED
from comp.training.child_process import EventLines, sendable
from comp.training.cluster.images import Images, StoreList, plan_on_worker, receive_store
from comp.training.cluster.parcel import Parcel, finished_fold, fold_under_way, unpack
from comp.training.state import SIDECAR
from comp.training.train_fold import FoldJob

OWN = "comp-fold-"  # folders of workers, with the number of their process
PULSE = 0.25  # seconds between two deliveries
VERSIONS = {"comp": __version__, "torch": torch.__version__, "timm": timm.__version__}


@dataclass(frozen=True)
class FoldTask:
    """A fold to train: the job, pickled (its plan without images), which fold, and how its run is called within the workspace; a trial has none.

    ``started`` is the run's started.json, ``inside`` the folder of the model in the run; ``under_way`` is what training goes on from, ``given``
    the images of the control rows by path.
    """

    k: int
    run: str
    inside: str
    started: str
    images: Images
    versions: Mapping[str, str]
    given: Mapping[str, bytes | Pixels]
    under_way: Parcel | None = None


@dataclass(frozen=True)
class Started:
    """The first that a worker says: where it is, and in which process."""

    node: str
    pid: int


@dataclass(frozen=True)
class News:
    """What happened since the last delivery."""

    events: Sequence[events.Event]


@dataclass(frozen=True)
class NeedsImages:
    """The decoded images are not here: the fold is to be asked for again, with them."""


@dataclass(frozen=True)
class GotImages:
    """So many bytes of decoded images came to this machine."""

    size: int


@dataclass(frozen=True)
class UnderWay:
    """What training would go on from."""

    parcel: Parcel


@dataclass(frozen=True)
class Finished:
    """Every file of the finished fold."""

    parcel: Parcel


@dataclass(frozen=True)
class Failed:
    """What training raised."""

    failure: Exception


Item = Started | News | NeedsImages | GotImages | UnderWay | Finished | Failed


def train_fold(
    job: bytes,
    asked: FoldTask,
    arrays: dict[str, Any],
    store: StoreList | None,
    chunks: Sequence[Any],
    node: str = "",
) -> Iterator[Item]:
    """Trains a fold here, and yields what the process that asked has to know of it, ``Finished`` or ``Failed`` last.

    ``chunks`` are Ray's references to the store's; ``node`` is by default this machine's name with Ray's number of it.
    """
    node = node or _node()
    yield Started(node, os.getpid())
    try:
        _require_versions(asked.versions, node)
        travelled: FoldJob = pickle.loads(job)
        if store is not None and (size := receive_store(store, lambda n: _fetched(chunks[n]), "the driver")):
            yield GotImages(size)
        there = plan_on_worker(travelled.plan, asked.images, arrays, asked.given)
    except CompError as error:
        yield Failed(error)
        return
    if there is None:
        yield NeedsImages()
        return
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{OWN}{os.getpid()}-") as top:
        run = Path(top) / (asked.run or "trial")
        run.mkdir()
        if asked.run:
            write_text(run / STARTED, asked.started)
        here = replace(there.in_folder(run / asked.inside), node=node)
        whole = replace(travelled, plan=here, k=asked.k)
        if asked.under_way is not None:
            unpack(asked.under_way.opened("the driver"), whole.plan.fold_folder(asked.k))
        yield from _delivered(whole)


def _sweep() -> None:
    """Removes what workers left here that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{OWN}*"):
        pid = whole_number(folder.name.removeprefix(OWN).split("-")[0])
        if pid is not None and not lives(pid):
            shutil.rmtree(folder, ignore_errors=True)


def _delivered(job: FoldJob) -> Iterator[Item]:
    """Trains in a thread, and yields what it says and saves until it is over."""
    said: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
    over: list[Exception | None] = []
    thread = threading.Thread(target=_train, args=(job, said, over), daemon=True)
    thread.start()
    folder, sent = job.plan.fold_folder(job.k), _saved_at(job)
    while thread.is_alive():
        thread.join(PULSE)
        if found := _drained(said):
            yield News(found)
        if (saved := _saved_at(job)) != sent and (parcel := fold_under_way(folder)) is not None:
            sent = saved
            yield UnderWay(parcel)
    if found := _drained(said):
        yield News(found)
    failure = over[0] if over else RuntimeError("the training thread ended without a word")
    if failure is None:
        yield Finished(finished_fold(folder))
        return
    if (parcel := fold_under_way(folder)) is not None:
        yield UnderWay(parcel)
    yield Failed(failure)


def _saved_at(job: FoldJob) -> int:
    """When the fold's state was last saved, 0 if never."""
    try:
        return (job.plan.fold_folder(job.k) / SIDECAR).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _train(job: FoldJob, said: queue.SimpleQueue[events.Event], over: list[Exception | None]) -> None:
    events.relay_to(said.put)
    try:
        with contextlib.redirect_stdout(EventLines()):
            job()
        over.append(None)
    except CompError as error:
        over.append(error)
    except Exception as error:
        error.add_note(traceback.format_exc())
        over.append(sendable(error))


def _drained(said: queue.SimpleQueue[events.Event]) -> list[events.Event]:
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(said.get_nowait())
    return found


def _fetched(chunk: Any) -> bytes:
    import ray

    return bytes(ray.get(chunk))


def _node() -> str:
    import ray

    return f"{platform.node()} ({ray.get_runtime_context().get_node_id()[:8]})"


def _require_versions(wanted: Mapping[str, str], node: str) -> None:
    """Other versions may come to other bytes, and another comp may read other things from the same files."""
    if apart := [
        f"{name} {VERSIONS[name]} (here {other})" for name, other in wanted.items() if VERSIONS[name] != other
    ]:
        raise InputError(
            "every machine of a cluster has the same versions",
            f"{node}: {', '.join(apart)}",
            "install them there",
        )
