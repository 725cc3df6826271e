"""From a kernel's folder to a run of its notebook on Kaggle: the intent first, and nothing twice. ``pushed.json`` in the
folder says how far it came.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp import console, events
from comp.config import Shape, read_shaped
from comp.errors import CompError, InputError, KaggleError, KaggleRefusal
from comp.files import read_json, sha256_of, write_json
from comp.kaggle.client import Kaggle
from comp.kaggle.kernel.client import KernelCalls
from comp.kaggle.kernel.metadata import ABOUT, DATASET, KERNEL, PUSHED

INTENT, DONE = "intent", "done"
_AGAIN = "write the folder again: `comp kernel`"


class Step(Shape):
    """A dataset or a notebook that goes to Kaggle: of which content, in which state, the newest version that Kaggle had before,
    and its own.
    """

    sha256: str = ""
    state: str = ""
    before: int = 0
    version: int = 0


class Pushed(Shape):
    """``pushed.json``."""

    dataset: Step = Step()
    kernel: Step = Step()


@dataclass(frozen=True)
class Folder:
    """A kernel's folder: what ``kernel.json`` and the metadata say, the files of its dataset, and its notebook's text."""

    path: Path
    about: dict[str, Any]
    metadata: dict[str, Any]
    dataset: dict[str, Any]
    files: tuple[Path, ...]
    text: str

    @property
    def owner(self) -> str:
        return str(self.metadata["id"]).partition("/")[0]

    @property
    def name(self) -> str:
        return str(self.metadata["id"]).partition("/")[2]

    @property
    def dataset_sha256(self) -> str:
        """Of the files of the dataset, names and contents."""
        told = hashlib.sha256()
        for path in self.files:
            told.update(f"{path.name}\n{sha256_of(path)}\n".encode())
        return told.hexdigest()

    @property
    def sha256(self) -> str:
        """Of the notebook with its dataset."""
        return hashlib.sha256(f"{self.dataset_sha256}\n{self.text}".encode()).hexdigest()


def read_folder(path: str | Path, slug: str) -> Folder:
    """A folder that ``comp kernel`` wrote for this competition.

    Raises
    ------
    InputError
        If it is none, lacks a file, or is another competition's.
    """
    folder = Path(path).expanduser()
    rule = "a notebook is submitted from the folder that `comp kernel` wrote"
    for name in (ABOUT, KERNEL, f"dataset/{DATASET}"):
        if not (folder / name).is_file():
            raise InputError(rule, f"{folder} has no {name}", _AGAIN)
    about, metadata = read_json(folder / ABOUT), read_json(folder / KERNEL)
    dataset = read_json(folder / "dataset" / DATASET)
    if about.get("slug") != slug:
        value = f"{folder} is of {about.get('slug')!r}"
        raise InputError(
            "a notebook goes to its own competition", value, f"`comp submit {about.get('slug')}`"
        )
    code = folder / str(metadata.get("code_file"))
    if not code.is_file():
        raise InputError(rule, f"{folder} has no {metadata.get('code_file')}", _AGAIN)
    every = sorted((folder / "dataset").iterdir())
    files = tuple(one for one in every if one.is_file() and one.name != DATASET)
    return Folder(folder, about, metadata, dataset, files, code.read_text(encoding="utf-8"))


def push(api: Kaggle, folder: Folder) -> int:
    """Uploads the dataset and pushes the notebook, each unless Kaggle has this very content, and waits until it ran; the
    version of the notebook.

    Raises
    ------
    KaggleError, KaggleRefusal
        Where Kaggle says no, or its run of the notebook ends with an error.
    """
    calls = KernelCalls(api)
    kept = folder.path / PUSHED
    told: Pushed = read_shaped(kept, Pushed, f"remove {kept}") if kept.is_file() else Pushed()
    sha256 = folder.dataset_sha256

    def write(**changed: Step) -> None:
        nonlocal told
        told = told.model_copy(update=changed)
        write_json(kept, told.model_dump())

    step = _settled(told.dataset, sha256, lambda: calls.dataset_version(folder.owner, folder.name))
    if step.state != DONE:
        write(dataset=step.model_copy(update={"state": INTENT}))
        _upload(calls, folder, step.before)
        step = step.model_copy(update={"version": step.before + 1})
    write(dataset=step.model_copy(update={"state": DONE}))
    _await_dataset(api, calls, folder)
    step = _settled(told.kernel, folder.sha256, lambda: calls.kernel_version(folder.owner, folder.name))
    if step.state != DONE:
        write(kernel=step.model_copy(update={"state": INTENT}))
        version = calls.push(folder.metadata, folder.text)
        step = step.model_copy(update={"version": version or step.before + 1})
        events.log(f"pushed {folder.metadata['id']}, version {step.version}")
    write(kernel=step.model_copy(update={"state": DONE}))
    _await_run(api, calls, folder, step.version)
    return step.version


def _settled(step: Step, sha256: str, newest: Callable[[], int]) -> Step:
    """A step as it really stands: one that broke off is on Kaggle if that has a newer version than before."""
    if step.sha256 == sha256 and step.state == DONE:
        return step
    now = newest()
    if step.sha256 == sha256 and step.state == INTENT and now > step.before:
        events.log(f"what broke off is on Kaggle as version {now}: it is not sent again")
        return step.model_copy(update={"state": DONE, "version": now})
    return Step(sha256=sha256, state="", before=now)


def _upload(calls: KernelCalls, folder: Folder, before: int) -> None:
    with events.task("uploading", len(folder.files)) as bar:
        tokens = []
        for path in folder.files:
            tokens.append(calls.upload(path))
            bar.advance(1)
    if before:
        notes = f"comp run {folder.about.get('run')}"
        calls.create_dataset_version(folder.owner, folder.name, notes, tokens)
    else:
        calls.create_dataset(folder.owner, folder.name, str(folder.dataset["title"]), tokens)


def _await_dataset(api: Kaggle, calls: KernelCalls, folder: Folder) -> None:
    """Waits until Kaggle has unpacked a dataset."""

    def look() -> str | None:
        status = calls.dataset_status(folder.owner, folder.name)
        if status in ("FAILED", "DELETED"):
            value = f"{folder.dataset['id']}: {status}"
            raise KaggleRefusal(
                "Kaggle must take the dataset", value, "look at its page; remove pushed.json to send it again"
            )
        return None if status == "READY" else status or "not there yet"

    _await(api, f"dataset {folder.dataset['id']}", look)


def _await_run(api: Kaggle, calls: KernelCalls, folder: Folder, version: int) -> None:
    """Waits until Kaggle ran a notebook."""

    def look() -> str | None:
        state = calls.state(folder.owner, folder.name, version)
        if state.status in ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED"):
            value = f"{folder.metadata['id']}, version {version}: {state.reason or state.status}"
            remedy = "its log is at the notebook's page; correct that, write the folder again, then the same command"
            raise KaggleRefusal("Kaggle's run of the notebook must end well", value, remedy)
        return None if state.status == "COMPLETE" else state.status

    _await(api, f"notebook {folder.metadata['id']}, version {version}", look)


def _await(api: Kaggle, what: str, look: Callable[[], str | None]) -> None:
    """Looks until there is nothing left to say, or patience ends."""
    ends = time.monotonic() + api.patience.wait
    try:
        with console.waiting(what) as told:
            while (news := look()) is not None:
                if time.monotonic() + api.patience.poll > ends:
                    value = f"{what}: {news} after {api.patience.wait:g} s"
                    remedy = "the same command goes on from here; COMP_KAGGLE_WAIT waits longer"
                    raise KaggleError("Kaggle must be done some time", value, remedy)
                told(f"{news}, asked every {api.patience.poll:g} s")
                time.sleep(api.patience.poll)
    except (CompError, KeyboardInterrupt):
        events.log(f"{what} is not ready; the same command goes on from here, and sends nothing twice")
        raise
