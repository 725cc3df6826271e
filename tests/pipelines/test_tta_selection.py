"""``tta = "auto"``: a set of views is used where it gains more than its standard error, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions
from comp.errors import RecipeError
from comp.metrics import METRICS, metric_by_name
from comp.pipelines.run_result import RunResult
from comp.pipelines.view_choice import TtaScore, try_sets
from comp.recipe import load
from comp.views import VIEW_SETS, sets_among
from made import SHAPES_TOML, probe, run_comp, save_image, train_table, write_shapes, write_train_table


def rows(n: int, seed: int, better: float, classes: int = 4) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Probabilities of the identity view, of mirrored ones that know the class ``better``, and of noise."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    base = rng.normal(size=(n, classes))
    base[np.arange(n), targets] += 1.0
    up = base.copy()
    up[np.arange(n), targets] += better
    noise = base + rng.normal(size=base.shape) * 0.05

    def probs(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    return {"none": probs(base), "hflip": probs(up), "d4": probs(noise)}, targets


def chosen(tried: list[TtaScore]) -> str:
    (one,) = [one.set for one in tried if one.chosen]
    return one


@pytest.mark.parametrize(
    "name", [*(name for name in METRICS if name not in ("f1", "probabilistic_f1")), "map@3"]
)
def test_a_set_that_knows_more_is_chosen_whatever_the_metric(name: str) -> None:
    probs, targets = rows(400, 0, 1.5)
    tried = try_sets(probs, targets, [str(n) for n in range(400)], metric_by_name(name))
    assert chosen(tried) == "hflip"
    by_name = {one.set: one for one in tried}
    assert by_name["hflip"].gain > by_name["hflip"].standard_error > 0
    assert by_name["none"].gain == by_name["none"].standard_error == 0


def test_sets_that_change_nothing_or_harm_leave_the_identity_view() -> None:
    probs, targets = rows(300, 1, -0.8)
    names = [str(n) for n in range(300)]
    assert chosen(try_sets({**probs, "d4": probs["none"]}, targets, names, METRICS["log_loss"])) == "none"


def test_a_gain_within_its_error_is_not_taken() -> None:
    """One more row right of 40: a gain of 1/40 with a standard error of 1/40."""
    targets = np.zeros(40, np.int64)
    base = np.tile([0.9, 0.1], (40, 1))
    base[:5] = [0.1, 0.9]
    more = base.copy()
    more[0] = [0.9, 0.1]
    tried = try_sets({"none": base, "hflip": more}, targets, [str(n) for n in range(40)], METRICS["accuracy"])
    assert tried[1].gain == pytest.approx(1 / 40)
    assert tried[1].standard_error == pytest.approx(1 / 40, rel=0.05)
    more[:4] = [0.9, 0.1]
    four = try_sets({"none": base, "hflip": more}, targets, [str(n) for n in range(40)], METRICS["accuracy"])
    assert chosen(four) == "hflip"


def test_the_standard_error_is_that_of_paired_rows() -> None:
    probs, targets = rows(2000, 3, 0.4)
    tried = try_sets(probs, targets, [str(n) for n in range(2000)], METRICS["log_loss"])
    own = np.log(probs["hflip"] / probs["none"])[np.arange(2000), targets]
    assert tried[1].gain == pytest.approx(own.mean())
    assert tried[1].standard_error == pytest.approx(own.std(ddof=1) / np.sqrt(2000), rel=0.3)


def test_rows_of_one_group_count_once() -> None:
    probs, targets = rows(60, 4, 0.5)
    one = try_sets(probs, targets, [str(n) for n in range(60)], METRICS["log_loss"])
    ten = {name: np.repeat(p, 10, axis=0) for name, p in probs.items()}
    groups = [str(n // 10) for n in range(600)]
    many = try_sets(ten, np.repeat(targets, 10), groups, METRICS["log_loss"])
    assert many[1].standard_error == pytest.approx(one[1].standard_error, rel=1e-9)
    assert try_sets(probs, targets, ["all"] * 60, METRICS["log_loss"])[1].standard_error == float("inf")


@pytest.mark.parametrize(
    "override", ['tta=["auto","turn90"]', 'tta=["hflip","auto"]', 'tta=["auto","d4","d4"]', "tta=automatic"]
)
def test_auto_chooses_among_sets(override: str) -> None:
    with pytest.raises(RecipeError, match="tta"):
        load(None, [override])
    named = load(None, ['tta=["auto", "hflip", "zoom"]'])
    assert named.chooses_views
    assert named.views == ["identity"]
    assert list(sets_among(named.tta)) == ["none", "hflip", "zoom"]
    assert sets_among(["auto"]) == VIEW_SETS


def test_a_run_chooses_once_and_predicts_by_it(workspace: Path) -> None:
    """Digits of few epochs: every set is told, the CSV and OOF are those of the chosen one, also when resumed."""
    asked = ["tta=auto", "epochs=3", "threads=1", "model.size=16", "transform=none"]
    found = comp.run("digits", 3, workspace=workspace, overrides=asked)
    assert found.selected_on_oof
    assert "identity_view" in found.beside
    assert {one["set"] for one in found.views} <= set(VIEW_SETS)
    (best,) = [one for one in found.views if one["chosen"]]
    assert found.score == pytest.approx(best["score"])
    assert (best["gain"] > best["standard_error"]) == (best["set"] != "none")
    told = json.loads((found.folder / "views.json").read_text())
    assert told["chosen"] == best["set"]
    assert found.as_json()["views"] == told["sets"]
    oof = Predictions.load(found.folder / "oof.npz")
    parts = [Predictions.load(found.folder / f"fold-{k}" / f"oof-views-{best['set']}.npz") for k in range(3)]
    for part in parts:
        assert np.array_equal(oof.select(part.ids).probs, part.probs)
    csv = found.submission.read_bytes()
    assert comp.predict(found.run, workspace=workspace)[0].read_bytes() == csv
    (found.folder / "record.json").unlink()
    (found.folder / "views.json").unlink()
    again = comp.run("digits", workspace=workspace, resume=found.run)
    assert again.views == found.views
    assert again.submission.read_bytes() == csv


def test_probe_solves_once_and_keeps_the_features_of_every_view(
    workspace: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = probe(workspace, 'tta=["auto", "turns", "five-crops", "larger"]')
    found = comp.run("shapes", 2, workspace=workspace, overrides=asked)
    assert [one["set"] for one in found.views] == ["none", "turns", "five-crops", "larger"]
    plain = comp.run("shapes", 2, workspace=workspace, overrides=probe(workspace, "tta=hflip"))
    assert found.beside["identity_view"] == plain.beside["identity_view"], "the same classifier"
    capsys.readouterr()
    again = comp.run("shapes", 2, workspace=workspace, overrides=asked)
    assert "kept from an earlier run" in capsys.readouterr().err
    assert again.views == found.views
    assert again.submission.read_bytes() == found.submission.read_bytes()


def test_folds_trained_apart_choose_together(workspace: Path, shapes: Path) -> None:
    whole = comp.run("shapes", 2, workspace=workspace, overrides=['tta=["auto", "d4", "larger"]'])
    asked = {"workspace": workspace, "overrides": ['tta=["auto", "d4", "larger"]']}
    parts = [comp.run("shapes", 2, only=[k], **asked) for k in (1, 0)]
    assert [one["set"] for one in parts[0].views] == ["none", "d4", "larger"]
    merged = comp.merge(*[one.run for one in parts], workspace=workspace)
    assert merged.views == whole.views
    assert merged.submission.read_bytes() == whole.submission.read_bytes()


def test_several_models_choose_one_set_for_all(workspace: Path, shapes: Path) -> None:
    recipe = workspace / "two.toml"
    recipe.write_text(
        'mode = "scratch"\nepochs = 1\nbatch = 8\nprecision = "fp32"\nchannels_last = true\ntta = "auto"\n'
        '[[model]]\nname = "test_resnet"\nsize = 32\n'
        '[[model]]\nname = "test_vit"\nsize = 160\nkwargs = { dynamic_img_size = false }\n'
    )
    told = run_comp(workspace, "run", "shapes", "--folds", 2, "--recipe", recipe, "--json")
    assert told.code == 0, told.err
    names = {one["set"] for one in told.json["views"]}
    assert names == set(VIEW_SETS) - {"large", "larger", "scales"}, "one of the two reads one size alone"
    assert sum(one["chosen"] for one in told.json["views"]) == 1
    assert told.json["oof"]["selected_on_oof"] is True


def write_twins(place: Path) -> None:
    """Two classes that are mirror images of each other: images that grow brighter to the right, or to the left."""
    raw = write_shapes(place, per_class=20)
    (place / "competitions" / "shapes" / "competition.toml").write_text(
        SHAPES_TOML.replace('["circle", "cross", "square"]', '["left", "right"]')
    )
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 190, 32)[None, :, None]

    def image(right: bool) -> np.ndarray:
        pixels = (ramp if right else ramp[:, ::-1]) + rng.normal(0, 18, (32, 32, 3)) + rng.integers(-20, 20)
        return pixels.clip(0, 255).astype(np.uint8)

    rows = train_table(raw)
    for n, row in enumerate(rows):
        save_image(raw / "train" / f"{row[0]}.png", image(n % 2 == 1))
        row[1] = ["left", "right"][n % 2]
    write_train_table(raw, rows)
    for n, path in enumerate(sorted((raw / "test").iterdir())):
        save_image(path, image(n % 2 == 1))
    template = raw / "sample_submission.csv"
    template.write_text(template.read_text().replace("circle", "left"))


def findings_of(run: RunResult) -> list[str]:
    return [one["check"] for one in json.loads((run.folder / "findings.json").read_text())]


def test_a_probe_of_classes_that_are_mirror_images(tmp_path: Path) -> None:
    write_twins(tmp_path)
    mirrored = comp.run("shapes", 3, workspace=tmp_path, overrides=probe(tmp_path))
    assert mirrored.score < 0.65
    assert mirrored.beside["identity_view"] < 0.65, "its classifier was fitted on mirror images"
    assert mirrored.beside["plain_fit"] == 1.0
    assert "harmful-views" in findings_of(mirrored)
    plain = comp.run("shapes", 3, workspace=tmp_path, overrides=probe(tmp_path, "tta=none"))
    assert plain.score == 1.0
    assert list(plain.beside) == ["identity_view"]
    assert "harmful-views" not in findings_of(plain)


def test_auto_leaves_mirror_images_out_of_a_probes_fit(tmp_path: Path) -> None:
    write_twins(tmp_path)
    chosen = comp.run("shapes", 3, workspace=tmp_path, overrides=probe(tmp_path, "tta=auto"))
    assert chosen.score == 1.0
    assert json.loads((chosen.folder / "views.json").read_text())["chosen"] == "none"
    assert "harmful-views" not in findings_of(chosen)


def test_a_network_is_warned_of_mirror_images_before_it_trains(tmp_path: Path) -> None:
    write_twins(tmp_path)
    told = run_comp(tmp_path, "run", "shapes", "--folds", 3, "--json")
    assert told.code == 0, told.err
    before, after = told.err.index("harmful-transform"), told.err.index("epoch 1/1")
    assert before < after
    assert "'left' and 'right'" in told.err
    assert told.json["findings"]["warning"] >= 1
    plain = run_comp(tmp_path, "run", "shapes", "--folds", 3, "--set", "transform=none", "--set", "tta=none")
    assert "harmful" not in plain.err


def test_mirror_images_of_shapes_do_no_harm(tmp_path: Path) -> None:
    write_shapes(tmp_path, per_class=20)
    for overrides in ([], probe(tmp_path, "tta=auto")):
        run = comp.run("shapes", 3, workspace=tmp_path, overrides=overrides)
        assert not [name for name in findings_of(run) if name.startswith("harmful")]
