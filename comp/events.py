"""What happens in a run, and who hears of it: the console, the files that follow a run, and listeners of your own.

``comp.run(..., listeners=[MyListener()])`` takes objects of classes under ``RunListener``. What they hear are small
frozen values that JSON and pickle can take. Nothing here prints or writes.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from comp.errors import InputError

ADVANCE_SECONDS = 0.1  # between two events of one task: more than a reader can follow would slow training


@dataclass(frozen=True)
class Message:
    """A line for people on what is being done; ``remedy`` says what to do about a warning or an error."""

    text: str
    remedy: str = ""


@dataclass(frozen=True)
class TaskStarted:
    """Something with a progress begins: ``total`` steps, rows or images. ``task`` is its id, and no other's."""

    task: str
    title: str
    total: int


@dataclass(frozen=True)
class TaskAdvanced:
    """``done`` of ``total`` are done (the total may be another than at the start); ``facts`` is a line about it (epoch, images/s). At most ten a second."""

    task: str
    title: str
    done: int
    total: int
    facts: str


@dataclass(frozen=True)
class TaskEnded:
    """A task is over, complete or not."""

    task: str
    title: str


ALL_ROWS = "all rows"  # what a refit trains instead of folds


@dataclass(frozen=True)
class RunStarted:
    """A run begins to train, or goes on.

    ``folder`` is the run's; ``folds`` is K, ``only`` the numbers of the folds that are wanted now; ``models``,
    ``epochs`` (0 for a probe) and ``summaries`` have an entry for each model; ``direction`` is "max" or "min".
    """

    run: str
    slug: str
    folder: str
    folds: int
    only: tuple[int, ...]
    models: tuple[str, ...]
    epochs: tuple[int, ...]
    summaries: tuple[str, ...]
    metric: str
    direction: str


@dataclass(frozen=True)
class OfFold:
    """What every event of a fold says: fold ``fold`` (from 0) of ``folds``, its ``model``, and its ``folder`` within the run's,
    which has the number of its model where there are several.
    """

    run: str
    slug: str
    folder: str
    fold: int
    folds: int
    model: str

    @property
    def name(self) -> str:
        """What the part is called: a refit's one has the number after those of the folds, and holds out nothing."""
        return ALL_ROWS if self.fold == self.folds else f"fold {self.fold}"


@dataclass(frozen=True)
class FoldStarted(OfFold):
    """A fold begins to train, or goes on; ``epochs`` is 0 for a probe, which solves."""

    epochs: int


@dataclass(frozen=True)
class EpochEnded(OfFold):
    """An epoch (``epoch`` from 1, of ``epochs``) of a fold is over.

    ``valid_loss`` and ``score`` (of ``metric``) are of the rows that the fold holds out, as they are (identity view); NaN
    for a refit, which holds out none;
    ``lr`` is the highest learning rate at the epoch's beginning. ``seconds`` is what the epoch took here;
    ``seconds_left`` what the rest of the fold's epochs takes at the pace so far, no more than that where training may stop early.
    """

    epoch: int
    epochs: int
    train_loss: float
    valid_loss: float
    metric: str
    score: float
    lr: float
    images_per_second: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class FoldEnded(OfFold):
    """A fold is over: ``score`` on its ``rows`` held-out rows by the views of the submission, after ``seconds``.

    Where ``failure`` says why it failed, ``score`` is None and ``seconds`` 0; ``is_stopped`` says that this was the time limit. A
    refit's ``score`` is None too, and its ``rows`` are those that it trained on. A fold that
    an earlier command finished (``finished_before``) ends without having started.
    """

    metric: str
    score: float | None
    rows: int
    seconds: float
    failure: str = ""
    is_stopped: bool = False
    finished_before: bool = False


@dataclass(frozen=True)
class RunEnded:
    """A run is over: ``score`` over all OOF rows, ``per_fold`` those of its ``folds`` (numbers from 0), and where the
    submission lies. ``marks`` say why it is no full one (quick, sample, partial). Where ``failure`` says what ended it,
    ``score`` is None; an error before training begins no run, and ends none. A refit has no score either, nor folds.
    """

    run: str
    slug: str
    metric: str
    score: float | None
    folds: tuple[int, ...] = ()
    per_fold: tuple[float, ...] = ()
    submission: str = ""
    marks: tuple[str, ...] = ()
    seconds: float = 0.0
    failure: str = ""


Event = (
    Message
    | TaskStarted
    | TaskAdvanced
    | TaskEnded
    | RunStarted
    | FoldStarted
    | EpochEnded
    | FoldEnded
    | RunEnded
)


class RunListener:
    """Hears what happens in a run; a class under it has those methods alone that it wants.

    They are called in the process that runs ``comp``, one event after the other, also where folds train in processes of
    their own (``jobs``), whose events then come mixed: each names its fold. A run that goes on has the epochs alone
    that are trained now. Training waits while a method works. What a method raises does not end the run: it is shown
    once as a warning, and the listener hears no more; KeyboardInterrupt alone ends it, as Ctrl-C does.
    """

    def handle(self, event: Event) -> None:
        """Every event comes here first; calls the method for its kind."""
        getattr(self, _METHODS[type(event)])(event)

    def on_run_start(self, event: RunStarted) -> None:
        """The rows are checked, the folds dealt, the folder is made."""

    def on_fold_start(self, event: FoldStarted) -> None:
        """A fold begins to train."""

    def on_epoch(self, event: EpochEnded) -> None:
        """An epoch is over."""

    def on_fold_end(self, event: FoldEnded) -> None:
        """A fold is finished, failed, or was stopped by the time limit."""

    def on_run_end(self, event: RunEnded) -> None:
        """The last event of a run: its record is written, or something ended it."""

    def on_message(self, event: Message) -> None:
        """A line for people."""

    def on_task_start(self, event: TaskStarted) -> None:
        """Something with a progress begins."""

    def on_task_advance(self, event: TaskAdvanced) -> None:
        """It goes on."""

    def on_task_end(self, event: TaskEnded) -> None:
        """It is over."""


_METHODS = {
    RunStarted: "on_run_start",
    FoldStarted: "on_fold_start",
    EpochEnded: "on_epoch",
    FoldEnded: "on_fold_end",
    RunEnded: "on_run_end",
    Message: "on_message",
    TaskStarted: "on_task_start",
    TaskAdvanced: "on_task_advance",
    TaskEnded: "on_task_end",
}
_warned: set[str] = set()
_listeners: list[RunListener] = []  # of this process, the last that was added first
_numbers = count()


def emit(event: Event) -> None:
    """Lets every listener hear an event."""
    for listener in tuple(_listeners):
        listener.handle(event)


def log(text: str, remedy: str = "") -> None:
    """A line on what is being done, or a warning with its remedy."""
    emit(Message(text, remedy))


def warn_once(text: str, remedy: str = "") -> None:
    """A warning, the first time that it is given by a command; from Python, by the process."""
    if text not in _warned:
        _warned.add(text)
        log(f"  warning: {text}", remedy)


def forget_warnings() -> None:
    """A new command begins: every warning is new to its reader."""
    _warned.clear()


def add_listener(listener: RunListener) -> None:
    """A listener for as long as the process lives."""
    _listeners.append(listener)


def remove_listener(listener: RunListener) -> None:
    """It hears no more."""
    _listeners.remove(listener)


@contextmanager
def listening(*listeners: RunListener) -> Iterator[None]:
    """These hear what happens inside, in their order and before those that were there; what they raise passes on."""
    _listeners[:0] = listeners
    try:
        yield
    finally:
        for listener in listeners:
            _listeners.remove(listener)


@contextmanager
def screened(screen: Callable[[Event], bool]) -> Iterator[None]:
    """Those who listen hear inside only the events that ``screen`` lets pass; what it raises passes on to who emits."""
    before = tuple(_listeners)
    _listeners[:] = [_Screen(screen, before)]
    try:
        yield
    finally:
        _listeners[:] = before


def relay_to(send: Callable[[Event], object]) -> None:
    """From now on nobody in this process hears anything: ``send`` takes each event to the process that was forked."""
    _listeners[:] = [_Relay(send)]


class _Relay(RunListener):
    def __init__(self, send: Callable[[Event], object]) -> None:
        self._send = send

    def handle(self, event: Event) -> None:
        self._send(event)


class _Screen(RunListener):
    def __init__(self, screen: Callable[[Event], bool], behind: tuple[RunListener, ...]) -> None:
        self._screen, self._behind = screen, behind

    def handle(self, event: Event) -> None:
        if self._screen(event):
            for listener in self._behind:
                listener.handle(event)


class Guarded(RunListener):
    """A listener whose errors do not cost the run: the first one is said, and the listener dropped.

    Also one that leaves Python (SystemExit), which would end a run without a submission and say that all went well.
    """

    def __init__(self, listener: RunListener) -> None:
        self._listener: RunListener | None = listener

    def handle(self, event: Event) -> None:
        if self._listener is None:
            return
        try:
            self._listener.handle(event)
        except (Exception, SystemExit) as error:
            name, self._listener = type(self._listener).__name__, None
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(traceback.format_exception_only(error)[-1].split())
            log(
                f"  warning: the listener {name} raised {reason} ({frame.filename}:{frame.lineno}): it hears no more of this run"
            )


def guarded(listeners: Sequence[RunListener]) -> list[RunListener]:
    """Listeners whose errors do not cost the run; InputError for what is none."""
    rule, remedy = (
        "listeners are objects of classes under comp.events.RunListener",
        "listeners=[MyListener()]",
    )
    if not isinstance(listeners, Sequence):
        raise InputError(rule, f"listeners={listeners!r} is no list", remedy)
    for listener in listeners:
        if not isinstance(listener, RunListener):
            raise InputError(rule, f"{listener!r} is none", remedy)
    return [Guarded(listener) for listener in listeners]


class Task:
    """One thing under way: ``advance`` by what was done, with facts to show beside it; to be closed by who opens it."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self._id = f"{os.getpid()}-{next(_numbers)}"  # processes that were forked count alike
        self._said = 0.0
        emit(TaskStarted(self._id, title, total))

    def advance(self, n: int = 1, facts: str = "") -> None:
        self.done += n
        now = time.monotonic()
        if now - self._said >= ADVANCE_SECONDS or self.done >= self.total:
            self._said = now
            emit(TaskAdvanced(self._id, self.title, self.done, self.total, facts))

    def expect(self, more: int) -> None:
        """There is more to do than was known when it was opened, or less (below zero)."""
        self.total += more
        if self.done:
            emit(TaskAdvanced(self._id, self.title, self.done, self.total, ""))

    def close(self) -> None:
        emit(TaskEnded(self._id, self.title))


@contextmanager
def task(title: str, total: int) -> Iterator[Task]:
    """A task that ends with the block."""
    opened = Task(title, total)
    try:
        yield opened
    finally:
        opened.close()


_FOLD_TASK = re.compile(r"fold (\d+)")
_MODEL = re.compile(r"model-(\d+)/")  # in the folder of a fold, where there are several models
FEATURES = "features"  # the bar of what all folds of a probe share
FIRST_SECONDS = 3.0  # of training, before its pace says anything


class RunPace:
    """Hears the events of a run; ``seconds_left`` is what its training still takes, at the pace so far.

    The unit is an epoch of a fold; a probe's fold is one, of which nearly all is its share of the features.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole: dict[tuple[int, int], float] = {}  # by model and fold
        self._at: dict[tuple[int, int], float] = {}  # how far each is
        self._probes: set[int] = set()
        self._model_of: dict[int, int] = {}  # of each fold that trains
        self._tasks: dict[str, int] = {}  # the folds' bars, and the features' (-1)
        self._done_here = 0.0
        self._began: float | None = None

    def run_start(self, event: RunStarted) -> None:
        """A run begins, or goes on."""
        self.__init__(self._clock)  # type: ignore[misc]
        self._probes = {n for n, epochs in enumerate(event.epochs) if not epochs}
        self._whole = {(n, k): float(max(1, e)) for n, e in enumerate(event.epochs) for k in event.only}

    def fold_start(self, event: FoldStarted) -> None:
        """A fold begins to train, or goes on."""
        self._model_of[event.fold] = model_of(event)

    def fold_end(self, event: FoldEnded) -> None:
        """A fold is over: now, or before this command."""
        where = (model_of(event), event.fold)
        whole, at = self._whole.pop(where, 0.0), self._at.pop(where, 0.0)
        if where[0] in self._probes and not event.finished_before:
            self._done_here += whole - at

    def task_start(self, event: TaskStarted) -> None:
        """A bar opens: those of folds and features count."""
        found = _FOLD_TASK.fullmatch(event.title)
        is_all = event.title == ALL_ROWS
        if self._whole and (found or is_all or (event.title == FEATURES and self._model in self._probes)):
            self._tasks[event.task] = (
                int(found[1]) if found else max(k for _, k in self._whole) if is_all else -1
            )
            self._began = self._clock() if self._began is None else self._began

    def task_advance(self, event: TaskAdvanced) -> None:
        """A bar goes on; where it stands first was done by an earlier command."""
        fold = self._tasks.get(event.task)
        if fold is None or not event.total:
            return
        if fold >= 0:
            at = {(self._model_of.get(fold, 0), fold)}
        else:
            at = {where for where in self._whole if where[0] == self._model}
        for where in at & self._whole.keys():
            now = self._whole[where] * min(1.0, event.done / event.total) * (0.95 if fold < 0 else 1.0)
            self._done_here += max(0.0, now - self._at.get(where, 0.0 if fold < 0 else now))
            self._at[where] = max(now, self._at.get(where, 0.0))

    def task_end(self, event: TaskEnded) -> None:
        """A bar closes."""
        self._tasks.pop(event.task, None)

    @property
    def _model(self) -> int:
        """The model that trains: they do so in their order."""
        return min((n for n, _ in self._whole), default=0)

    @property
    def seconds_left(self) -> float | None:
        """Of training; None while too little was done to tell."""
        seconds = 0.0 if self._began is None else self._clock() - self._began
        if self._done_here <= 0 or seconds < FIRST_SECONDS:
            return None
        left = sum(whole - self._at.get(where, 0.0) for where, whole in self._whole.items())
        return seconds / self._done_here * max(0.0, left)


def model_of(event: OfFold) -> int:
    """The number of a fold's model in its run, from 0."""
    found = _MODEL.search(event.folder + "/")
    return int(found[1]) if found else 0
