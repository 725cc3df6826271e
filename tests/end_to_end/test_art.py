"""Probe and finetune on paintings in the real layout, from weights in a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from made import run_comp


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of test_resnet with its own 1000 classes, as a downloaded file would be."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def settings(mode: str, weights: Path) -> list[str]:
    recipe = [
        f"mode={mode}",
        "epochs=1",
        "threads=1",
        "model=test_resnet",
        "model.size=32",
        f"model.weights={weights}",
        "model.mean=[0.5,0.5,0.5]",
        "model.std=[0.25,0.25,0.25]",
        "tta=hflip",
    ]
    return [word for value in recipe for word in ("--set", value)]


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_both_modes_answer_every_row_of_the_template_twice_the_same(
    workspace: Path, art_raw: Path, weights: Path, mode: str
) -> None:
    command = [
        "run",
        "art-classification",
        "--data",
        art_raw,
        "--folds",
        2,
        "--json",
        *settings(mode, weights),
    ]
    outcomes = [run_comp(workspace, *command) for _ in range(2)]
    assert outcomes[0].code == 0, outcomes[0].err
    one, two = (Path(outcome.json["submission"]).read_bytes() for outcome in outcomes)
    assert one == two
    template = (art_raw / "test_answer_sample_.csv").read_bytes()
    assert one.split(b"\r\n")[0] == template.split(b"\r\n")[0]
    assert [line.split(b",")[0] for line in one.split(b"\r\n")] == [
        line.split(b",")[0] for line in template.split(b"\r\n")
    ]
    assert {line.split(b",")[1] for line in one.split(b"\r\n")[1:] if line} <= {b"%d" % n for n in range(7)}
    assert outcomes[0].json["marks"] == ["sample"]


def test_probe_learns_what_can_be_seen(workspace: Path, art_raw: Path, weights: Path) -> None:
    """Even random features tell the made-up images' colours apart."""
    outcome = run_comp(
        workspace,
        "run",
        "art-classification",
        "--data",
        art_raw,
        "--folds",
        3,
        "--json",
        *settings("probe", weights),
    )
    assert outcome.json["oof"]["score"] > 0.3  # chance is 0.14


def test_new_rows_are_predicted_from_another_folder_and_template(
    workspace: Path, art_raw: Path, weights: Path, tmp_path: Path
) -> None:
    run = run_comp(
        workspace,
        "run",
        "art-classification",
        "--data",
        art_raw,
        "--folds",
        2,
        "--json",
        *settings("probe", weights),
    )
    old = Path(run.json["submission"]).read_text().splitlines()
    raw = tmp_path / "new"
    shutil.copytree(art_raw, raw)
    for number in range(21, 31):  # ten files fewer
        (raw / "test" / "0" / f"{number}.jpg").unlink()
    template = tmp_path / "new.csv"
    template.write_text(",answer value\n" + "".join(f"{n},0\n" for n in range(20)))
    again = run_comp(
        workspace,
        "predict",
        "latest",
        "--data",
        raw,
        "--template",
        template,
        "--out",
        tmp_path / "out.csv",
        "--json",
    )
    assert again.code == 0, again.err
    assert (tmp_path / "out.csv").read_text().splitlines() == old[:21]


def test_default_weights_that_cannot_be_downloaded_name_the_remedy(workspace: Path, art_raw: Path) -> None:
    outcome = run_comp(
        workspace, "run", "art-classification", "--data", art_raw, "--folds", 2, "--set", "model=test_resnet"
    )
    assert outcome.code == 2
    assert "test_resnet.r160_in1k must be downloaded once" in outcome.err
    assert "COMP_WEIGHTS" in outcome.err
    assert not (workspace / "runs").exists()
