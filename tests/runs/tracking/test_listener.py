"""A run and its trackers: what they are told, and that none of them can hold the run up or spoil it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import comp
from comp.errors import InputError, UnknownName
from comp.pipelines.run_result import RunResult
from comp.runs.tracking import listener
from comp.runs.tracking.listener import TRACKERS, WAIT_SECONDS, Tool, TrackerProcess
from made import clean_environment, probe, run_comp, write_shapes
from made_trackers import RELEASED, SET, all_written, history


def run(workspace: Path, *names: str, **more: Any) -> RunResult:
    overrides = [*SET, *more.pop("overrides", [])]
    return comp.run(
        "shapes", 2, workspace=workspace, overrides=overrides, report=False, track=list(names), **more
    )


def noted(workspace: Path) -> list[list[Any]]:
    path = workspace / "tracking" / "noted.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def closed(workspace: Path) -> list[Any]:
    """The last that a tracker was told, once it has closed the whole run; waits for that."""
    for _ in range(600):
        told = noted(workspace)
        if told and told[-1][:2] == ["close", ""]:
            return told[-1]
        time.sleep(0.1)
    raise AssertionError("the tracker did not come to its end")


def curves(workspace: Path, fold: str) -> list[tuple[int, dict[str, float]]]:
    return [(told[2], told[3]) for told in noted(workspace) if told[:2] == ["log", fold]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Path:
    """A workspace with shapes, and the trackers noted, hanging and failing."""
    for kind in ("Noted", "Hanging", "Failing"):
        monkeypatch.setitem(TRACKERS, kind.lower(), Tool(f"made_trackers:{kind}", (), "track", "noted.jsonl"))
    write_shapes(workspace)
    return workspace


def test_a_tracker_is_told_of_every_fold_and_epoch(made: Path) -> None:
    result = run(made, "noted")
    all_written()
    told = noted(made)
    assert [one[:2] for one in told if one[0] == "open"] == [
        ["open", ""],
        ["open", "fold-0"],
        ["open", "fold-1"],
    ]
    for fold in ("fold-0", "fold-1"):
        assert curves(made, fold) == history(result, fold)
    scores = {one[1]: one[2] for one in told if one[0] == "score"}
    assert [scores[f"fold-{k}"]["accuracy"] for k in (0, 1)] == result.per_fold
    assert scores[""]["oof_accuracy"] == result.score
    assert told[-1] == ["close", "", ""]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_folds_at_once_are_kept_apart(made: Path) -> None:
    result = run(made, "noted", overrides=["jobs=2"])
    all_written()
    for fold in ("fold-0", "fold-1"):
        assert curves(made, fold) == history(result, fold)


def test_a_refit_has_losses_and_no_score(made: Path) -> None:
    first = run(made)
    comp.run("shapes", refit=first.run, workspace=made, track=["noted"])
    all_written()
    told = noted(made)
    assert [one[1] for one in told if one[0] == "open"] == ["", "fold-2"]
    assert [set(values) for _, values in curves(made, "fold-2")] == [{"loss", "lr", "images_per_second"}] * 2
    assert not [one for one in told if one[0] == "score"]
    assert told[-1] == ["close", "", ""]


def test_a_probe_has_scores_alone(made: Path) -> None:
    result = run(made, "noted", overrides=probe(made))
    all_written()
    assert not [one for one in noted(made) if one[0] == "log"]
    scores = {one[1]: one[2] for one in noted(made) if one[0] == "score"}
    assert [scores[f"fold-{k}"]["accuracy"] for k in (0, 1)] == result.per_fold


def test_several_models_are_told_apart(made: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "two.toml"
    text = (made / "competitions" / "shapes" / "baseline.toml").read_text()
    table = "[[model]]\nname = 'test_resnet'\nsize = 32\nfit = 'squash'\n"
    start = text.index("[model]")
    recipe.write_text(text[:start] + table + table + text[text.index("[optimizer]") :])
    result = run(made, "noted", recipe=recipe)
    all_written()
    for part in ("model-0/fold-0", "model-0/fold-1", "model-1/fold-0", "model-1/fold-1"):
        assert curves(made, part) == history(result, part)


def test_a_tracker_that_hangs_does_not_keep_the_run(made: Path) -> None:
    """The run comes back while the tracker has done nothing at all; let go, it writes everything."""
    began = time.monotonic()
    run(made, "noted")
    alone = time.monotonic() - began
    (made / "tracking" / "noted.jsonl").unlink()
    began = time.monotonic()
    result = run(made, "hanging")
    assert time.monotonic() - began < alone + WAIT_SECONDS + 10, "it did not wait for the tracker"
    assert not (made / "tracking" / "noted.jsonl").exists()
    (made / RELEASED).touch()
    all_written()
    for fold in ("fold-0", "fold-1"):
        assert curves(made, fold) == history(result, fold)
    assert noted(made)[-1] == ["close", "", ""]


def test_the_wait_at_the_end_has_a_limit() -> None:
    """The one thing that a run waits for: the limit leaves room below two seconds."""
    assert WAIT_SECONDS < 1.9


def test_a_process_ends_while_its_tracker_hangs(made: Path) -> None:
    """Nothing keeps the interpreter, at its end either; the tracker goes on without it."""
    program = (
        "import sys, comp\n"
        "from comp.runs.tracking.listener import TRACKERS, Tool\n"
        "TRACKERS['hanging'] = Tool('made_trackers:Hanging', (), 'track', 'noted.jsonl')\n"
        f"comp.run('shapes', 2, overrides={SET!r}, report=False, track=['hanging'])\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=made,
        env=clean_environment() | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (made / "tracking" / "noted.jsonl").exists()
    (made / RELEASED).touch()
    assert closed(made) == ["close", "", ""]


def test_a_tracker_that_fails_is_said_once(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        listener, "WAIT_SECONDS", 120
    )  # a busy machine takes long to start a process that fails
    result = run(made, "failing")
    all_written()
    said = capsys.readouterr().err
    assert said.count("failing failed") == 1
    assert "ConnectionError: the server says no" in said
    assert len(result.per_fold) == 2


def test_what_a_full_queue_does_not_take_is_counted(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thread that sends is stopped: of 10 events the queue takes 3, and the end has to have room."""
    go, send = threading.Event(), TrackerProcess._send

    def send_later(one: TrackerProcess) -> None:
        go.wait(60)
        send(one)

    monkeypatch.setattr(listener, "LIMIT", 3)
    monkeypatch.setattr(TrackerProcess, "_send", send_later)
    monkeypatch.setattr(listener, "WAIT_SECONDS", 0.05)
    run(made, "noted")
    said = capsys.readouterr().err
    assert "8 events were not sent" in said
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("track-"))
    go.set()
    all_written()


def test_a_run_that_goes_on_has_each_epoch_once(made: Path) -> None:
    """Killed in its second fold; with the same tracker it goes on in the same parts."""
    program = (
        "import os, signal, comp\n"
        "from comp import events\n"
        "from comp.runs.tracking.listener import TRACKERS, Tool\n"
        "TRACKERS['noted'] = Tool('made_trackers:Noted', (), 'track', 'noted.jsonl')\n"
        "class Kill(events.RunListener):\n"
        "    def on_epoch(self, event):\n"
        "        if (event.fold, event.epoch) == (1, 1): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"comp.run('shapes', 2, overrides={SET!r}, report=False, track=['noted'], listeners=[Kill()])\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = clean_environment() | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], cwd=made, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert closed(made) == ["close", "", "the process ended"], "it hears that there is no more"
    result = comp.run("shapes", workspace=made, resume="latest", report=False, track=["noted"])
    all_written()
    for fold in ("fold-0", "fold-1"):
        assert curves(made, fold) == history(result, fold)
    assert noted(made)[-1] == ["close", "", ""]


def test_a_run_that_was_not_tracked_before_is_told_whole(made: Path) -> None:
    comp.run("shapes", 2, workspace=made, overrides=SET, report=False, only=[0])
    result = comp.run("shapes", workspace=made, resume="latest", report=False, track=["noted"])
    all_written()
    for fold in ("fold-0", "fold-1"):
        assert curves(made, fold) == history(result, fold)


def test_unknown_and_missing_trackers_are_refused_before_anything(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownName, match="mlflow"):
        run(made, "mlfow")
    monkeypatch.setitem(TRACKERS, "noted", Tool("made_trackers:Noted", ("no_such_module",), "track", ""))
    with pytest.raises(InputError) as refused:
        run(made, "noted")
    assert "no_such_module" in refused.value.value
    assert refused.value.remedy == 'pip install "imgcomp[track]"'
    assert not (made / "runs").exists()
    done = run_comp(made, "run", "shapes", "--track", "wandbb")
    assert done.code == 2
    assert "wandb" in done.err


def test_a_plain_run_imports_no_tracker(made: Path) -> None:
    program = (
        "import sys, comp\n"
        f"comp.run('shapes', 2, overrides={SET!r}, report=False)\n"
        "names = ('mlflow', 'tensorboard', 'comp.runs.tracking')\n"  # timm imports wandb where it is
        "print([n for n in sys.modules if n.startswith(names)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=made, env=clean_environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
