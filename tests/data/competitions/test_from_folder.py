"""Facts proposed from raw folders of many kinds, with what they cannot say; and `comp new SLUG --from DIR`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from comp.config import validate
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.from_folder.as_toml import as_toml
from comp.data.competitions.from_folder.guess import propose
from comp.data.competitions.from_folder.label_guess import guess_answer, separator_of
from comp.data.competitions.from_folder.proposal import Proposal
from comp.errors import InputError
from comp.files import parse_toml
from comp.kaggle.evaluation import metric_of
from made import run_comp

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c626001000000ffff03000006"
    "0005"
)


def images(raw: Path, *paths: str) -> None:
    """Files that are named like images; nothing here decodes them."""
    for path in paths:
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        (raw / path).write_bytes(PIXEL + path.encode())


def table(raw: Path, name: str, header: str, *rows: str) -> None:
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_text("\n".join([header, *rows]) + "\n")


def facts_of(raw: Path, **given: str) -> tuple[dict[str, Any], Proposal]:
    """The facts of a folder as they read back from their TOML, after they have read the folder without a gap."""
    proposal = propose(raw, **given)
    found = parse_toml(as_toml(proposal, "x", "X"))
    manifest = Competition(raw, validate(CompetitionConfig, found, "x")).read(raw)
    assert all((raw / path).is_file() for path in manifest.table["path"]) or list(raw.glob("*.zip"))
    return found, proposal


def test_a_table_with_patients_and_several_copies_of_the_images(tmp_path: Path) -> None:
    rows = [f"i{n},p{n // 3},male,{n % 2}" for n in range(24)]
    table(tmp_path, "train.csv", "image_name,patient_id,sex,target", *rows)
    table(tmp_path, "test.csv", "image_name,patient_id,sex", *[f"t{n},q{n},male" for n in range(6)])
    table(tmp_path, "sample_submission.csv", "image_name,target", *[f"t{n},0" for n in range(6)])
    images(tmp_path, *[f"jpeg/train/i{n}.jpg" for n in range(24)], *[f"jpeg/test/t{n}.jpg" for n in range(6)])
    for n in range(24):
        table(tmp_path, f"train/i{n}.dcm", "DICM")
    found, proposal = facts_of(tmp_path, metric="roc_auc")
    assert found["data"] == {
        "table": "train.csv",
        "test_table": "test.csv",
        "id": "image_name",
        "label": "target",
        "group": "patient_id",
        "images": "jpeg/train/{id}.jpg",
        "test_images": "jpeg/test/{id}.jpg",
    }
    assert found["template"]["kind"] == "prob"
    assert found["template"]["positive"] == "1"
    assert proposal.unsure == {}


def test_without_a_metric_0_and_1_are_not_sure(tmp_path: Path) -> None:
    table(tmp_path, "labels.csv", "id,label", *[f"i{n},{n % 2}" for n in range(12)])
    table(tmp_path, "sampleSubmission.csv", "id,label", "t0,0", "t1,0")
    images(tmp_path, *[f"train/i{n}.TIF" for n in range(12)], "test/t0.TIF", "test/t1.TIF")
    found, proposal = facts_of(tmp_path)
    assert found["unsure"] == ["metric", "template.kind"]
    assert set(proposal.unsure) == {"metric", "template.kind"}
    assert (found["metric"], found["template"]["kind"]) == ("roc_auc", "prob")
    hard, _ = facts_of(tmp_path, metric="accuracy")
    assert hard["template"]["kind"] == "label"
    assert "unsure" not in hard


def test_class_folders_and_a_column_for_each_class(tmp_path: Path) -> None:
    images(
        tmp_path, *[f"train/{name}/{n}.png" for name, few in (("ash", 5), ("big elm", 6)) for n in range(few)]
    )
    images(tmp_path, "test_stg1/a.png", "test_stg1/b.png")
    table(tmp_path, "sample_submission_stg1.csv", "image,ash,big elm", "a.png,.5,.5", "b.png,.5,.5")
    found, _ = facts_of(tmp_path)
    assert found["data"] == {"images": "train/*/*", "test_images": "test_stg1/{id}"}
    assert found["template"]["target"] == "*"
    assert (found["metric"], found["template"]["kind"]) == ("log_loss", "probs")


def test_drivers_are_joined_and_names_of_classes_are_columns(tmp_path: Path) -> None:
    rows = [f"p{n % 4},c{n % 2},img_{n}.jpg" for n in range(24)]
    table(tmp_path, "driver_imgs_list.csv", "subject,classname,img", *rows)
    images(tmp_path, *[f"imgs/train/c{n % 2}/img_{n}.jpg" for n in range(24)], "imgs/test/img_90.jpg")
    table(tmp_path, "sample_submission.csv", "img,c0,c1", "img_90.jpg,.5,.5")
    found, _ = facts_of(tmp_path)
    assert found["data"]["label"] == "classname"
    assert found["data"]["group"] == "subject"
    assert found["data"]["images"] == "imgs/train/*/{id}"


def test_a_label_in_the_name_of_a_file_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as packed:
        for n in range(12):
            packed.writestr(f"train/{('cat', 'dog')[n % 2]}.{n}.jpg", PIXEL)
    images(tmp_path, "test/1.jpg", "test/2.jpg")
    table(tmp_path, "sample_submission.csv", "id,label", "1,0.5", "2,0.5")
    found, proposal = facts_of(tmp_path, metric="log_loss")
    assert "(?P<label>cat|dog)" in found["data"]["pattern"]
    assert found["data"]["images"] == "train/*.jpg"
    assert found["template"]["positive"] == "dog"
    assert list(proposal.unsure) == ["template.positive"]


@pytest.mark.parametrize("single", [True, False])
def test_columns_of_0_and_1(single: bool, tmp_path: Path) -> None:
    rows = [
        f"Train_{n},{int(n % 3 == 0)},{int(n % 3 == 1 or not single)},{int(n % 3 == 2)}" for n in range(18)
    ]
    table(tmp_path, "train.csv", "image_id,healthy,rust,scab", *rows)
    table(tmp_path, "sample_submission.csv", "image_id,healthy,rust,scab", "Test_0,.3,.3,.4")
    images(tmp_path, *[f"images/Train_{n}.jpg" for n in range(18)], "images/Test_0.jpg")
    found, _ = facts_of(tmp_path)
    assert found["task"] == ("single-label" if single else "multi-label")
    assert found["data"]["onehot"] == ["healthy", "rust", "scab"]
    assert found["metric"] == ("log_loss" if single else "roc_auc")


def test_targets_with_one_more_word_in_the_table(tmp_path: Path) -> None:
    rows = [f"{n},{n % 7},{n}.5,{n / 4},0.1,0.2" for n in range(1, 25)]
    table(tmp_path, "train.csv", "id,RAIN,X4_mean,X11_mean,X4_sd,X11_sd", *rows)
    table(tmp_path, "sample_submission.csv", "id,X4,X11", "90,0.3,6.0")
    images(tmp_path, *[f"train_images/{n}.jpeg" for n in range(1, 25)], "test_images/90.jpeg")
    found, proposal = facts_of(tmp_path)
    assert found["task"] == "regression"
    assert found["data"]["label"] == ["X4_mean", "X11_mean"]
    assert found["template"]["target"] == ["X4", "X11"]
    assert "_sd" in proposal.unsure["data.label"]


def test_what_names_no_image_is_refused(tmp_path: Path) -> None:
    table(tmp_path, "train.csv", "code,plate,sirna", *[f"A_{n},1,{n % 4}" for n in range(16)])
    table(tmp_path, "sample_submission.csv", "code,sirna", "B_1,0")
    images(tmp_path, *[f"train/A/P{n % 2}/w{n}.png" for n in range(16)], "test/B/P1/w1.png")
    with pytest.raises(
        InputError, match=r"none of its columns \('code', 'plate', 'sirna'\) names the images"
    ):
        propose(tmp_path)


def test_packed_images_are_named_with_how_to_unpack_them(tmp_path: Path) -> None:
    (tmp_path / "train.rar").write_bytes(b"Rar!")
    table(tmp_path, "trainLabels.csv", "id,label", "1,frog")
    with pytest.raises(InputError, match=r"unrar x train\.rar"):
        propose(tmp_path)


def test_several_names_in_a_cell(tmp_path: Path) -> None:
    tags = ["a", "b", "a b", "b c", "c", "a c"]
    table(tmp_path, "train.csv", "image,labels", *[f"i{n}.jpg,{tags[n % 6]}" for n in range(18)])
    table(tmp_path, "sample_submission.csv", "image,labels", "t.jpg,a")
    images(tmp_path, *[f"train_images/i{n}.jpg" for n in range(18)], "test_images/t.jpg")
    found, _ = facts_of(tmp_path)
    assert found["task"] == "multi-label"
    assert (found["data"]["labels"], found["data"]["separator"]) == ("labels", " ")
    assert found["template"]["kind"] == "labels"


@pytest.mark.parametrize(
    ("cells", "between"),
    [
        (["Sugar beet", "Common wheat", "Common Chickweed", "Fat Hen", "Maize"], ""),
        (["0", "1", "0 1", "2 0", "2"], " "),
        (["a,b", "b", "a", "a,c", "c"], ","),
        (["a|b", "b", "a"], "|"),
        (["upper extremity", "lower extremity", "torso", "head/neck"], ""),
        (["one"], ""),
    ],
)
def test_lists_of_names_are_told_from_names_of_words(cells: list[str], between: str) -> None:
    assert separator_of(cells) == between


def test_likeliest_names_and_rare_classes(tmp_path: Path) -> None:
    names = ["w1"] * 8 + ["w2"] * 6 + ["w3", "w4"]
    table(tmp_path, "train.csv", "Image,Id", *[f"i{n}.jpg,{name}" for n, name in enumerate(names)])
    table(tmp_path, "sample_submission.csv", "Image,Id", "t.jpg,w1 w2 w3")
    images(tmp_path, *[f"train/i{n}.jpg" for n in range(16)], "test/t.jpg")
    found, _ = facts_of(tmp_path)
    assert (found["template"]["kind"], found["template"]["k"], found["metric"]) == ("topk", 3, "map@3")
    assert found["folds"]["rare"] == "spread"


@pytest.mark.parametrize(
    ("metric", "labels", "task", "kind"),
    [
        ("qwk", [0, 1, 2, 3], "ordinal", "label"),
        ("accuracy", [0, 1, 2, 3], "single-label", "label"),
        ("", [0, 1, 2, 3], "single-label", "label"),
        ("qwk", [0, 10, 20], "single-label", "label"),
        ("rmse", [0, 1, 2, 3], "regression", "number"),
        ("", [1.5, 2.25, 7.0, 3.125], "regression", "number"),
    ],
)
def test_numbers_are_classes_steps_or_measured(
    metric: str, labels: list[float], task: str, kind: str, tmp_path: Path
) -> None:
    rows = [f"i{n},{labels[n % len(labels)]}" for n in range(24)]
    table(tmp_path, "train.csv", "id_code,diagnosis", *rows)
    table(tmp_path, "sample_submission.csv", "id_code,diagnosis", f"t,{labels[0]}")
    images(tmp_path, *[f"train_images/i{n}.png" for n in range(24)], "test_images/t.png")
    found, _ = facts_of(tmp_path, metric=metric)
    assert (found["task"], found["template"]["kind"]) == (task, kind)


def test_coco_with_paths_and_a_test_file_without_annotations(tmp_path: Path) -> None:
    def image(n: int, place: str) -> dict[str, Any]:
        return {"id": f"{n}", "file_name": f"images/{n % 2}/{n}.jpg", "location": n % 4, "license": 1}

    annotations = [{"id": n + 70, "image_id": f"{n}", "category_id": n % 3 * 5} for n in range(24)]
    categories = [{"id": 5 * n, "name": f"name {n}", "count": 9} for n in range(3)]
    train = {
        "images": [image(n, "train") for n in range(24)],
        "annotations": annotations,
        "categories": categories,
    }
    test = {"images": [image(n, "test") for n in range(4)], "categories": categories, "info": {"year": 2020}}
    for name, document in (("train", train), ("test", test)):
        images(tmp_path, *[f"{name}/{one['file_name']}" for one in document["images"]])
        (tmp_path / name / "metadata.json").write_text(json.dumps(document))
    table(tmp_path, "sample_submission.csv", "Id,Predicted", "0,5", "1,5", "2,5", "3,5")
    found, _ = facts_of(tmp_path)
    assert found["data"] == {
        "table": "train/metadata.json",
        "test_table": "test/metadata.json",
        "id": "id",
        "label": "category_id",
        "group": "location",
        "images": "train/{file_name}",
        "test_images": "test/{file_name}",
    }


def test_ids_that_count_anew_in_each_split_are_no_test_table(tmp_path: Path) -> None:
    table(tmp_path, "train_labels.csv", "name,invasive", *[f"{n},{n % 2}" for n in range(1, 13)])
    table(tmp_path, "sample_submission.csv", "name,invasive", "1,0.5", "2,0.5")
    images(tmp_path, *[f"train/{n}.jpg" for n in range(1, 13)], "test/1.jpg", "test/2.jpg")
    found, _ = facts_of(tmp_path)
    assert (found["data"]["images"], found["data"]["test_images"]) == ("train/{id}.jpg", "test/{id}.jpg")


def test_a_column_that_every_class_has_one_value_of_is_no_group(tmp_path: Path) -> None:
    rows = [f"i{n}.jpg,{n % 2},{n % 6},{n % 5}" for n in range(30)]
    table(tmp_path, "train.csv", "image,genus_id,species,site_id", *rows)
    table(tmp_path, "sample_submission.csv", "image,species", "t.jpg,1")
    images(tmp_path, *[f"a/train/i{n}.jpg" for n in range(30)], "a/test/t.jpg")
    found, _ = facts_of(tmp_path)
    assert found["data"]["group"] == "site_id"


def test_left_and_right_of_one_are_a_group(tmp_path: Path) -> None:
    ids = [f"{n}_{side}" for n in range(8) for side in ("left", "right")]
    table(tmp_path, "trainLabels.csv", "image,level", *[f"{one},{n % 3}" for n, one in enumerate(ids)])
    table(tmp_path, "sampleSubmission.csv", "image,level", "90_left,0", "90_right,0")
    images(tmp_path, *[f"train/{one}.jpeg" for one in ids], "test/90_left.jpeg", "test/90_right.jpeg")
    found, _ = facts_of(tmp_path)
    manifest = Competition(tmp_path, validate(CompetitionConfig, found, "x")).read(tmp_path)
    assert list(manifest.train["group"][:4]) == ["0", "0", "1", "1"]


def test_rows_by_position_and_places_of_classes(tmp_path: Path) -> None:
    images(
        tmp_path, *[f"train/{name}/{n}.jpg" for name, few in (("dog", 6), ("horse", 7)) for n in range(few)]
    )
    images(tmp_path, *[f"test/0/x{n}y.jpg" for n in range(3)])
    table(tmp_path, "test_answer_sample_.csv", ",answer value", "0,0", "1,0", "2,1")
    found, proposal = facts_of(tmp_path, metric="accuracy")
    assert found["pairs"] == "position"
    assert found["data"]["test_images"] == "test/0/*"
    assert (found["template"]["kind"], found["classes"]) == ("index", ["dog", "horse"])
    assert found["unsure"] == list(proposal.unsure)
    assert {"pairs", "classes"} <= set(proposal.unsure)


def test_without_a_template_the_test_folder_is_predicted_and_never_the_labelled_images(
    tmp_path: Path,
) -> None:
    images(tmp_path, *[f"train/{name}/{name}{n}.jpg" for name in ("dog", "horse") for n in range(6)])
    found, proposal = facts_of(tmp_path)
    reader = Competition(tmp_path, validate(CompetitionConfig, found, "x"))
    assert len(reader.read(tmp_path).test) == 0
    images(tmp_path, "test/1.jpg", "test/2.jpg")
    found, proposal = facts_of(tmp_path)
    reader = Competition(tmp_path, validate(CompetitionConfig, found, "x"))
    assert list(reader.read(tmp_path).test["id"]) == ["1.jpg", "2.jpg"]
    assert found["template"]["file"] == "made"
    assert "template.file" in proposal.unsure


def test_a_folder_that_says_no_labels_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "a/1.jpg", "a/2.jpg")
    with pytest.raises(InputError, match="says the labels"):
        propose(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        propose(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Area Under Receiver Operating Characteristic Curve", "roc_auc"),
        ("Multiclass Loss", "log_loss"),
        ("QuadraticWeightedKappa", "quadratic_kappa"),
        ("Categorization Accuracy", "accuracy"),
        ("MAP@5", "map@5"),
        ("Root Mean Squared Error", "rmse"),
        ("Macro F1 Score", "macro_f1"),
        ("Some New Thing", None),
    ],
)
def test_kaggles_wording_of_a_metric(said: str, name: str | None) -> None:
    assert metric_of(said) == name


def shapes(raw: Path) -> None:
    """Images that can be decoded, in class folders."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train/ash", "train/elm", "test"):
        (raw / split).mkdir(parents=True)
        for n in range(8):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            Image.fromarray(pixels).save(raw / split / f"{split[-3:]}{n}.png")
    table(raw, "sample_submission.csv", "id,label", *[f"est{n}.png,ash" for n in range(8)])


def test_new_from_a_folder_is_checked_at_once(tmp_path: Path) -> None:
    shapes(tmp_path / "raw")
    done = run_comp(tmp_path, "new", "trees", "--from", tmp_path / "raw", "--json")
    assert done.code == 0, done.err
    assert done.json["unsure"] == {"metric": "a folder does not say how answers are scored"}
    assert "16 images with labels, 2 classes, 8 to predict" in done.err
    assert "next: comp check trees --data " in done.err
    folder = tmp_path / "competitions" / "trees"
    assert {path.name for path in folder.iterdir()} == {"competition.toml", "baseline.toml", "README.md"}
    assert "not sure" in (folder / "competition.toml").read_text()
    checked = run_comp(tmp_path, "check", "trees", "--data", tmp_path / "raw", "--folds", "2", "--json")
    assert checked.code == 0, checked.out


def test_what_was_guessed_is_named_by_a_run_and_kept(tmp_path: Path) -> None:
    shapes(tmp_path / "raw")
    assert run_comp(tmp_path, "new", "trees", "--from", tmp_path / "raw").code == 0
    tiny = ("--set", "mode=scratch", "--set", "model.name=test_resnet", "--set", "model.size=32")
    more = ("--set", "model.fit=squash", "--set", "transform=none", "--set", 'tta=["identity"]')
    done = run_comp(
        tmp_path,
        "run",
        "trees",
        "--data",
        tmp_path / "raw",
        "--folds",
        "2",
        "--quick",
        *tiny,
        *more,
        "--json",
    )
    assert done.code == 0, done.err
    assert "not sure: metric of competition.toml" in done.err
    started = json.loads((tmp_path / "runs" / done.json["run"] / "started.json").read_text())
    assert started["unsure"] == ["metric"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--metric", "acuracy"], "accuracy"),
        (["--task", "single"], "single-label"),
        (["--metric", "rmse", "--task", "single-label"], "task"),
        (["--layout", "csv"], "--layout"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    more: list[str], told: str, tmp_path: Path
) -> None:
    shapes(tmp_path / "raw")
    done = run_comp(tmp_path, "new", "trees", "--from", tmp_path / "raw", *more)
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "competitions").exists()


def test_a_metric_needs_a_folder(tmp_path: Path) -> None:
    done = run_comp(tmp_path, "new", "trees", "--metric", "accuracy")
    assert done.code == 2
    assert "--from" in done.err


TINY = (
    "--set",
    "mode=scratch",
    "--set",
    "model.name=test_resnet",
    "--set",
    "model.size=32",
    "--set",
    "transform=none",
)


def test_a_folder_is_run_without_any_file(tmp_path: Path) -> None:
    shapes(tmp_path / "raw")
    workspace = tmp_path / "work"
    workspace.mkdir()
    open_metric = run_comp(workspace, "run", tmp_path / "raw", "--folds", "2", "--quick", *TINY)
    assert open_metric.code == 2
    assert "--metric NAME, of accuracy" in open_metric.err
    given = ("--metric", "accuracy", "--folds", "2", "--quick", *TINY, "--set", "model.fit=squash")
    done = run_comp(workspace, "run", tmp_path / "raw", *given, "--json")
    assert done.code == 0, done.err
    assert "data.images = 'train/*/*'" in done.err
    lines = Path(done.json["submission"]).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", *[f"est{n}.png" for n in range(8)]]
    assert not (workspace / "competitions").exists()


def test_a_folder_is_checked_and_its_facts_kept_where_asked(tmp_path: Path) -> None:
    shapes(tmp_path / "raw")
    raw = tmp_path / "raw"
    assert run_comp(tmp_path, "check", raw, "--folds", "2").code == 0
    assert not (tmp_path / "competitions").exists()
    kept = run_comp(tmp_path, "check", raw, "--folds", "2", "--metric", "macro_f1", "--save", "trees")
    assert kept.code == 0, kept.err
    facts = parse_toml((tmp_path / "competitions" / "trees" / "competition.toml").read_text())
    assert facts["metric"] == "macro_f1"
    assert run_comp(tmp_path, "check", "trees", "--data", raw, "--folds", "2").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digits", "--metric", "accuracy"], "a competition states its own facts"),
        (["./nothing"], "not a folder"),
        (["./raw", "--data", "raw"], "its own raw data"),
    ],
)
def test_folders_and_slugs_are_not_mixed_up(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = run_comp(tmp_path, "check", *arguments)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize(
    ("labels", "target", "positive", "doubtful"),
    [
        (("normal", "abnormal"), "target", "abnormal", True),
        (("real", "fake"), "target", "fake", True),
        (("tumor", "healthy"), "state", "tumor", True),
        (("no_crack", "crack"), "target", "crack", True),
        (("zebra", "ape"), "target", "zebra", True),
        (("tumor", "benign"), "p_tumor", "tumor", False),
        (("crack", "no_crack"), "no_crack_prob", "crack", True),
        (("yes", "no"), "target", "yes", False),
        (("False", "True"), "target", "True", False),
        (("0", "1"), "target", "1", False),
    ],
)
def test_the_class_whose_probability_is_asked_for(
    labels: tuple[str, str], target: str, positive: str, doubtful: bool
) -> None:
    answer = guess_answer([*labels] * 9, ["0.5"] * 4, target, "roc_auc", "")
    assert (answer.kind, answer.template["positive"]) == ("prob", positive)
    assert ("template.positive" in answer.unsure) is doubtful


def test_a_metric_of_one_class_is_of_a_class_that_is_named() -> None:
    answer = guess_answer(["normal", "abnormal"] * 9, ["normal"] * 4, "target", "f1", "")
    assert (answer.kind, answer.template["positive"]) == ("label", "abnormal")
    assert "template.positive" in answer.unsure
    assert guess_answer(["normal", "abnormal"] * 9, ["normal"] * 4, "target", "accuracy", "").template == {}


def two_states(raw: Path) -> None:
    """Class folders of two words, and one probability a row."""
    shapes(raw)
    table(raw, "sample_submission.csv", "id,target", *[f"est{n}.png,0.5" for n in range(8)])


def test_a_run_of_a_folder_stops_where_either_class_may_be_1(tmp_path: Path) -> None:
    two_states(tmp_path / "raw")
    run = ("run", tmp_path / "raw", "--folds", "2", "--quick", *TINY, "--metric", "roc_auc")
    for more in ((), ("--save", "trees")):
        done = run_comp(tmp_path, *run, *more)
        assert done.code == 2
        assert "it may be 'ash'" in done.err
        assert "--positive CLASS" in done.err
        assert not (tmp_path / "competitions").exists()
        assert not (tmp_path / "runs").exists()


def test_the_class_that_is_1_can_be_given(tmp_path: Path) -> None:
    two_states(tmp_path / "raw")
    new = ("new", "trees", "--from", tmp_path / "raw", "--metric", "roc_auc", "--json")
    done = run_comp(tmp_path, *new, "--positive", "ash")
    assert done.code == 0, done.err
    assert done.json["facts"]["template"]["positive"] == "ash"
    assert done.json["unsure"] == {}
    checked = run_comp(tmp_path, "check", tmp_path / "raw", "--folds", "2", "--positive", "oak")
    assert checked.code == 1
    assert "positive of [template] is a class" in checked.out


def test_true_and_false_are_classes_or_probabilities_by_the_metric() -> None:
    by_metric = {
        metric: guess_answer(["True", "False"] * 9, ["False"] * 4, "target", metric, "").kind
        for metric in ("accuracy", "f1", "roc_auc", "log_loss", "")
    }
    assert by_metric == {
        "accuracy": "label",
        "f1": "label",
        "roc_auc": "prob",
        "log_loss": "prob",
        "": "label",
    }


def test_names_that_no_row_has_are_several_where_the_metric_judges_several() -> None:
    labels = ["1021", "222", "33"] * 9
    answer = guess_answer(labels, ["36363 53586 18807 64314 60181"] * 4, "hotel_id", "map@5", "")
    assert (answer.kind, answer.template) == ("topk", {"k": 5})
    boxes = guess_answer(labels, ["0 0 50 50"] * 4, "hotel_id", "accuracy", "")
    assert boxes.kind == "label"


def test_columns_of_the_template_that_stand_in_the_cells_of_one_column(tmp_path: Path) -> None:
    cells = ["Cyst|Mass", "Mass", "No Finding", "Edema|Mass", "Cyst", "Cyst|Edema"] * 3
    table(
        tmp_path, "entries.csv", "Image Index,Finding Labels", *[f"i{n}.png,{c}" for n, c in enumerate(cells)]
    )
    table(tmp_path, "sample_submission.csv", "Image Index,Edema,Cyst,Mass", "t0.png,0,0,0", "t1.png,0,0,0")
    images(tmp_path, *[f"images/i{n}.png" for n in range(18)], "test/t0.png", "test/t1.png")
    found, proposal = facts_of(tmp_path, metric="roc_auc")
    assert (found["task"], found["template"]["kind"]) == ("multi-label", "probs")
    assert (found["data"]["labels"], found["data"]["separator"]) == ("Finding Labels", "|")
    manifest = Competition(tmp_path, validate(CompetitionConfig, found, "x")).read(tmp_path)
    assert list(manifest.train["label"][:4]) == ["Cyst|Mass", "Mass", "", "Edema|Mass"]
    assert proposal.unsure == {}


def test_tables_whose_paths_begin_at_the_folder_itself(tmp_path: Path) -> None:
    paths = [f"./train/{n:03d}.png" for n in range(12)]
    rows = [f"TRAIN_{n},{path},{'ab'[n % 2]}" for n, path in enumerate(paths)]
    table(tmp_path, "train.csv", "id,img_path,label", *rows)
    table(tmp_path, "test.csv", "id,img_path", "TEST_0,./test/001.png", "TEST_1,./test/000.png")
    table(tmp_path, "sample_submission.csv", "id,label", "TEST_0,a", "TEST_1,a")
    images(tmp_path, *[path[2:] for path in paths], "test/000.png", "test/001.png")
    found, proposal = facts_of(tmp_path, metric="macro_f1")
    assert found["data"]["images"] == found["data"]["test_images"] == "{img_path}"
    manifest = Competition(tmp_path, validate(CompetitionConfig, found, "x")).read(tmp_path)
    assert dict(zip(manifest.test["id"], manifest.test["path"], strict=True)) == {
        "TEST_0": "test/001.png",
        "TEST_1": "test/000.png",
    }
    assert proposal.unsure == {}
