"""A notebook on its way to Kaggle and to its score: waited for, refused, cut off and killed; nothing goes there twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from comp.files import read_json
from comp.kaggle.kernel.build import kernel
from kaggle_server import Fault, LoopbackKaggle, wait_until
from kaggle_worker import worker

NAME = "three-shapes"


@pytest.fixture(scope="module")
def with_kernel(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a written kernel in ``k``; not to be written to."""
    place = tmp_path_factory.mktemp("with-kernel") / "workspace"
    shutil.copytree(finished, place)
    kernel("shapes", workspace=place, out=place / "k", user="ann")
    return place


@pytest.fixture
def place(with_kernel: Path, tmp_path: Path) -> Path:
    """A copy of that workspace."""
    shutil.copytree(with_kernel, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def notebooks(kaggle: LoopbackKaggle) -> LoopbackKaggle:
    """A competition that takes notebooks only."""
    kaggle.competition["isKernelsSubmissionsOnly"] = True
    return kaggle


def submit(place: Path, server: LoopbackKaggle, *more: object) -> Any:
    return server.comp(place, "submit", "shapes", "--kernel", "k", *more)


def entries(place: Path) -> list[dict[str, Any]]:
    (path,) = (place / "submissions" / "shapes").glob("*.json")
    return json.loads(path.read_text()).get("submitted") or []


def once(server: LoopbackKaggle) -> bool:
    """Whether there is one version of the dataset and the notebook, and one submission."""
    made = [len(v) for v in (*server.datasets.values(), *server.kernels.values(), [*server.submissions])]
    if server.datasets and server.kernels:
        return made == [1, 1, 1]
    return False


def test_it_pushes_waits_submits_and_tells_the_score(place: Path, notebooks: LoopbackKaggle) -> None:
    notebooks.dataset_statuses = ["NOT_YET_PERSISTED", "READY"]
    notebooks.kernel_statuses = [{"status": "QUEUED"}, {"status": "RUNNING"}, {"status": "COMPLETE"}]
    notebooks.statuses = ["PENDING", "COMPLETE"]
    done = submit(place, notebooks, "-m", "first try", "--json")
    assert done.code == 0, done.err
    assert (done.json["public"], done.json["status"]) == (0.8125, "COMPLETE")
    id_ = read_json(place / "k" / "kernel-metadata.json")["id"]
    (dataset,), (pushed,) = notebooks.datasets[id_], notebooks.kernels[id_]
    assert dataset["isPrivate"] is True
    sent = {path.name: path.read_bytes() for path in (place / "k" / "dataset").iterdir()}
    del sent["dataset-metadata.json"]
    assert len(dataset["files"]) == len(sent)
    for token, content in notebooks.blobs.items():
        assert sent[token.split("-", 2)[2]] == content
    assert pushed["isPrivate"] is True
    assert not pushed.get("enableInternet")
    assert pushed["competitionDataSources"] == [NAME]
    assert pushed["datasetDataSources"] == [id_]
    assert json.loads(pushed["text"])["nbformat"] == 4
    (request,) = [r for m, r in notebooks.calls if m == "CreateCodeSubmission"]
    assert (request["competitionName"], request["kernelVersion"], request["fileName"]) == (
        NAME,
        1,
        "submission.csv",
    )
    assert f"{request['kernelOwner']}/{request['kernelSlug']}" == id_
    assert request["submissionDescription"].startswith("first try (comp kernel ")
    (entry,) = entries(place)
    assert (entry["state"], entry["ref"], entry["public"]) == ("submitted", 4000, 0.8125)
    assert "RUNNING" in done.err
    again = submit(place, notebooks)
    assert again.code == 1
    assert "submitted at" in again.err
    assert once(notebooks)


def test_a_dry_run_and_a_no_send_nothing(place: Path, notebooks: LoopbackKaggle) -> None:
    done = submit(place, notebooks, "--dry-run")
    assert done.code == 0, done.err
    notebooks.limits = {"numToday": 5, "numTotal": 9}
    assert submit(place, notebooks).code == 1
    assert not notebooks.datasets
    assert not notebooks.kernels
    assert not (place / "k" / "pushed.json").exists()


@pytest.mark.parametrize("run_ends", ["ERROR", "CANCEL_ACKNOWLEDGED"])
def test_a_run_that_fails_is_told_in_the_servers_words(
    run_ends: str, place: Path, notebooks: LoopbackKaggle
) -> None:
    notebooks.kernel_statuses = [
        {"status": "RUNNING"},
        {"status": run_ends, "failureMessage": "Your notebook ran out of memory"},
    ]
    done = submit(place, notebooks)
    assert done.code == 1
    assert "Your notebook ran out of memory" in " ".join(done.err.split())
    assert not notebooks.submissions
    notebooks.kernel_statuses = [{"status": "COMPLETE"}]
    assert submit(place, notebooks).code == 0
    assert once(notebooks)


FAULTS = {
    "CreateDataset": "The dataset slug is in use",
    "SaveKernel": "Maximum batch GPU session count of 2 reached",
    "CreateCodeSubmission": "Submission not allowed: you have 0 submissions left",
}


@pytest.mark.parametrize("method", FAULTS)
def test_a_refusal_reaches_the_user_and_can_be_tried_again(
    method: str, place: Path, notebooks: LoopbackKaggle
) -> None:
    notebooks.faults[method] = [Fault(400, {"code": 400, "message": FAULTS[method]})]
    done = submit(place, notebooks)
    assert done.code == 1
    assert FAULTS[method] in " ".join(done.err.split())
    assert not notebooks.submissions
    done = submit(place, notebooks)
    assert done.code == 0, done.err
    assert once(notebooks)


def test_an_answer_that_says_error_is_one(place: Path, notebooks: LoopbackKaggle) -> None:
    notebooks.faults["CreateDataset"] = [Fault(200, {"status": "Error", "error": "too many files"})]
    done = submit(place, notebooks)
    assert done.code == 1
    assert "too many files" in done.err
    notebooks.faults["SaveKernel"] = [Fault(200, {"error": "Notebook source is too long"})]
    done = submit(place, notebooks)
    assert done.code == 1
    assert "Notebook source is too long" in done.err
    notebooks.dataset_statuses = ["FAILED"]
    assert "FAILED" in submit(place, notebooks).err


KILLS = ("made", "pushed", "GetKernelSessionStatus", "created", "blob")


@pytest.mark.parametrize("where", KILLS)
def test_killed_anywhere_it_goes_on_and_nothing_is_there_twice(
    where: str, place: Path, notebooks: LoopbackKaggle
) -> None:
    notebooks.faults[where] = [Fault(kind="late")]
    pid = notebooks.start(place, "submit", "shapes", "--kernel", "k")
    wait_until(notebooks.reached.is_set)
    os.kill(pid, signal.SIGKILL)
    assert worker().end(pid, place).code == -signal.SIGKILL
    notebooks.released.set()
    done = submit(place, notebooks)
    assert done.code == 0, done.err
    assert once(notebooks)
    (entry,) = entries(place)
    assert (entry["state"], entry["ref"], entry["public"]) == ("submitted", 4000, 0.8125)


def test_changed_contents_become_new_versions(place: Path, notebooks: LoopbackKaggle) -> None:
    assert submit(place, notebooks).code == 0
    (book,) = (place / "k").glob("*.ipynb")
    book.write_text(
        book.read_text()
        .replace("# 2. install comp", "# 2. install  comp", 1)
        .replace("nbformat_minor", "nbformat_minor")
    )
    text = json.loads(book.read_text())
    text["cells"][0]["source"] += "\nmine"
    book.write_text(json.dumps(text))
    done = submit(place, notebooks)
    assert done.code == 0, done.err
    assert [len(v) for v in notebooks.datasets.values()] == [1], "the dataset has not changed"
    assert [len(v) for v in notebooks.kernels.values()] == [2]
    assert len(notebooks.submissions) == 2
    (place / "k" / "dataset" / "more.txt").write_text("more")
    assert submit(place, notebooks).code == 0
    assert [len(v) for v in notebooks.datasets.values()] == [2]
    assert notebooks.count("CreateDatasetVersion") == 1


def test_what_is_no_kernels_folder_is_refused(place: Path, notebooks: LoopbackKaggle) -> None:
    done = notebooks.comp(place, "submit", "shapes", "--kernel", "data")
    assert done.code == 2
    assert "comp kernel" in done.err
    assert notebooks.comp(place, "submit", "digits", "--kernel", "k").code == 2
    both = submit(place, notebooks, "--run", "latest")
    assert both.code == 2
    assert "--kernel names what is submitted" in both.err
    assert not notebooks.calls
