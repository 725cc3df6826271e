"""comp predict, interrupted anywhere and run again, writes the same bytes; a missing checkpoint is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

import comp
from made import run_comp, write_shapes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of shapes."""
    workspace = tmp_path_factory.mktemp("again")
    write_shapes(workspace)
    comp.run("shapes", 2, workspace=workspace)
    return workspace


@pytest.fixture
def copied(trained: Path, workspace: Path) -> Path:
    """A copy of it, to be spoiled."""
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    return workspace


@pytest.mark.parametrize("passes", [1, 6, 10])
@pytest.mark.parametrize("older", [False, True])
def test_interrupted_between_batches_it_writes_nothing_and_then_the_same(
    copied: Path, passes: int, older: bool
) -> None:
    (run,) = (copied / "runs").iterdir()
    expected = (run / "submission.csv").read_bytes()
    out = copied / "out.csv"
    if older:
        out.write_text("an older one")
    done: list[object] = []

    def stop(module: torch.nn.Module, *_: object) -> None:
        if type(module).__name__ == "ResNet":  # the whole network, once a batch and view
            done.append(module)
            if len(done) == passes:
                raise KeyboardInterrupt

    hook = torch.nn.modules.module.register_module_forward_hook(stop)
    try:
        stopped = run_comp(copied, "predict", "latest", "--out", out)
    finally:
        hook.remove()
    assert stopped.code == 130
    assert len(done) == passes
    assert (out.read_text() == "an older one") if older else not out.exists()
    assert list(copied.rglob("*.part")) == []
    again = run_comp(copied, "predict", "latest", "--out", out)
    assert again.code == 0, again.err
    assert out.read_bytes() == expected


def test_interrupted_while_writing_it_leaves_the_older_file(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (csv,) = (copied / "submissions" / "shapes").glob("*.csv")
    expected = csv.read_bytes()
    csv.write_text("an older one")
    replace = os.replace

    def stop(source: str | Path, target: str | Path) -> None:
        if Path(target) == csv:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    assert run_comp(copied, "predict", "latest").code == 130
    assert csv.read_text() == "an older one"
    assert list(copied.rglob("*.part")) == []
    monkeypatch.undo()
    assert run_comp(copied, "predict", "latest").code == 0
    assert csv.read_bytes() == expected


@pytest.mark.parametrize("name", ["model.safetensors", "result.json"])
def test_a_missing_checkpoint_is_named_and_nothing_is_written(copied: Path, name: str) -> None:
    (run,) = (copied / "runs").iterdir()
    (run / "fold-1" / name).unlink()
    out = copied / "out.csv"
    refused = run_comp(copied, "predict", "latest", "--out", out, "--json")
    assert refused.code == 2
    assert refused.json["error"]["value"] == f"{run.name} lacks the checkpoint of fold-1"
    assert not out.exists()
    partial = run_comp(copied, "predict", "latest", "--partial", "--out", out)
    assert partial.code == 0, partial.err
    assert len(out.read_text().splitlines()) == 13


def test_its_csv_validates_against_another_template_without_the_train_part(copied: Path) -> None:
    raw = copied / "data" / "shapes"
    asked = ["t7.png", "t3.png", *(f"t{n}.png" for n in range(12) if n not in (3, 7))]
    template = copied / "other.csv"
    template.write_text("id,label\n" + "".join(f"{name},circle\n" for name in asked))
    (raw / "sample_submission.csv").unlink()
    out = copied / "out.csv"
    # the made-up adapter reads train.csv: an empty table is what a hidden test set's folder has for one
    shutil.rmtree(raw / "train")
    (raw / "train.csv").write_text("id,label,group,parent\n")
    given = ("--data", raw, "--template", template)
    done = run_comp(copied, "predict", "latest", *given, "--out", out)
    assert done.code == 0, done.err
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == asked
    assert run_comp(copied, "validate", "shapes", out, *given).code == 0
    out.write_text(out.read_text().replace("t7.png", "t77.png"))
    wrong = run_comp(copied, "validate", "shapes", out, *given, "--json")
    assert wrong.code == 1
    assert any("t7.png" in problem["message"] for problem in wrong.json["problems"])


@pytest.mark.parametrize(
    ("cell", "code", "told"),
    [("circle", 0, ""), ("Circle", 1, "template-cells"), ("cross square", 1, "template-cells")],
)
def test_another_templates_answers_are_judged_before_predicting(
    copied: Path, cell: str, code: int, told: str
) -> None:
    template, out = copied / "other.csv", copied / "out.csv"
    template.write_text("id,label\n" + "".join(f"t{n},{cell}\n" for n in range(12)))
    done = run_comp(copied, "predict", "latest", "--template", template, "--out", out)
    assert done.code == code, done.err
    assert told in done.err
    assert out.is_file() is (code == 0)


def test_another_templates_columns_are_judged_before_predicting(copied: Path) -> None:
    facts = copied / "competitions" / "shapes" / "competition.toml"
    facts.write_text(
        facts.read_text()
        .replace('target = "label"', 'target = "*"')
        .replace('kind = "label"', 'kind = "probs"')
    )
    template, out = copied / "other.csv", copied / "out.csv"
    for header, told in (
        ("id,circle,cross", "no column for 'square'"),
        ("id,circle,cross,squares", "'squares' is no class"),
        ("id,square,circle,cross", ""),
    ):
        columns = header.count(",")
        template.write_text(f"{header}\n" + "".join(f"t{n}{',0' * columns}\n" for n in range(12)))
        done = run_comp(copied, "predict", "latest", "--template", template, "--out", out)
        assert done.code == (1 if told else 0), done.err
        assert out.is_file() is not bool(told)
        if told:
            assert (
                f"template-columns: a probs template has a column for each class: other.csv: {told}"
                in done.err
            )


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ('slug = "shapes"', 'slug = "shapes"\ntask = "multi-label"', "is of task 'single-label'"),
        ("classes = ", 'classes = ["circle", "triangle"] # ', "states 'circle', 'triangle'"),
    ],
)
def test_facts_of_another_task_or_of_other_classes_are_refused(
    was: str, now: str, told: str, copied: Path
) -> None:
    (facts,) = copied.rglob("competition.toml")
    text = facts.read_text()
    assert was in text
    facts.write_text(text.replace(was, now))
    out = copied / "out.csv"
    refused = run_comp(copied, "predict", "latest", "--out", out)
    assert refused.code == 2
    assert told in refused.err
    assert not out.exists()
