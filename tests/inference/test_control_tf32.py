"""Control rows come back as they were judged on another device and in another precision, and on no other terms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comp.data.images.raw_tree import RawTree
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.errors import CheckFailed
from comp.inference import predict as control_rows
from comp.inference.predict import FACTOR, LEAST, UTMOST, predict, read_controls, tolerance
from comp.models.checkpoint import read_sidecar
from comp.recipe import load
from gpu_doubles import Noisy, Tf32
from made import proven_again, run_comp, write_shapes

FOLDS = ("fold-0", "fold-1")
# random and deep, and what it gives depends much on little: by TF32 its probabilities move by thousandths, as those of large
# networks do (1.8e-3 to 5.8e-3 were seen)
STEEP_NET = """
from torch import nn

class Steep(nn.Module):
    num_features = 16
    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 16, 3, padding=1)]
        for _ in range(10):
            layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
        self.body = nn.Sequential(*layers)
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    def forward(self, x):
        return SCALE * (self.body(x) - self.body(x.flip(-1))).mean((2, 3))

MODELS = {"steep": Steep}
"""
STEEP = [
    "model.name=steep",
    "model.mean=[0.3,0.3,0.3]",
    "model.std=[0.2,0.2,0.2]",
    "optimizer.lr=1e-6",
    "epochs=1",
]


def trained(workspace: Path, *more: str, on: Any = None, scale: int = 200) -> Path:
    """The folder of a finished run of shapes, trained on a device or its double."""
    write_shapes(workspace)
    (workspace / "competitions" / "shapes" / "models.py").write_text(STEEP_NET.replace("SCALE", str(scale)))
    laid = [word for override in ("epochs=12", *more) for word in ("--set", override)]
    arguments = ["run", "shapes", "--folds", 2, *laid]
    if on is None:
        done = run_comp(workspace, *arguments)
    else:
        with on:
            done = run_comp(workspace, *arguments)
    assert done.code == 0, done.err
    return next((workspace / "runs").iterdir())


@pytest.fixture(scope="module")
def in_fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def in_bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("bf16"), "precision=bf16")


@pytest.fixture(scope="module")
def steep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("steep"), *STEEP)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a run folder, to be tampered with."""

    def copy(run: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / run.parent.parent.name / "runs" / run.name))

    return copy


def predicted(run: Path, raw: Path, on: Any = None) -> np.ndarray:
    """The probabilities of the test rows; CheckFailed where control rows come back changed."""
    ids = [f"t{n}" for n in range(12)]
    paths = [f"test/{i}.png" for i in ids]
    arguments = [run / fold for fold in FOLDS], RawTree(raw), ids, paths, load(run / "recipe.toml")
    if on is None:
        return predict(*arguments).probs
    with on:
        return predict(*arguments).probs


def raw_of(run: Path) -> Path:
    return run.parent.parent / "data" / "shapes"


def rewrite(path: Path, document: Any) -> None:
    """Writes a JSON document of a fold, as if the run had written it so: SHA-256 would tell of it otherwise."""
    path.write_text(json.dumps(document))
    proven_again(path.parent.parent)


def change(path: Path, **values: Any) -> None:
    """Lays values over a JSON table of a fold."""
    rewrite(path, {**json.loads(path.read_text()), **values})


# --- TF32 -----------------------------------------------------------------------------------------------------------


def test_what_was_judged_with_tf32_allowed_comes_back_on_a_cpu(tmp_path: Path, steep: Path) -> None:
    device = Tf32()
    run = trained(tmp_path, *STEEP, on=device)
    assert device.rounded > 0, "training is allowed to round"
    before = device.rounded
    there = predicted(run, raw_of(run), on=device)
    assert device.rounded == before, "what is judged and predicted is not"
    assert np.abs(predicted(run, raw_of(run)) - there).max() < 1e-5
    there = predicted(steep, raw_of(steep), on=Tf32())
    assert np.abs(predicted(steep, raw_of(steep)) - there).max() < 1e-5, "and the other way round"


def test_the_rounding_of_the_double_is_what_refused_healthy_runs(
    steep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above proves something: without the mend it fails."""
    from contextlib import nullcontext

    from comp.inference import forward

    monkeypatch.setattr(forward, "exact", lambda on: nullcontext())
    with pytest.raises(CheckFailed, match="test path"):
        predicted(steep, raw_of(steep), on=Tf32())


def test_flags_are_as_they_were_afterwards(in_fp32: Path) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    predicted(in_fp32, raw_of(in_fp32))
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == before
    assert before[0], "TF32 is on by default: something else has changed it"


# --- the noise of a run ---------------------------------------------------------------------------------------------


def test_a_run_keeps_the_noise_of_its_control_rows(in_fp32: Path, in_bf16: Path) -> None:
    for fold in FOLDS:
        plain, half = read_sidecar(in_fp32 / fold), read_sidecar(in_bf16 / fold)
        assert plain.device == half.device == "cpu"
        assert {name: set(sizes) for name, sizes in plain.noise.items()} == {"fp32": {"again", "by_twos"}}
        assert max(plain.noise["fp32"].values()) < 1e-5
        assert set(half.noise) == {"fp32", "bf16"}
        assert set(half.noise["bf16"]) == {"again", "by_twos", "in_fp32"}
        rows = read_controls(in_bf16 / fold, half.labels)
        apart = max(float(np.abs(row.exact - row.probs).max()) for row in rows if row.exact is not None)
        assert half.noise["bf16"]["in_fp32"] == pytest.approx(apart)
        assert apart > 0
        assert max(half.noise["fp32"].values()) < 1e-5
        assert all(row.exact is None for row in read_controls(in_fp32 / fold, plain.labels))


def test_a_device_that_rounds_by_the_batch_is_measured_and_allowed_for(tmp_path: Path) -> None:
    """A run's own answers move by more than the least tolerance, and so may its control rows."""
    device = Noisy(1e-4)
    run = trained(tmp_path, *STEEP, on=device)
    for fold in FOLDS:
        noise = read_sidecar(run / fold).noise["fp32"]
        assert noise["by_twos"] > LEAST["fp32"] / FACTOR
    assert np.isfinite(predicted(run, raw_of(run), on=device)).all()
    for fold in FOLDS:
        change(run / fold / "model.json", noise={})
    with pytest.raises(CheckFailed):  # what became of it before noise was measured
        predicted(run, raw_of(run), on=device)


@pytest.mark.parametrize(
    ("precision", "size", "most"),
    [
        ("fp32", 0.0, LEAST["fp32"]),
        ("fp32", 0.001, FACTOR * 0.001),
        ("fp32", 1.0, UTMOST["fp32"]),
        ("bf16", 0.001, LEAST["bf16"]),
        ("bf16", 0.03, FACTOR * 0.03),
        ("fp16", 0.5, UTMOST["fp16"]),
    ],
)
def test_the_tolerance_follows_from_the_noise_within_bounds(precision: str, size: float, most: float) -> None:
    assert tolerance(precision, {precision: {"again": 0.0, "by_twos": size}}) == pytest.approx(most)
    assert tolerance(precision, {}) == LEAST[precision], "older checkpoints measured none"


def test_half_precision_that_differs_as_much_as_it_does_from_fp32_passes(tmp_path: Path) -> None:
    """Another device's bf16 is as far from this one's as each is from fp32: more than 0.02 is no fault then."""
    run = trained(tmp_path, *STEEP, "precision=bf16", scale=600)
    for fold in FOLDS:
        noise = read_sidecar(run / fold).noise
        assert LEAST["bf16"] < noise["bf16"]["in_fp32"] < UTMOST["bf16"]
        assert noise["fp32"]["by_twos"] < LEAST["fp32"]
    device = Noisy(2**-7, torch.bfloat16)  # it averages out over an image, as rounded weights do not
    here, there = predicted(run, raw_of(run)), predicted(run, raw_of(run), on=device)
    assert np.abs(there - here).max() > 0.02


# --- what must be refused however noisy a run is ---------------------------------------------------------------------

VERY_NOISY = {name: {"again": 1.0, "by_twos": 1.0} for name in ("fp32", "bf16", "fp16")}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    ],
    ids=["another model's mean and std", "none"],
)
def test_other_preprocessing_is_refused_at_the_utmost_tolerance(
    precision: str, wrong: dict[str, Any], in_fp32: Path, in_bf16: Path, copied: Callable[[Path], Path]
) -> None:
    honest = in_fp32 if precision == "fp32" else in_bf16
    run = copied(honest)
    sidecar = json.loads((run / "fold-1" / "model.json").read_text())
    change(run / "fold-1" / "model.json", noise=VERY_NOISY)
    assert np.isfinite(predicted(run, raw_of(honest))).all()
    change(run / "fold-1" / "model.json", preprocess={**sidecar["preprocess"], **wrong})
    with pytest.raises(CheckFailed) as refused:
        predicted(run, raw_of(honest))
    assert "control-rows: fold-1" in refused.value.value


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_turned_label_map_is_refused_at_the_utmost_tolerance(
    precision: str, in_fp32: Path, in_bf16: Path, copied: Callable[[Path], Path]
) -> None:
    honest = in_fp32 if precision == "fp32" else in_bf16
    run = copied(honest)
    for fold in FOLDS:
        classes = json.loads((run / fold / "model.json").read_text())["classes"]
        change(run / fold / "model.json", classes=[*classes[1:], classes[0]], noise=VERY_NOISY)
    with pytest.raises(CheckFailed):
        predicted(run, raw_of(honest))


def test_rows_in_another_order_are_refused_though_each_is_right_by_itself(
    in_bf16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look in fp32 at the rows by themselves says nothing of the path of the test rows."""
    from comp.inference import predict as module

    plain = module.backbone_outputs

    def turned(
        net: Any, sidecar: Any, source: Any, paths: list[str], views: Any, recipe: Any, *more: Any
    ) -> Any:
        found = plain(net, sidecar, source, paths, views, recipe, *more)
        shift = 1 if recipe.precision == "bf16" else 0
        return {name: np.roll(values, shift, axis=0) for name, values in found.items()}

    monkeypatch.setattr(module, "backbone_outputs", turned)
    with pytest.raises(CheckFailed):
        predicted(in_bf16, raw_of(in_bf16))


def test_a_fold_without_control_rows_is_refused(in_fp32: Path, copied: Callable[[Path], Path]) -> None:
    run = copied(in_fp32)
    rewrite(run / "fold-1" / "control.json", [])
    with pytest.raises(CheckFailed, match="prove themselves") as refused:
        predicted(run, raw_of(in_fp32))
    assert "fold-1/control.json has 0" in refused.value.value


# --- older checkpoints, and devices that do not compute in the precision ------------------------------------------------


def without_noise(run: Path) -> None:
    """The run as it was written before noise was measured."""
    for fold in FOLDS:
        sidecar = json.loads((run / fold / "model.json").read_text())
        table = {key: value for key, value in sidecar.items() if key not in ("noise", "device")}
        rewrite(run / fold / "model.json", table)
        rows = json.loads((run / fold / "control.json").read_text())
        for row in rows:
            row.pop("exact", None)
        rewrite(run / fold / "control.json", rows)


def test_older_checkpoints_keep_their_constants(
    in_fp32: Path, in_bf16: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for honest in (in_fp32, in_bf16):
        run = copied(honest)
        without_noise(run)
        assert np.array_equal(predicted(run, raw_of(honest)), predicted(honest, raw_of(honest)))
        rows = json.loads((run / "fold-0" / "control.json").read_text())
        for row in rows:
            row["probs"] = dict(zip(row["probs"], [1.0, 0.0, 0.0], strict=True))
        rewrite(run / "fold-0" / "control.json", rows)
        with pytest.raises(CheckFailed):
            predicted(run, raw_of(honest))
    assert "in bf16; trying again in fp32" in capsys.readouterr().err


def test_a_gpus_half_precision_is_predicted_in_fp32_where_the_device_has_none(
    in_bf16: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a T4 leaves them: judged in fp16, which no CPU here computes in. Their control rows are known in fp32 as well."""
    run = copied(in_bf16)
    for fold in FOLDS:
        sidecar = json.loads((run / fold / "model.json").read_text())
        noise = {"fp16": sidecar["noise"]["bf16"], "fp32": sidecar["noise"]["fp32"]}
        change(run / fold / "model.json", precision="fp16", device="cuda", noise=noise)
    probs = predicted(run, raw_of(in_bf16))
    assert "judged in fp16, predicted in fp32: cpu does not compute in fp16 here" in capsys.readouterr().err
    assert np.abs(probs - predicted(in_bf16, raw_of(in_bf16))).max() < 0.1
    rows = json.loads((run / "fold-0" / "control.json").read_text())
    for row in rows:
        row["exact"] = {name: value + 0.02 for name, value in row["exact"].items()}
    rewrite(run / "fold-0" / "control.json", rows)
    with pytest.raises(CheckFailed):
        predicted(run, raw_of(in_bf16))


def test_what_is_no_noise_is_refused(in_fp32: Path, copied: Callable[[Path], Path]) -> None:
    from comp.errors import WeightsError

    run = copied(in_fp32)
    for wrong in ({"fp32": {"again": -1.0}}, {"fp32": {"again": float("inf")}}, {"fp32": 1.0}, [1], "x"):
        change(run / "fold-0" / "model.json", noise=wrong)
        with pytest.raises(WeightsError, match="needs its sidecar"):
            read_sidecar(run / "fold-0")


def test_an_oof_is_of_the_same_rows_as_before(in_fp32: Path) -> None:
    """Judging again changes nothing of what was judged."""
    for fold in FOLDS:
        oof = Predictions.load(in_fp32 / fold / "oof-identity_view.npz")
        by_id = dict(zip(oof.ids, oof.probs, strict=True))
        rows = read_controls(in_fp32 / fold, LabelMap(list(oof.labels)))
        assert len(rows) == min(control_rows.MOST, len(oof.ids))
        for row in rows:
            np.testing.assert_array_equal(row.probs, by_id[row.sample])
