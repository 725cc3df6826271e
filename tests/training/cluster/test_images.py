"""A worker reads the images that were checked, wherever they come from, and no others."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comp.data.images.pixel_cache import DecodedSource, stores_folder
from comp.data.images.source import ArraySource, WithFiles
from comp.errors import ImageError, InputError
from comp.training.cluster import images as travel
from comp.training.cluster.images import (
    AsChecked,
    controls_of,
    list_store,
    plan_on_worker,
    read_chunk,
    receive_store,
)
from comp.training.plan import TrainPlan
from comp.training.train_fold import FoldJob, run_fold
from made import write_shapes
from training.test_plan_travels import bytes_of, plan_of


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainPlan:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "driver-cache"))
    write_shapes(tmp_path)
    return plan_of(tmp_path, "shapes").in_folder(tmp_path / "here")


def sent(
    plan: TrainPlan, k: int = 1, contents: dict[str, str] | None = None, given: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    """What a worker gets of a plan, through pickle."""
    there, images, arrays = travel.plan_for_workers(plan, contents or {})
    found: tuple[Any, ...] = pickle.loads(
        pickle.dumps((there, images, arrays, {} if arrays or given is not None else controls_of(plan, k)))
    )
    return found


def test_a_machine_without_the_raw_folder_trains_the_same_fold(
    plan: TrainPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fold(plan, 1)
    expected = bytes_of(tmp_path / "here")
    assert isinstance(plan.decoded, DecodedSource)
    listed, store = list_store(plan.decoded.store.folder), plan.decoded.store.folder
    there, images, arrays, given = sent(plan)
    shutil.move(tmp_path / "data", tmp_path / "gone")
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "worker-cache"))
    assert plan_on_worker(there, images, arrays, given) is None, "the decoded images are not there yet"
    came = receive_store(listed, lambda n: read_chunk(store, listed.chunks[n]), "driver")
    assert came == listed.size == sum(f.stat().st_size for f in store.iterdir())
    assert receive_store(listed, lambda n: pytest.fail("once a machine"), "driver") == 0
    whole = plan_on_worker(there, images, arrays, given)
    assert whole is not None
    FoldJob(replace(whole.in_folder(tmp_path / "there"), node="node 7"), 1)()
    assert bytes_of(tmp_path / "there") == expected
    kept = [
        sorted(p.read_bytes() for p in (tmp_path / at / "fold-1" / "control").iterdir())
        for at in ("here", "there")
    ]
    assert kept[0] == kept[1]
    assert '"node": "node 7"' in (tmp_path / "there" / "fold-1" / "result.json").read_text()


@pytest.mark.parametrize("n", [0, 1])
def test_a_changed_byte_on_the_way_is_refused_and_nothing_stays(
    plan: TrainPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    assert isinstance(plan.decoded, DecodedSource)
    store = plan.decoded.store.folder
    listed = list_store(store)
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "worker-cache"))

    def fetch(at: int) -> bytes:
        content = bytearray(read_chunk(store, listed.chunks[at]))
        if at == n:
            content[len(content) // 2] ^= 1
        return bytes(content)

    with pytest.raises(InputError, match="arrive as they were sent"):
        receive_store(listed, fetch, "driver")
    assert [p for p in stores_folder().iterdir() if p.is_dir()] == []


def test_a_store_is_sent_in_chunks_that_are_all_of_it(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(travel, "CHUNK", 1000)
    assert isinstance(plan.decoded, DecodedSource)
    store = plan.decoded.store.folder
    listed = list_store(store)
    assert len(listed.chunks) > 10
    for name in ("index.json", "pixels.u8"):
        whole = b"".join(read_chunk(store, one) for one in listed.chunks if one.file == name)
        assert whole == (store / name).read_bytes()


def test_a_file_that_changed_since_the_check_is_refused_where_it_is_read(
    plan: TrainPlan, tmp_path: Path
) -> None:
    path = plan.manifest.train["path"].iloc[0]
    before = plan.source.load(path)
    assert isinstance(before, bytes)
    there, *_ = sent(replace(plan, decoded=None), contents={path: hashlib.sha256(before).hexdigest()})
    assert there.source.load(path) == before
    file = tmp_path / "data" / "shapes" / path
    file.write_bytes(before + b"x")
    with pytest.raises(ImageError, match="the one that was checked"):
        there.source.load(path)


def test_pixels_that_an_adapter_makes_elsewhere_are_refused(plan: TrainPlan) -> None:
    """They have no SHA-256: another version of the array on the worker would be trained on unseen."""
    pixels = ArraySource({"x": np.zeros((1, 4, 4, 3), np.uint8)})
    there, images, arrays, given = sent(replace(plan, source=WithFiles(pixels), decoded=None), given={})
    whole = plan_on_worker(there, images, arrays, given)
    assert whole is not None
    with pytest.raises(ImageError, match="the one that was checked"):
        whole.source.load("x#0")


def test_arrays_go_along_and_what_is_nowhere_says_so(plan: TrainPlan) -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    with_arrays = replace(plan, source=ArraySource({"x": pixels}), decoded=None)
    there, images, arrays, given = sent(with_arrays)
    whole = plan_on_worker(there, images, arrays, given)
    assert whole is not None
    assert (np.asarray(whole.source.load("x#1")) == pixels[1]).all()
    with pytest.raises(ImageError, match="on the machine that reads it"):
        AsChecked(travel.MissingSource(), {}).load("a.png")
