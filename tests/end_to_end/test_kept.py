"""What is kept between runs (decoded images, frozen features) changes no number and no byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import comp
from comp.inference import predict
from comp.inference.feature_cache import FeatureCache
from comp.training.loop import resized
from made import SHAPES, draw, probe, run_comp, save_image, write_shapes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a competition of files, and a cache of its own."""
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))
    write_shapes(tmp_path)
    return tmp_path


def csv_of(run: comp.pipelines.run.RunResult) -> bytes:
    return run.submission.read_bytes()


def test_kept_features_give_the_same_bytes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = comp.run("shapes", 2, workspace=place, overrides=probe(place))
    assert "kept from an earlier run" not in capsys.readouterr().err
    again = comp.run("shapes", 2, workspace=place, overrides=probe(place))
    assert "kept from an earlier run" in capsys.readouterr().err
    assert csv_of(first) == csv_of(again)
    assert first.score == again.score
    for k in range(2):
        a, b = ((run.folder / f"fold-{k}" / "oof.npz").read_bytes() for run in (first, again))
        assert a == b


def test_a_random_frozen_backbone_is_one_for_all_folds(place: Path) -> None:
    half = "[0.5,0.5,0.5]"
    own = ["mode=probe", "model.weights=none", f"model.mean={half}", f"model.std={half}"]
    run = comp.run(
        "shapes", 2, workspace=place, overrides=own
    )  # its control rows stand for what it is judged by
    one, other = (load_file(run.folder / f"fold-{k}" / "model.safetensors") for k in range(2))
    backbone = [name for name in one if name.startswith("backbone.")]
    assert backbone
    assert all(torch.equal(one[name], other[name]) for name in backbone)


@pytest.mark.parametrize("change", ["model.size=48", "model.mean=[0.4,0.5,0.5]", "weights", "an image"])
def test_what_decides_the_features_is_told_apart(
    place: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comp.run("shapes", 2, workspace=place, overrides=probe(place))
    capsys.readouterr()
    overrides = probe(place)
    if change == "weights":
        torch.manual_seed(1)
        save_file(timm.create_model("test_resnet").state_dict(), place / "w.safetensors")
    elif change == "an image":
        save_image(place / "data" / "shapes" / "train" / "a0.png", draw(SHAPES[0], 999))
        shutil.rmtree(place / "folds")  # they were made for other rows
    else:
        overrides.append(change)
    comp.run("shapes", 2, workspace=place, overrides=overrides)
    assert "kept from an earlier run" not in capsys.readouterr().err


def test_a_store_changes_no_byte_of_a_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_store = comp.run("shapes", 2, workspace=place)
    assert list((place / "cache" / "pixels").glob("*/pixels.u8"))
    monkeypatch.setenv("COMP_CACHE", str(place / "other"))
    monkeypatch.setenv("COMP_CACHE_GB", "0")
    without = comp.run("shapes", 2, workspace=place)
    assert not (place / "other" / "pixels").exists()
    assert csv_of(with_store) == csv_of(without)


def test_control_rows_are_bytes_of_files_also_with_a_store(place: Path) -> None:
    run = comp.run("shapes", 2, workspace=place)
    kept = list((run.folder / "fold-0" / "control").iterdir())
    assert kept
    assert {file.suffix for file in kept} == {".image"}


def test_damaged_checkpoints_are_refused_although_features_are_kept(place: Path) -> None:
    run = comp.run("shapes", 2, workspace=place, overrides=probe(place))
    controls = run.folder / "fold-0" / "control.json"
    controls.write_text(controls.read_text().replace("0.", "0.9", 40))
    assert run_comp(place, "predict", run.run).code != 0


@pytest.mark.parametrize("mode", ["scratch", "finetune", "probe"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_test_rows_go_the_way_that_held_out_rows_went(
    place: Path, mode: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    real = predict.max_abs_difference

    def noted(*args: object) -> tuple[float, str]:
        found = real(*args)  # type: ignore[arg-type]
        seen.append(found[0])
        return found

    monkeypatch.setattr(predict, "max_abs_difference", noted)
    start = probe(place) if mode != "scratch" else []
    overrides = [*start, f"mode={mode}", f"precision={precision}", "epochs=2", "optimizer.lr=1e-4"]
    comp.run("shapes", 2, workspace=place, overrides=overrides)
    assert len(seen) == (2 if precision == "fp32" else 4)  # two folds; half precision is proven in fp32 too
    assert max(seen) < 1e-3, "in half precision another order of the same sums would show"


def test_a_torn_feature_file_is_made_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {"a": 1}, ["x", "y"])
    assert cache.load("identity") is None
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.keep("identity", features)
    found = cache.load("identity")
    assert found is not None
    assert (found == features).all()
    file = cache.file("identity")
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    assert cache.load("identity") is None, "a changed number is no feature"
    assert FeatureCache(tmp_path, {"a": 1}, ["y", "x"]).load("identity") is None
    assert FeatureCache(tmp_path, {"a": 2}, ["x", "y"]).load("identity") is None
    file = cache.file("identity")
    file.write_bytes(file.read_bytes()[:-3])
    assert cache.load("identity") is None


def test_a_stage_trains_on_smaller_images(place: Path) -> None:
    grown = comp.run(
        "shapes", 2, workspace=place, overrides=["stages=[{epochs=1,size=16},{epochs=1}]", "threads=1"]
    )
    plain = comp.run("shapes", 2, workspace=place, overrides=["stages=[{epochs=1},{epochs=1}]", "threads=1"])
    first = [(run.folder / "fold-0" / "history.csv").read_text().splitlines()[1] for run in (grown, plain)]
    assert first[0] != first[1]
    x = torch.rand(2, 3, 32, 32)
    assert resized(x, None) is x
    assert resized(x, 16).shape == (2, 3, 16, 16)
    assert torch.allclose(resized(torch.ones(1, 3, 32, 32), 20), torch.ones(1, 3, 20, 20))


def test_a_size_that_the_model_cannot_read_is_refused_before_training(place: Path) -> None:
    done = run_comp(
        place, "run", "shapes", "--folds", "2", "--set", "model.name=vit_tiny_patch16_224",
        "--set", "model.size=32", "--set", "stages=[{epochs=1,size=24},{epochs=1}]",
    )  # fmt: skip
    assert done.code == 2
    assert "24 pixels" in done.err
