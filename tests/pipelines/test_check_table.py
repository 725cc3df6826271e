"""People's own images and table: how ids find their files, and how their own split is judged."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from comp.errors import InputError
from comp.pipelines.check_table import check_table, read_own_table
from contract import contents
from gallery import CLASSES, save, texture
from made import Outcome, run_comp


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """30 images in three folders, one a class."""
    for number in range(30):
        save(tmp_path / "images" / CLASSES[number % 3] / f"p{number}.png", texture(number))
    return tmp_path / "images"


def write_table(
    images: Path, name: str = "{folder}/p{n}.png", fold: str = "", encoding: str = "utf-8"
) -> Path:
    """A table of the images; ``fold`` says the split as a format of n and n % 5."""
    header = "id,label" + (",fold" if fold else "")
    rows = [
        f"{name.format(folder=CLASSES[n % 3], n=n)},{CLASSES[n % 3]}"
        + (f",{fold.format(n=n, k=n // 3 % 5)}" if fold else "")
        for n in range(30)
    ]
    path = images.parent / "table.csv"
    path.write_bytes(("\n".join([header, *rows]) + "\n").encode(encoding))
    return path


def check(images: Path, csv: Path, *more: object) -> Outcome:
    (images.parent / "workspace").mkdir(exist_ok=True)
    return run_comp(images.parent / "workspace", "check", "--images", images, "--csv", csv, *more, "--json")


def errors(outcome: Outcome) -> dict[str, dict[str, object]]:
    return {f["check"]: f for f in outcome.json["findings"] if f["severity"] == "error"}


@pytest.mark.parametrize("name", ["{folder}/p{n}.png", "{folder}/p{n}", "p{n}.png", "p{n}"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_ids_name_files_by_path_or_name_with_or_without_suffix(
    images: Path, name: str, encoding: str
) -> None:
    outcome = check(images, write_table(images, name, encoding=encoding))
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.json["findings"] == []
    assert outcome.json["stats"]["train"] == 30
    assert outcome.json["stats"]["classes"] == 3
    assert outcome.json["slug"] == "own-table"


def test_other_columns_may_be_named(images: Path) -> None:
    csv = write_table(images, fold="{k}")
    csv.write_text(csv.read_text().replace("id,label,fold", "file name,species,part"))
    outcome = check(images, csv, "--id", "file name", "--label", "species", "--fold", "part")
    assert outcome.code == 0, outcome.err
    assert outcome.json["stats"]["folds"] == 5


def test_nothing_is_written_but_fingerprints(images: Path) -> None:
    before = contents(images)
    check(images, write_table(images))
    kept = [
        path.relative_to(images.parent) for path in (images.parent / "workspace").rglob("*") if path.is_file()
    ]
    assert all("fingerprints" in path.parts for path in kept)
    assert contents(images) == before


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (["--id", "name"], "name"),
        (["--label", "klass"], "klass"),
        (["--fold", "part"], "part"),
    ],
)
def test_a_column_that_is_not_there_is_named(images: Path, mistake: list[str], told: str) -> None:
    outcome = check(images, write_table(images), *mistake)
    assert outcome.code == 2
    assert told in outcome.err


def test_a_folder_and_a_table_that_are_not_there(images: Path) -> None:
    csv = write_table(images)
    assert run_comp(images.parent, "check", "--images", images / "nowhere", "--csv", csv).code == 2
    with pytest.raises(InputError, match="`images`"):
        check_table(images / "nowhere", csv, "id", "label", workspace=images.parent)
    with pytest.raises(InputError):
        check_table(images, images / "nowhere.csv", "id", "label", workspace=images.parent)


def test_an_id_that_fits_several_files_is_refused(images: Path) -> None:
    save(images / "dog" / "p0.png", texture(900))
    with pytest.raises(InputError) as error:
        read_own_table(images, write_table(images, "p{n}.png"), "id", "label", None)
    assert "cat/p0.png" in error.value.value
    assert "dog/p0.png" in error.value.value
    whole = read_own_table(images, write_table(images), "id", "label", None)
    assert whole.manifest.train["path"][0] == "cat/p0.png", "a whole path is never in doubt"


def test_a_fold_column_has_two_values_or_more(images: Path) -> None:
    outcome = check(images, write_table(images, fold="all"), "--fold", "fold")
    assert outcome.code == 2
    assert "two values" in outcome.err


def test_faults_of_the_table_are_found(images: Path) -> None:
    csv = write_table(images)
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([*lines[:29], "dog/p28.png,", lines[30], "owl/p99.png,owl", lines[3]]) + "\n")
    found = errors(check(images, csv))
    assert found["missing-file"]["examples"] == ["owl/p99.png"]
    assert found["unknown-label"]["examples"] == ["dog/p28.png"]
    assert found["duplicate-id"]["examples"] == ["owl/p2.png"]
    assert found["duplicate-path"]["examples"] == ["owl/p2.png"]


def test_two_ids_for_one_file_are_found(images: Path) -> None:
    csv = write_table(images)
    csv.write_text(csv.read_text() + "p0,cat\n")
    assert errors(check(images, csv))["duplicate-path"]["examples"] == ["cat/p0.png"]


@pytest.mark.parametrize("split", ["{k}", "fold {k}", "train-or-valid"])
def test_a_sound_split_of_ones_own_passes(images: Path, split: str) -> None:
    csv = write_table(images, fold="{k}")
    if split == "train-or-valid":
        csv.write_text(
            "\n".join(
                line[:-1] + ("valid" if line.endswith("4") else "train") if n else line
                for n, line in enumerate(csv.read_text().splitlines())
            )
            + "\n"
        )
    else:
        csv = write_table(images, fold=split)
    outcome = check(images, csv, "--fold", "fold")
    assert outcome.code == 0, outcome.out
    assert outcome.json["findings"] == []
    assert outcome.json["stats"]["folds"] == (2 if split == "train-or-valid" else 5)


def test_copies_in_different_parts_of_ones_own_split_are_refused(images: Path) -> None:
    (images / "cat" / "p3.png").unlink()
    cv2.imwrite(str(images / "cat" / "p3.png"), texture(0)[:, ::-1])
    outcome = check(images, write_table(images, fold="{k}"), "--fold", "fold")
    assert outcome.code == 1
    assert set(errors(outcome)) >= {"copy-across-folds"}
    assert errors(outcome)["copy-across-folds"]["groups"] == [["cat/p0.png", "cat/p3.png"]]
    ours = check(images, write_table(images))
    assert ours.code == 0, "folds that comp makes keep them together"
    assert [f["check"] for f in ours.json["findings"]] == ["near-duplicate"]


def test_a_row_without_a_part_has_no_fold(images: Path) -> None:
    csv = write_table(images, fold="{k}")
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([*lines[:30], lines[30][:-1]]) + "\n")
    outcome = check(images, csv, "--fold", "fold")
    assert outcome.code == 1
    assert errors(outcome)["fold-coverage"]["examples"] == ["owl/p29.png"]


def test_an_uneven_split_is_warned_of(images: Path) -> None:
    csv = write_table(images, fold="{k}")
    rows = [
        line.rsplit(",", 1)[0] + f",{CLASSES.index(line.split(',')[1])}"
        for line in csv.read_text().splitlines()[1:]
    ]
    csv.write_text("\n".join(["id,label,fold", *rows]) + "\n")
    outcome = check(images, csv, "--fold", "fold")
    found = next(f for f in outcome.json["findings"] if f["check"] == "stratification")
    assert (found["severity"], found["count"]) == ("warning", 3)


def test_a_class_too_small_is_a_warning_unless_folds_were_asked_for(images: Path) -> None:
    csv = write_table(images)
    few = [line for n, line in enumerate(csv.read_text().splitlines()) if not line.endswith("owl") or n < 10]
    csv.write_text("\n".join(few) + "\n")
    bare = check(images, csv)
    assert bare.code == 0, bare.err
    small = next(f for f in bare.json["findings"] if f["check"] == "class-too-small")
    assert (small["severity"], small["examples"]) == ("warning", ["owl"])
    assert check(images, csv, "--folds", 3).code == 0
    asked = check(images, csv, "--folds", 5)
    assert asked.code == 1
    assert list(errors(asked)) == ["class-too-small"]
    assert (
        check(images, csv, "--folds", 5, "--allow", "class-too-small=three owls are all there are").code == 0
    )


def test_the_python_call_returns_the_same(images: Path) -> None:
    found = check_table(images, write_table(images), "id", "label", workspace=images.parent)
    assert (found.status, found.findings) == ("pass", [])
    assert found.folds is not None
    assert np.bincount(found.folds.fold).tolist() == [6] * 5
