"""A process that works for this one: what happens there is heard here, with what its work raised or returned at last.

Imported by such processes first of all: it needs no torch.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import signal
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from comp import events
from comp.errors import CompError, TrainingFailed

GRACE_SECONDS = 10.0  # for a process to end after its work
SMALLER = "if memory did not suffice for several folds at once: a smaller jobs"
_PR_SET_PDEATHSIG = 1  # of Linux' prctl


class Child(ABC):
    """A process that works on fold k, and says through ``pipe`` what happens there; events are heard here."""

    answer: Any = None  # what its work returned, where that is sent
    _in_words = "its process"

    def __init__(self, k: int, pipe: Connection) -> None:
        self.k, self.pipe = k, pipe
        self._tasks: dict[str, events.TaskEnded] = {}  # those that it has begun, each with its end
        self._failure: Exception | None = None
        self._ended = False

    def hear(self) -> bool:
        """Takes one message in; False when there will be no more."""
        try:
            news = self.pipe.recv()
        except (EOFError, OSError):
            return False
        if isinstance(news, LastNews):
            self._ended, self._failure, self.answer = True, news.failure, news.answer
            return False
        if isinstance(news, events.TaskStarted):
            self._tasks[news.task] = events.TaskEnded(news.task, news.title)
        elif isinstance(news, events.TaskEnded):
            self._tasks.pop(news.task, None)
        events.emit(news)
        return True

    def end(self) -> Exception | None:
        """What the process raised; TrainingFailed where it did not live to say it."""
        code = self._ended_with(GRACE_SECONDS)
        self.pipe.close()
        for ended in self._tasks.values():
            events.emit(ended)
        if self._ended:
            return self._failure
        value = f"{self._in_words} ended with {signal.Signals(-code).name if code < 0 else code}"
        return TrainingFailed("a fold's process has to live to its end", value, SMALLER)

    @property
    def is_cut_off(self) -> bool:
        """Whether it ended without a last word."""
        return not self._ended

    @abstractmethod
    def kill(self) -> None:
        """Ends it at once."""

    @abstractmethod
    def _ended_with(self, seconds: float) -> int:
        """Its exit code, once it has ended by itself, or was killed after so many seconds."""


def tell(pipe: Connection, prepared: Callable[[], Callable[[], object]]) -> None:
    """Calls what ``prepared`` gives, and says through ``pipe`` what happens in it, and at last what it raised or returned."""
    one_at_a_time = Lock()

    def send(news: events.Event | LastNews) -> None:
        with one_at_a_time:
            pipe.send(news)

    events.relay_to(send)
    # the parent's may be rich's, whose locks another thread may have held when this process was forked
    sys.stdout = sys.stderr = EventLines()
    failure: Exception | None = None
    answer: object = None
    try:
        work = prepared()
        events.relay_to(
            send
        )  # what was imported with it may have begun to listen: the console, to what it prints itself
        answer = work()
    except CompError as error:
        failure = error
    except Exception as error:
        error.add_note(traceback.format_exc())
        failure = error
    send(LastNews(sendable(failure), answer))


@dataclass(frozen=True)
class LastNews:
    """The last that a process says: what its work raised, or returned."""

    failure: Exception | None
    answer: Any = None


class EventLines(io.TextIOBase):
    """What warnings and the competition's own code print, sent line by line."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            events.log(line)
        return len(text)


def sendable(failure: Exception | None) -> Any:
    """The error itself, or where it cannot be sent one with its traceback."""
    try:
        pickle.loads(pickle.dumps(failure))
        return failure
    except Exception:
        lines = traceback.format_exception(failure) if failure else []
        return RuntimeError("".join(lines))


def watch_parent(parent: int) -> None:
    """Lets this process end with the one that started it, where the system can (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)
