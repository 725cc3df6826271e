"""What a worker reads its images from: decoded ones that it has or is sent, arrays that it is sent, or files held to what was checked."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from comp.data.images.pixel_cache import DecodedSource, open_store, stores_folder
from comp.data.images.source import AdapterSource, ArraySource, ImageSource, Pixels
from comp.errors import ImageError, InputError
from comp.inference.predict import chosen
from comp.training.plan import TrainPlan, rows_of_fold

_RULE = "an image must be the one that was checked"
CHUNK = 16 << 20  # bytes that travel at once
Fetch = Callable[[int], bytes]  # a chunk by its number


@dataclass(frozen=True)
class MissingSource:
    """A source of images that did not come along: nothing that is asked for should be left to it."""

    def load(self, path: str) -> bytes | Pixels:
        value = f"{path} on {platform.node()}"
        raise ImageError(
            "an image must be on the machine that reads it", value, "clear COMP_CACHE there, and `resume`"
        )


@dataclass(frozen=True)
class AsChecked:
    """A source whose files must be those that were checked, wherever they are read; ``given`` came along.

    ``contents`` is the SHA-256 of a path's file.
    """

    own: ImageSource
    contents: Mapping[str, str]
    given: Mapping[str, bytes | Pixels] = field(default_factory=dict)

    def load(self, path: str) -> bytes | Pixels:
        """
        Raises
        ------
        ImageError
            Where it is another file than the one that was checked, or no file: nothing would tell whether its pixels are the same.
        """
        if path in self.given:
            return self.given[path]
        content, wanted = self.own.load(path), self.contents.get(path)
        if wanted is None or not isinstance(content, bytes):  # pixels that an adapter makes have no SHA-256
            value = f"{path} on {platform.node()} is no file that was checked"
            raise ImageError(_RULE, value, "train on this machine: drop `engine`")
        if hashlib.sha256(content).hexdigest() != wanted:
            value = f"{path} on {platform.node()} has another SHA-256"
            raise ImageError(_RULE, value, "copy the raw folder there again")
        return content


@dataclass(frozen=True)
class Chunk:
    """Bytes ``start`` to ``end`` of a store's file, and their SHA-256."""

    file: str
    start: int
    end: int
    sha256: str


@dataclass(frozen=True)
class StoreList:
    """A store of decoded images, named by what is in it, as it is sent: all of its bytes in chunks."""

    name: str
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        return sum(chunk.end - chunk.start for chunk in self.chunks)


@dataclass(frozen=True)
class Images:
    """Where a plan's images come from on a worker: ``store`` is the name of the decoded ones, if there are any; the rest is
    within the plan."""

    store: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)


def plan_for_workers(
    plan: TrainPlan, contents: Mapping[str, str]
) -> tuple[TrainPlan, Images, dict[str, Any]]:
    """A plan without what a worker may not have, what its images are there, and arrays that go along, by name.

    Decoded images travel as a store, arrays as they are; what is read from files stays with the paths, and each file is
    held to ``contents``, the SHA-256 by path of those that were checked.
    """
    decoded, source = plan.decoded, plan.source
    if isinstance(decoded, DecodedSource) and _has_all(decoded, plan):
        plan = replace(plan, source=AsChecked(MissingSource(), {}), decoded=None)
        return plan, Images(decoded.store.folder.name, decoded.contents), {}
    arrays = source.own if isinstance(source, AdapterSource) else source
    if isinstance(arrays, ArraySource):
        return replace(plan, source=MissingSource(), decoded=None), Images(), dict(arrays.arrays)
    return replace(plan, source=AsChecked(source, contents), decoded=None), Images(), {}


def _has_all(decoded: DecodedSource, plan: TrainPlan) -> bool:
    """Whether a store has every image that training may read."""
    table = plan.by_image.table
    read = table["path"] if plan.pseudo is not None else table["path"][table["split"] != "test"]
    return all(decoded.shape(path) is not None for path in read)


def controls_of(plan: TrainPlan, k: int) -> dict[str, bytes | Pixels]:
    """The images of a fold's control rows as they lie in the raw folder, by path: the fold keeps them byte for byte."""
    part = rows_of_fold(plan, k)
    ids, paths = list(part.table["id"].iloc[part.held_out]), list(part.table["path"].iloc[part.held_out])
    return {paths[n]: plan.source.load(paths[n]) for n in chosen(ids)}


def plan_on_worker(
    plan: TrainPlan, images: Images, arrays: dict[str, Any], given: Mapping[str, bytes | Pixels]
) -> TrainPlan | None:
    """A plan whose images can be read here; None where the decoded ones have yet to come."""
    if arrays:
        return replace(plan, source=ArraySource(arrays))
    assert isinstance(plan.source, AsChecked), "made by plan_for_workers()"
    source = replace(plan.source, given=given)
    if not images.store:
        return replace(plan, source=source)
    store = open_store(stores_folder() / images.store)
    return (
        None
        if store is None
        else replace(plan, source=source, decoded=DecodedSource(source, store, dict(images.contents)))
    )


def list_store(folder: Path) -> StoreList:
    """What a store consists of, in chunks."""
    chunks = []
    for name in ("index.json", "pixels.u8"):
        start = 0
        for content in _pieces(folder / name):
            end = start + len(content)
            chunks.append(Chunk(name, start, end, hashlib.sha256(content).hexdigest()))
            start = end
    return StoreList(folder.name, tuple(chunks))


def read_chunk(folder: Path, chunk: Chunk) -> bytes:
    """The bytes of a chunk."""
    with (folder / chunk.file).open("rb") as file:
        file.seek(chunk.start)
        return file.read(chunk.end - chunk.start)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while content := file.read(CHUNK):
            yield content


def receive_store(listed: StoreList, fetch: Fetch, where: str) -> int:
    """Writes a store that is sent, unless it is there by now; the bytes that came.

    Processes of one machine wait for the first of them. The store is put in its place at once, after every chunk was found to be as
    it was sent.

    Raises
    ------
    InputError
        For a chunk that is not; nothing of the store stays.
    """
    root = stores_folder()
    root.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(root / f".{listed.name}.lock"):
        if open_store(root / listed.name) is not None:
            return 0
        part = root / f".part-{os.getpid()}-{listed.name[:8]}"
        try:
            _write_chunks(listed, fetch, part, where)
            shutil.rmtree(root / listed.name, ignore_errors=True)  # a torn one
            os.rename(part, root / listed.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return listed.size


def _write_chunks(listed: StoreList, fetch: Fetch, part: Path, where: str) -> None:
    part.mkdir(parents=True)
    for n, chunk in enumerate(listed.chunks):
        content = fetch(n)
        if hashlib.sha256(content).hexdigest() != chunk.sha256:
            value = (
                f"bytes {chunk.start:,} to {chunk.end:,} of {chunk.file} from {where} have another SHA-256"
            )
            raise InputError("images must arrive as they were sent", value, "run it again with `resume`")
        with (part / chunk.file).open("ab") as file:
            file.write(content)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    if os.name == "nt":  # no flock there
        yield
        return
    import fcntl

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def chunks_to_send(folder: Path, listed: StoreList, put: Callable[[bytes], Any]) -> Sequence[Any]:
    """What ``put`` makes of every chunk."""
    return [put(read_chunk(folder, chunk)) for chunk in listed.chunks]
