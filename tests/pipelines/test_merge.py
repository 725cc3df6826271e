"""comp merge: folds trained apart become one run, with the bytes of a run that was never apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import comp
from comp.data.predictions import Predictions
from comp.errors import InputError, Refusal
from comp.files import read_json, write_json
from comp.pipelines.merge import require_alike
from comp.pipelines.run_result import RunResult
from comp.recipe import load
from comp.runs import run as runs
from comp.runs.run import recipe_sha256
from comp.workspace import Workspace
from made import draw, proven_again, rewritten, run_comp, save_image, write_shapes

TWO = ["epochs=2"]
SEVERAL = """
mode = "scratch"
precision = "fp32"
channels_last = true
threads = 1
batch = 8
epochs = 1

[[model]]
name = "test_resnet"
size = 32

[[model]]
name = "test_efficientnet"
size = 32
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    """A workspace with both folds in one run, and each in one of its own, trained in workspaces of their own."""
    found: dict[str, RunResult] = {}
    for name, only in (("whole", None), ("zero", [0]), ("one", [1])):
        workspace = tmp_path_factory.mktemp(name) / "ws"
        write_shapes(workspace)
        found[name] = comp.run("shapes", 2, workspace=workspace, overrides=TWO, only=only)
    return found


@pytest.fixture
def workspace(trained: dict[str, RunResult], tmp_path: Path) -> Path:
    """A workspace with the two partial runs copied in, as after sessions elsewhere."""
    write_shapes(tmp_path / "ws")
    for name in ("zero", "one"):
        copy = tmp_path / "ws" / "runs" / trained[name].run
        shutil.copytree(trained[name].folder, copy)
        rewritten(copy / "started.json", raw="/elsewhere/shapes")
        proven_again(copy)
    return tmp_path / "ws"


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def test_two_halves_are_the_run_that_was_never_apart(workspace: Path, trained: dict[str, RunResult]) -> None:
    zero, one, whole = (trained[name] for name in ("zero", "one", "whole"))
    before = {name: dict(contents(workspace / "runs" / trained[name].run)) for name in ("zero", "one")}
    merged = comp.merge(one.run, zero.run, workspace=workspace)
    assert merged.submission.read_bytes() == whole.submission.read_bytes()
    for name in ("oof.npz", "test.npz"):
        ours, theirs = (Predictions.load(run.folder / name) for run in (merged, whole))
        assert ours.ids == theirs.ids
        assert (ours.probs == theirs.probs).all()
    for name in ("manifest.csv", "folds.csv", "rows.csv", "confusion.csv"):
        assert (merged.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert (merged.score, merged.per_fold, merged.beside) == (whole.score, whole.per_fold, whole.beside)
    assert merged.marks == []
    assert load(merged.folder / "recipe.toml") == load(whole.folder / "recipe.toml")
    assert read_json(merged.folder / "record.json")["run"] == merged.run
    assert read_json(merged.folder / "started.json")["merged"] == [one.run, zero.run]
    after = {name: dict(contents(workspace / "runs" / trained[name].run)) for name in ("zero", "one")}
    assert before == after, "the parts are as they were"


def test_what_machines_chose_for_themselves_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shapes(tmp_path)
    ran = [
        comp.run("shapes", 3, workspace=tmp_path, only=[k], overrides=["precision=fp32", f"threads={k + 1}"])
        for k in (0, 1)
    ]
    capsys.readouterr()
    comp.merge(ran[0].run, ran[1].run, workspace=tmp_path)
    said = capsys.readouterr().err
    assert f"  threads: 1 in {ran[0].run}, 2 in {ran[1].run}" in said
    assert "precision" not in said


def test_the_verb_speaks_json_and_the_merged_run_is_listed(
    workspace: Path, trained: dict[str, RunResult]
) -> None:
    done = run_comp(workspace, "merge", trained["zero"].run, trained["one"].run, "--json")
    assert done.code == 0, done.err
    assert done.json["oof"]["score"] == trained["whole"].score
    again = run_comp(workspace, "predict", done.json["run"])
    assert again.code == 0, again.err
    (merged,) = [r for r in run_comp(workspace, "runs", "--json").json if r["run"] == done.json["run"]]
    assert (merged["state"], len(merged["merged"])) == ("done", 2)


def test_missing_folds_make_a_partial_run_that_can_be_resumed(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    parts = [comp.run("shapes", 3, workspace=tmp_path, only=[k]).run for k in (0, 2)]
    merged = comp.merge(*parts, workspace=tmp_path)
    assert merged.marks == ["partial"]
    assert len(merged.per_fold) == 2
    assert not (merged.folder / "record.json").exists()
    done = comp.run("shapes", workspace=tmp_path, resume=merged.run)
    assert (done.run, done.marks) == (merged.run, [])
    whole = comp.run("shapes", 3, workspace=tmp_path)
    assert done.submission.read_bytes() == whole.submission.read_bytes()
    assert done.per_fold == whole.per_fold


def test_a_fold_under_way_is_taken_as_far_as_it_is(workspace: Path, trained: dict[str, RunResult]) -> None:
    zero, one = (workspace / "runs" / trained[name].run for name in ("zero", "one"))
    (one / "fold-1" / "result.json").unlink()
    torch.save({"fold": "fold-1"}, one / "fold-1" / "state.pt")
    so_far = (one / "fold-1" / "state.pt").read_bytes()
    merged = comp.merge(zero.name, one.name, workspace=workspace)
    assert merged.marks == ["partial"]
    assert (merged.folder / "fold-1" / "state.pt").read_bytes() == so_far
    torch.save({"fold": "fold-0"}, one / "fold-1" / "state.pt")
    with pytest.raises(InputError, match="its fold's own"):
        comp.merge(zero.name, one.name, workspace=workspace)


def test_several_models_are_merged_folder_by_folder(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    (tmp_path / "two.toml").write_text(SEVERAL)
    runs = [
        comp.run("shapes", 2, workspace=tmp_path, recipe=tmp_path / "two.toml", only=only)
        for only in ([0], [1], None)
    ]
    merged = comp.merge(runs[0].run, runs[1].run, workspace=tmp_path)
    assert merged.submission.read_bytes() == runs[2].submission.read_bytes()
    assert merged.models == runs[2].models
    assert sorted(p.parent.name + "/" + p.name for p in merged.folder.glob("model-*/fold-*")) == [
        f"model-{n}/fold-{k}" for n in range(2) for k in range(2)
    ]


def test_the_same_fold_twice_must_be_the_same_checkpoint(
    workspace: Path, trained: dict[str, RunResult]
) -> None:
    shutil.copytree(trained["zero"].folder / "fold-0", workspace / "runs" / trained["one"].run / "fold-0")
    proven_again(workspace / "runs" / trained["one"].run)
    merged = comp.merge(trained["zero"].run, trained["one"].run, workspace=workspace)
    assert merged.score == trained["whole"].score
    file = workspace / "runs" / trained["one"].run / "fold-0" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    refused = run_comp(workspace, "merge", trained["zero"].run, trained["one"].run)
    assert refused.code == 2
    assert "fold-0 of" in refused.err
    assert "different checkpoints" in refused.err


def test_machines_may_differ_in_how_they_compute(workspace: Path, trained: dict[str, RunResult]) -> None:
    """Threads and layout are the machine's own; a device that is not here is replaced for the predictions alone."""
    one = workspace / "runs" / trained["one"].run
    recipe = (one / "recipe.toml").read_text()
    (one / "recipe.toml").write_text(
        recipe.replace("threads = 1", "threads = 4").replace('device = "cpu"', 'device = "mps"')
    )
    other = recipe_sha256(load(one / "recipe.toml"))
    rewritten(one / "started.json", machine="Other x86", recipe_sha256=other)
    proven_again(one)
    done = run_comp(workspace, "merge", one.name, trained["zero"].run, "--json")
    assert done.code == 0, done.err
    assert "machine: Other x86" in done.err
    assert "no mps here" in done.err
    folder = workspace / "runs" / done.json["run"]
    assert load(folder / "recipe.toml").device == "mps"
    assert (folder / "submission.csv").read_bytes() == trained["whole"].submission.read_bytes()


def other(workspace: Path, *overrides: str, folds: object = 2, **more: object) -> str:
    return comp.run("shapes", folds, workspace=workspace, overrides=[*TWO, *overrides], only=[1], **more).run


def test_what_differs_is_named(workspace: Path, trained: dict[str, RunResult]) -> None:
    zero = trained["zero"].run
    brought = workspace / "brought.csv"
    table = (workspace / "runs" / zero / "folds.csv").read_text()
    first = next(line for line in table.splitlines() if line.endswith(",0"))
    second = next(line for line in table.splitlines() if line.endswith(",1"))
    table = table.replace(first, first[:-1] + "1").replace(second, second[:-1] + "0")
    brought.write_text(table)
    allow = {"stratification": "for the test"}
    for run, told in (
        (
            other(workspace, "optimizer.lr=1e-4", "model.fit=pad"),
            "model.fit (squash and pad); optimizer.lr (0.003 and 0.0001)",
        ),
        (other(workspace, folds=3), "the number of folds (2 and 3)"),
        (other(workspace, folds=brought, allow=allow), "the fold of 2 rows"),
        (other(workspace, quick=True), "the marks"),
    ):
        with pytest.raises(InputError, match="takes folds of one run") as refused:
            comp.merge(zero, run, workspace=workspace)
        assert told in refused.value.value, refused.value.value


def test_other_rows_are_refused(workspace: Path, trained: dict[str, RunResult]) -> None:
    zero, one = trained["zero"].run, trained["one"].run
    save_image(workspace / "data" / "shapes" / "train" / "a3.png", draw("cross", 999))
    new = other(workspace)
    with pytest.raises(InputError) as refused:
        comp.merge(zero, new, workspace=workspace)
    assert "the train rows" in refused.value.value
    with pytest.raises(Refusal) as changed:  # the parts agree, the raw folder does not
        comp.merge(zero, one, workspace=workspace)
    assert changed.value.exit_code == 1


def test_what_is_no_merge(workspace: Path, trained: dict[str, RunResult]) -> None:
    zero, one = trained["zero"].run, trained["one"].run
    for names in ([zero], [zero, zero[:-1]], []):
        with pytest.raises(InputError, match="two runs or more"):
            comp.merge(*names, workspace=workspace)
    digits = workspace / "runs" / one / "started.json"
    started = read_json(digits)
    partial = read_json(digits.with_name("partial.json"))
    rewritten(digits, slug="digits")
    rewritten(digits.with_name("partial.json"), slug="digits")
    proven_again(digits.parent)
    with pytest.raises(InputError) as refused:
        comp.merge(zero, one, workspace=workspace)
    assert "the competition" in refused.value.value
    write_json(digits, started)
    write_json(digits.with_name("partial.json"), partial)
    for name in (zero, one):
        for path in (workspace / "runs" / name).glob("fold-*/result.json"):
            path.unlink()
    with pytest.raises(InputError, match="finished folds"):
        comp.merge(zero, one, workspace=workspace)
    assert len(list((workspace / "runs").iterdir())) == 2, "no run folder was made"


@pytest.mark.parametrize("file", ["result.json", "oof.npz", "model.safetensors"])
def test_a_damaged_fold_is_named_before_anything_is_copied(
    workspace: Path, trained: dict[str, RunResult], file: str
) -> None:
    damaged = workspace / "runs" / trained["one"].run / "fold-1" / file
    damaged.write_bytes(b"{}")
    refused = run_comp(workspace, "merge", trained["zero"].run, trained["one"].run)
    assert refused.code == 2
    assert "fold-1" in refused.err
    assert len(list((workspace / "runs").iterdir())) == 2, "no run folder was made"


def test_networks_of_models_py_are_compared_where_both_runs_tell_of_them(
    workspace: Path, trained: dict[str, RunResult]
) -> None:
    found = runs.all_runs(Workspace(workspace))
    with_other = [
        replace(one, started={**one.started, "models_sha256": f"{n}"}) for n, one in enumerate(found)
    ]
    with pytest.raises(InputError, match=r"networks of models\.py"):
        require_alike(with_other)
    older = replace(found[0], started={k: v for k, v in found[0].started.items() if k != "models_sha256"})
    require_alike([older, with_other[1]])


def test_findings_about_the_weights_are_kept(workspace: Path, trained: dict[str, RunResult]) -> None:
    one = workspace / "runs" / trained["one"].run
    leak = {
        "check": "weights-leak",
        "severity": "warning",
        "count": 3,
        "message": "was fitted on 3 of the rows",
        "examples": ["a1"],
        "remedy": "",
        "allowed": "known",
    }
    write_json(one / "findings.json", [*read_json(one / "findings.json"), leak])
    proven_again(one)
    merged = comp.merge(trained["zero"].run, one.name, workspace=workspace)
    found = json.loads((merged.folder / "findings.json").read_text())
    assert [f for f in found if f["check"] == "weights-leak"] == [leak]
