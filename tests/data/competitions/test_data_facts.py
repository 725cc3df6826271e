"""[data] of competition.toml: tables of every form, labels of every kind, paths by columns and globs, and bad facts."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.sample import write_sample
from comp.errors import InputError
from comp.workspace import Workspace
from made import run_comp

TEMPLATE = '[template]\nfile = "sub.csv"\nid = "id"\ntarget = "label"\nkind = "label"\n'


def facts(workspace: Path, data: str, template: str = TEMPLATE, top: str = "") -> Competition:
    folder = workspace / "competitions" / "leaves"
    folder.mkdir(parents=True, exist_ok=True)
    text = f'slug = "leaves"\ntitle = "Leaves"\n{top}\n[data]\n{data}\n{template}'
    (folder / "competition.toml").write_text(text, encoding="utf-8")
    return find_competition("leaves", Workspace(workspace))


def images(raw: Path, *paths: str) -> None:
    for n, path in enumerate(paths):
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n, 2 * n, 0)).save(raw / path)


def text(raw: Path, name: str, content: str) -> None:
    (raw / name).parent.mkdir(parents=True, exist_ok=True)
    (raw / name).write_text(content, encoding="utf-8")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two labelled images, one to predict, and the template."""
    folder = tmp_path / "data" / "leaves"
    images(folder, "train/a.jpg", "train/b.jpg", "test/c.jpg")
    text(folder, "train.csv", "id,label\na,ash\nb,elm\n")
    text(folder, "sub.csv", "id,label\nc,ash\n")
    return folder


SIMPLE = 'table = "train.csv"\nimages = "train/{id}.jpg"\ntest_images = "test/{id}.jpg"'


def rows(competition: Competition, raw: Path) -> list[tuple[str, ...]]:
    table = competition.read(raw).table
    return list(table[["id", "path", "split", "label", "group"]].itertuples(index=False, name=None))


PLAIN = [
    ("a", "train/a.jpg", "train", "ash", ""),
    ("b", "train/b.jpg", "train", "elm", ""),
    ("c", "test/c.jpg", "test", "", ""),
]
RECORDS = [{"id": "a", "label": "ash"}, {"id": "b", "label": "elm"}]
COCO = {
    "images": [{"id": "a", "file_name": "a.jpg"}, {"id": "b", "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": "b", "category_id": 7},
        {"id": 2, "image_id": "a", "category_id": 3},
    ],
    "categories": [{"id": 3, "name": "ash"}, {"id": 7, "name": "elm"}],
}


def test_facts_read_a_folder_without_an_adapter(raw: Path, tmp_path: Path) -> None:
    leaves = facts(tmp_path, SIMPLE)
    assert rows(leaves, raw) == PLAIN
    assert leaves.facts.layout.required == ("train/", "test/", "train.csv", "sub.csv")
    assert (leaves.facts.layout.train, leaves.facts.layout.test) == ("train/*.jpg", "test/*.jpg")
    assert rows(pickle.loads(pickle.dumps(leaves)), raw) == PLAIN


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", "id\tlabel\na\tash\nb\telm\n"),
        ("t.csv", "id;label\na;ash\nb;elm\n"),
        ("t.json", json.dumps(RECORDS)),
        ("t.json", json.dumps({"id": ["a", "b"], "label": ["ash", "elm"]})),
        ("t.json", json.dumps({"a": "ash", "b": "elm"})),
        ("t.json", json.dumps({"a": {"label": "ash"}, "b": {"label": "elm"}})),
        ("t.json", json.dumps({"version": 1, "rows": RECORDS})),
        ("t.jsonl", "\n".join(map(json.dumps, RECORDS)) + "\n"),
    ],
)
def test_a_table_of_another_form_says_the_same(name: str, content: str, raw: Path, tmp_path: Path) -> None:
    text(raw, name, content)
    assert rows(facts(tmp_path, SIMPLE.replace("train.csv", name)), raw) == PLAIN


@pytest.mark.parametrize(("label", "names"), [("category_id", ["7", "3"]), ("category_name", ["elm", "ash"])])
def test_cocos_annotations_are_joined_to_images_and_categories(
    label: str, names: list[str], raw: Path, tmp_path: Path
) -> None:
    text(raw, "train/metadata.json", json.dumps(COCO))
    data = f'table = "train/metadata.json"\nlabel = "{label}"\nimages = "train/{{file_name}}"\ntest_images = "test/{{id}}.jpg"'
    found = [(row[0], row[1], row[3]) for row in rows(facts(tmp_path, data), raw)[:2]]
    assert found == [("b", "train/b.jpg", names[0]), ("a", "train/a.jpg", names[1])]


def test_an_image_with_two_annotations_is_one_row_of_several_labels(raw: Path, tmp_path: Path) -> None:
    more = {**COCO, "annotations": [*COCO["annotations"], {"id": 3, "image_id": "a", "category_id": 7}]}
    text(raw, "m.json", json.dumps(more))
    data = 'table = "m.json"\nlabel = "category_name"\nimages = "train/{file_name}"\ntest_images = "test/{id}.jpg"'
    found = rows(facts(tmp_path, data, top='task = "multi-label"'), raw)
    assert [row[3] for row in found[:2]] == ["elm", "ash|elm"]
    with pytest.raises(InputError, match=r"m\.json: 'a' has 'ash', 'elm'"):
        facts(tmp_path, data).read(raw)


def test_a_table_in_a_zip_and_images_in_zips_are_read(raw: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(raw / "train.csv.zip", "w") as packed:
        packed.write(raw / "train.csv", "train.csv")
    (raw / "train.csv").unlink()
    assert rows(facts(tmp_path, SIMPLE), raw) == PLAIN


def test_archives_within_archives_and_tar_gz_are_read(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "packed"
    packed.mkdir()
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as train:
        for name in ("a.jpg", "b.jpg"):
            train.write(raw / "train" / name, name)
    with zipfile.ZipFile(packed / "all.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.writestr("train.zip", inner.getvalue())
        outer.write(raw / "train.csv", "train.csv")
        outer.write(raw / "sub.csv", "sub.csv")
    with tarfile.open(packed / "test.tar.gz", "w:gz") as test:
        test.add(raw / "test", "test")
    leaves = facts(tmp_path, SIMPLE)
    assert leaves.missing(packed) == []
    assert rows(leaves, packed) == PLAIN
    source = leaves.source(packed)
    for path in ("train/b.jpg", "test/c.jpg"):
        assert source.load(path) == (raw / path).read_bytes()
    assert "test.tar.gz, train.zip unpacked into the cache" in leaves.read(packed).notes


def test_a_damaged_tar_gz_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_CACHE", str(tmp_path / "cache"))
    (raw / "more.tar.gz").write_bytes(gzip.compress(bytes(100_000))[:50])
    with pytest.raises(InputError, match=r"more\.tar\.gz"):
        facts(tmp_path, SIMPLE).read(raw)


def test_what_cannot_be_unpacked_is_named_with_how_to(raw: Path, tmp_path: Path) -> None:
    for path in sorted((raw / "train").iterdir()):
        path.unlink()
    (raw / "train").rmdir()
    (raw / "train.rar").write_bytes(b"Rar!")
    facts(tmp_path, SIMPLE)
    done = run_comp(tmp_path, "check", "leaves")
    assert done.code == 2
    assert "train.rar cannot be read as it is" in done.err
    assert "unrar x train.rar" in done.err


@pytest.mark.parametrize("spelled", ["a.jpg", "a", "A.JPG", "train/a.jpg"])
def test_an_id_names_its_file_however_it_is_spelled(spelled: str, raw: Path, tmp_path: Path) -> None:
    text(raw, "train.csv", f"id,label\n{spelled},ash\nb,elm\n")
    data = SIMPLE if "/" not in spelled else SIMPLE.replace("train/{id}.jpg", "train/*.jpg")
    assert rows(facts(tmp_path, data), raw)[0] == (spelled, "train/a.jpg", "train", "ash", "")


def test_decomposed_file_names_and_upper_case_suffixes_fit(raw: Path, tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "é")
    (raw / "train" / "a.jpg").rename(raw / "train" / f"{name}.JPG")
    text(raw, "train.csv", f"id,label\n{unicodedata.normalize('NFC', name)},ash\nb,elm\n")
    path = facts(tmp_path, SIMPLE).read(raw).train["path"][0]
    assert (raw / path).is_file()


def test_of_two_suffixes_the_pattern_says_which_and_without_one_it_is_refused(
    raw: Path, tmp_path: Path
) -> None:
    images(raw, "train/a.png")
    assert rows(facts(tmp_path, SIMPLE), raw) == PLAIN
    with pytest.raises(InputError, match=r"fits train/a\.jpg, train/a\.png"):
        facts(tmp_path, SIMPLE.replace("train/{id}.jpg", "train/{id}")).read(raw)


def test_a_missing_file_has_the_path_that_it_should_have(raw: Path, tmp_path: Path) -> None:
    (raw / "train" / "a.jpg").unlink()
    assert rows(facts(tmp_path, SIMPLE), raw)[0][1] == "train/a.jpg"
    done = run_comp(tmp_path, "check", "leaves", "--folds", "2", "--json")
    assert done.code == 1
    assert {f["check"]: f["examples"] for f in done.json["findings"]}["missing-file"] == ["train/a.jpg"]


def test_paths_by_other_columns_for_both_splits(raw: Path, tmp_path: Path) -> None:
    images(raw, "im/north/a.jpg", "im/south/b.jpg", "im/north/c.jpg")
    text(raw, "train.csv", "id,label,site\na,ash,north\nb,elm,south\n")
    text(raw, "test.csv", "id,site\nc,north\n")
    data = 'table = "train.csv"\ntest_table = "test.csv"\nlabel = "label"\ngroup = "site"\nimages = "im/{site}/{id}.jpg"'
    assert [(row[1], row[4]) for row in rows(facts(tmp_path, data), raw)] == [
        ("im/north/a.jpg", "north"),
        ("im/south/b.jpg", "south"),
        ("im/north/c.jpg", "north"),
    ]
    with pytest.raises(InputError, match=r"nothing says 'site' of 'c'"):
        facts(tmp_path, data.replace('test_table = "test.csv"\n', "")).read(raw)


def test_the_same_id_in_train_and_test_is_two_rows(raw: Path, tmp_path: Path) -> None:
    images(raw, "test/a.jpg")
    text(raw, "sub.csv", "id,label\na,ash\nc,ash\n")
    manifest = facts(tmp_path, SIMPLE).read(raw)
    assert list(manifest.table["id"]) == ["train/a", "b", "a", "c"]
    assert list(manifest.test["path"]) == ["test/a.jpg", "test/c.jpg"]
    assert "1 ids stand in train and test both; those of train read as train/ID" in manifest.notes


def test_folders_are_labels_and_an_empty_one_is_a_class(raw: Path, tmp_path: Path) -> None:
    images(raw, "by/ash/1.jpg", "by/elm/1.jpg")
    (raw / "by" / "oak").mkdir()
    leaves = facts(tmp_path, 'images = "by/*/*"\ntest_images = "test/*"')
    assert [row[:4] for row in rows(leaves, raw)[:2]] == [
        ("by/ash/1.jpg", "by/ash/1.jpg", "train", "ash"),
        ("by/elm/1.jpg", "by/elm/1.jpg", "train", "elm"),
    ]
    assert leaves.classes(raw) == ("ash", "elm", "oak")


def test_a_pattern_reads_label_id_and_group_from_the_path(raw: Path, tmp_path: Path) -> None:
    images(raw, "t/p1_ash.7.jpg", "t/p2_elm.8.jpg")
    data = "images = 't/*.jpg'\ntest_images = 'test/*'\npattern = '/(?P<group>p\\d)_(?P<label>[a-z]+)\\.(?P<id>\\d+)'"
    assert [(r[0], r[3], r[4]) for r in rows(facts(tmp_path, data), raw)[:2]] == [
        ("7", "ash", "p1"),
        ("8", "elm", "p2"),
    ]


def test_a_group_comes_from_another_table(raw: Path, tmp_path: Path) -> None:
    text(raw, "who.csv", "img,subject\nb.jpg,p2\na.jpg,p1\n")
    data = SIMPLE + '\ngroup = {table = "who.csv", key = "img", column = "subject"}'
    assert [row[4] for row in rows(facts(tmp_path, data), raw)] == ["p1", "p2", ""]
    text(raw, "who.csv", "img,subject\nb.jpg,p2\n")
    with pytest.raises(InputError, match=r"group: who\.csv has no img 'a'"):
        facts(tmp_path, data).read(raw)


def test_test_rows_are_the_templates_in_its_order(raw: Path, tmp_path: Path) -> None:
    images(raw, "test/d.jpg", "test/e.jpg")
    text(raw, "sub.csv", "id,label\nd,ash\nc,ash\n")
    text(raw, "test.csv", "id\ne\nd\nc\n")
    data = SIMPLE + '\ntest_table = "test.csv"'
    assert list(facts(tmp_path, data).read(raw).test["id"]) == ["d", "c"]
    assert list(facts(tmp_path, data, template="").read(raw).test["id"]) == ["e", "d", "c"]
    assert list(facts(tmp_path, SIMPLE, template="").read(raw).test["id"]) == ["c", "d", "e"]


def test_row_i_may_be_the_ith_file(raw: Path, tmp_path: Path) -> None:
    images(raw, "p/10.jpg", "p/2.jpg")
    text(raw, "sub.csv", "id,label\n100,ash\n101,ash\n")
    data = SIMPLE.replace("test/{id}.jpg", "p/*")
    test = facts(tmp_path, data, top='pairs = "position"').read(raw).test
    assert list(zip(test["id"], test["path"], strict=True)) == [("100", "p/2.jpg"), ("101", "p/10.jpg")]


ONEHOT = 'onehot = ["ash", "elm"]'


@pytest.mark.parametrize(
    ("task", "content", "more", "expected"),
    [
        ("single-label", "id,ash,elm\na,1,0\nb,0,1.0\n", ONEHOT, ["ash", "elm"]),
        ("single-label", "id,x,ash,elm\na,p,1,0\nb,q,0,1\n", 'onehot = "*"\ngroup = "x"', ["ash", "elm"]),
        ("multi-label", "id,ash,elm\na,1,1\nb,0,0\n", ONEHOT, ["ash|elm", ""]),
        ("multi-label", "id,tags\na,elm ash\nb,ash\n", 'labels = "tags"', ["elm|ash", "ash"]),
        (
            "multi-label",
            "id,tags\na,big elm; ash\nb,\n",
            'labels = "tags"\nseparator = ";"',
            ["big elm|ash", ""],
        ),
        ("multi-label", "id,tag\na,elm\nb,ash\na,ash\n", 'label = "tag"', ["elm|ash", "ash"]),
        ("regression", "id,height\na,1.5\nb,-2e1\n", 'label = "height"', ["1.5", "-2e1"]),
        ("ordinal", "id,grade\na,3\nb,0\n", 'label = "grade"', ["3", "0"]),
    ],
)
def test_labels_of_every_kind(
    task: str, content: str, more: str, expected: list[str], raw: Path, tmp_path: Path
) -> None:
    text(raw, "train.csv", content)
    leaves = facts(tmp_path, f"{SIMPLE}\n{more}", top=f'task = "{task}"')
    reader = leaves.adapter.read(raw)
    assert list(reader.train["label"]) == expected
    if "onehot" in more:
        assert leaves.classes(raw) == ("ash", "elm")


def test_names_in_lists_of_json_are_read(raw: Path, tmp_path: Path) -> None:
    text(raw, "t.json", json.dumps([{"id": "a", "tags": ["big elm", "ash"]}, {"id": "b", "tags": []}]))
    data = SIMPLE.replace("train.csv", "t.json") + '\nlabels = "tags"'
    manifest = facts(tmp_path, data, top='task = "multi-label"').adapter.read(raw)
    assert list(manifest.train["label"]) == ["big elm|ash", ""]


@pytest.mark.parametrize(
    ("data", "top", "content", "told"),
    [
        (SIMPLE + '\nlabel = "lable"', "", "", "'label'?"),
        (
            SIMPLE + '\nlabel = "lable"',
            "",
            "",
            "label = 'lable': train.csv has no 'lable'; it has 'id', 'label'",
        ),
        (SIMPLE.replace("train.csv", "trian.csv"), "", "", "lacks trian.csv"),
        (SIMPLE.replace("{id}.jpg", "{idd}.jpg", 1), "", "", "images = 'idd': train.csv has no 'idd'"),
        (SIMPLE + '\nlabel = "label"\nlabels = "label"', "", "", "label and labels are given"),
        (SIMPLE + '\nonehot = "*"\npattern = "(?P<label>.)"', "", "", "onehot and pattern"),
        (SIMPLE + '\npattern = "(a"', "", "", "no regular expression"),
        (SIMPLE + '\npattern = "(a)"', "", "", "(?P<label>…)"),
        (SIMPLE + '\npattern = "(?P<name>a)"', "", "", "not name"),
        (SIMPLE + '\npattern = "(?P<group>zz)"', "", "", "nowhere in 'train/a.jpg'"),
        ('images = "train/{id}.jpg"', "", "", "no table is given"),
        ('table = "train.csv"\nimages = "train/"', "", "", "as in train/{id}.jpg"),
        ('table = "../train.csv"', "", "", "stays in it"),
        (SIMPLE + '\ncolour = "x"', "", "", "colour: no such key"),
        (
            SIMPLE + '\nonehot = ["ash", "elm"]',
            "",
            "id,ash,elm\na,1,1\nb,0,1\n",
            "train.csv, row 2: 'ash', 'elm' is 1",
        ),
        (SIMPLE + '\nonehot = ["ash", "elm"]', "", "id,ash,elm\na,0,0\nb,0,1\n", "row 2: no column is 1"),
        (SIMPLE + '\nonehot = ["ash", "elm"]', "", "id,ash,elm\na,1,0\nb,0,2\n", "row 3, column 'elm': '2'"),
        (SIMPLE + '\nlabels = "label"', "", "", "labels is given"),
        (SIMPLE + '\nlabel = ["id", "label"]', "", "", "label names 2 columns"),
        (
            SIMPLE + '\nlabels = "label"',
            'task = "multi-label"',
            "id,label\na,ash;elm\nb,elm;ash\n",
            "separator = ' ' leaves the name 'ash;elm'",
        ),
        (
            SIMPLE + '\nlabels = "label"',
            'task = "multi-label"',
            'id,label\na,"big elm, ash"\nb,ash\n',
            "state separator = ','",
        ),
        (SIMPLE, 'task = "multi-label"', "id,label\na,x|y\nb,z\n", "label 'x|y'"),
        (
            SIMPLE,
            'task = "regression"',
            "id,label\na,1\nb,tall\n",
            "train.csv, row 3, column 'label': 'tall'",
        ),
        (SIMPLE, 'task = "regression"', "id,label\na,\nb,2\n", "row 2, column 'label': empty"),
        (SIMPLE, "", "id,label\n,ash\nb,elm\n", "row 2: 'id' is empty"),
        (SIMPLE, "", "id,tree,site\na,ash,n\nb,elm,s\n", "has 'tree', 'site' beside the id"),
    ],
)
def test_bad_facts_are_one_clear_error(
    data: str, top: str, content: str, told: str, raw: Path, tmp_path: Path
) -> None:
    if content:
        text(raw, "train.csv", content)
    folder = tmp_path / "competitions" / "leaves"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(
        f'slug = "leaves"\ntitle = "L"\n{top}\n[data]\n{data}\n{TEMPLATE}'
    )
    done = run_comp(tmp_path, "check", "leaves")
    assert done.code == 2, done.out
    assert told in done.err
    assert "competition.toml" in done.err
    assert "Traceback" not in done.err


def test_functions_of_an_adapter_win_beside_facts(raw: Path, tmp_path: Path) -> None:
    leaves = facts(tmp_path, SIMPLE)
    (leaves.folder / "adapter.py").write_text("def answers(raw):\n    return {'c': 'elm'}\n")
    leaves = find_competition("leaves", Workspace(tmp_path))
    assert rows(leaves, raw) == PLAIN
    assert leaves.adapter.answers(raw) == {"c": "elm"}
    assert pickle.loads(pickle.dumps(leaves.adapter)).answers(raw) == {"c": "elm"}


KINDS = {
    "column": (SIMPLE, TEMPLATE, ""),
    "isic": (
        'table = "train.csv"\nid = "image_name"\nlabel = "target"\ngroup = "patient_id"\n'
        'images = "jpeg/train/{id}.jpg"\ntest_images = "jpeg/test/{id}.jpg"',
        '[template]\nfile = "s.csv"\nid = "image_name"\ntarget = "*"\nkind = "probs"\n',
        'metric = "log_loss"',
    ),
    "folders": (
        'images = "imgs/train/*/*.jpg"\ntest_images = "imgs/test/*.jpg"\n'
        'group = {table = "who.csv", key = "img", column = "subject"}',
        TEMPLATE,
        "",
    ),
    "regex": (
        "images = 'train/*.jpg'\ntest_images = 'test/{id}.jpg'\npattern = '(?P<label>cat|dog)\\.\\d+\\.jpg$'",
        TEMPLATE,
        "",
    ),
    "coco": (
        'table = "train/m.json"\ntest_table = "test/m.json"\nlabel = "category_id"\nimages = "train/{file_name}"\n'
        'test_images = "test/{file_name}"',
        TEMPLATE,
        "",
    ),
    "onehot": ('table = "train.tsv"\nonehot = ["ash", "elm"]\nimages = "images/{id}.png"', TEMPLATE, ""),
    "position": (
        'images = "train/*/*"\ntest_images = "test/0/*"',
        TEMPLATE.replace('"label"\n', '"2"\n', 1).replace('id = "id"', 'id = ""'),
        'pairs = "position"',
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_of_any_facts_is_clean(kind: str, tmp_path: Path) -> None:
    data, template, top = KINDS[kind]
    leaves = facts(tmp_path, data, template, top)
    for name in ("data/leaves", "again"):
        write_sample(leaves, tmp_path / name)
    raw = tmp_path / "data" / "leaves"
    again = leaves.read(tmp_path / "again")
    manifest = leaves.read(raw)
    assert manifest.table.equals(again.table)
    assert set(manifest.train["label"]) == set(leaves.label_map(manifest, raw).names)
    done = run_comp(tmp_path, "check", "leaves", "--folds", "3", "--json")
    assert done.code == 0, done.out
    assert [f["check"] for f in done.json["findings"] if f["severity"] == "error"] == []


def test_a_pattern_that_nothing_can_be_made_up_for_says_so(tmp_path: Path) -> None:
    data = "images = 't/*.jpg'\npattern = '(?P<label>a)(?=\\d)(?!\\d)'"
    with pytest.raises(InputError, match="define sample"):
        write_sample(facts(tmp_path, data), tmp_path / "data" / "leaves")


def test_rows_that_say_the_same_are_one(raw: Path, tmp_path: Path) -> None:
    text(raw, "train.csv", "id,x,width,label\na,1,5,ash\na,7,6,ash\nb,,,elm\n")
    manifest = facts(tmp_path, SIMPLE + '\nlabel = "label"').adapter.read(raw)
    assert rows(facts(tmp_path, SIMPLE + '\nlabel = "label"'), raw) == PLAIN
    assert "1 rows of train.csv say what another row says: read once" in manifest.notes


def test_rows_that_contradict_each_other_stay_two(raw: Path, tmp_path: Path) -> None:
    text(raw, "train.csv", "id,label\na,ash\na,elm\nb,elm\n")
    table = facts(tmp_path, SIMPLE).adapter.read(raw).train
    assert list(zip(table["id"], table["label"], strict=True)) == [("a", "ash"), ("a", "elm"), ("b", "elm")]


@pytest.mark.parametrize("task", ["single-label", "regression", "ordinal", "multi-label"])
def test_rows_to_predict_in_the_table_of_labels_are_no_training_rows(
    task: str, raw: Path, tmp_path: Path
) -> None:
    images(raw, "all/a.jpg", "all/b.jpg", "all/c.jpg")
    text(raw, "train.csv", "id,label\na,1\nc,\nb,2\n")
    data = 'table = "train.csv"\nimages = "all/{id}.jpg"\n'
    data += 'labels = "label"' if task == "multi-label" else 'label = "label"'
    manifest = facts(tmp_path, data, top=f'task = "{task}"').adapter.read(raw)
    assert list(manifest.train["id"]) == ["a", "b"]
    assert list(manifest.train["label"]) == ["1", "2"]
    assert list(manifest.test["path"]) == ["all/c.jpg"]
    assert "1 rows of train.csv without a label are rows to predict" in manifest.notes


def test_a_training_row_without_a_label_stays_one(raw: Path, tmp_path: Path) -> None:
    """Its id is asked for too, but of another image: ids count anew in each split."""
    images(raw, "train/c.jpg")
    text(raw, "train.csv", "id,label\na,ash\nb,elm\nc,\n")
    table = facts(tmp_path, SIMPLE + '\nlabel = "label"').adapter.read(raw).train
    assert list(table["path"]) == ["train/a.jpg", "train/b.jpg", "train/c.jpg"]
    assert list(table["label"]) == ["ash", "elm", ""]


@pytest.mark.parametrize(
    ("post", "more", "told"),
    [
        ('function = "adapter:nope"', "", "has no function 'nope'"),
        ('group = "mean"', "", "none of 2 labelled rows has a group"),
        ('group = "mean"', '\nlabel = "label"\ngroup = "who"', "none of 1 rows to predict has a group"),
    ],
)
def test_what_cannot_be_postprocessed_is_refused_before_training(
    post: str, more: str, told: str, raw: Path, tmp_path: Path
) -> None:
    if more:
        text(raw, "train.csv", "id,label,who\na,ash,p\nb,elm,q\n")
    facts(tmp_path, SIMPLE + more, template=f"{TEMPLATE}\n[post]\n{post}")
    done = run_comp(tmp_path, "check", "leaves", "--folds", "2")
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("cell", ["True", "False"])
def test_true_and_false_are_placeholders_of_probabilities(cell: str, raw: Path, tmp_path: Path) -> None:
    text(raw, "sub.csv", f"id,label\nc,{cell}\n")
    template = TEMPLATE.replace('kind = "label"', 'kind = "prob"\npositive = "elm"')
    facts(tmp_path, SIMPLE, template=template, top='metric = "roc_auc"')
    found = run_comp(tmp_path, "check", "leaves", "--folds", "2", "--json").json["findings"]
    assert [one["severity"] for one in found if one["check"] == "template-cells"] == ["warning"]


@pytest.mark.parametrize(
    ("names", "metric", "more", "told"),
    [
        ("normal crack", "f1", "", "f1 is of one of two classes, and would be of 'normal'"),
        ("normal crack", "f1", 'positive = "crack"', ""),
        ("normal crack", "matthews", "", ""),
        ("no yes", "f1", "", ""),
        ("0 1", "f1", "", ""),
        ("1 2", "f1", "", "would be of '2'"),
    ],
)
def test_a_metric_of_one_of_two_classes_is_told_of_which(
    names: str, metric: str, more: str, told: str, raw: Path, tmp_path: Path
) -> None:
    first, second = names.split()
    text(raw, "train.csv", f"id,label\na,{first}\nb,{second}\n")
    text(raw, "sub.csv", f"id,label\nc,{first}\n")
    leaves = facts(tmp_path, SIMPLE, template=f"{TEMPLATE}{more}\n", top=f'metric = "{metric}"')
    if more:
        assert leaves.label_map(leaves.read(raw), raw).names == ("normal", "crack")
    found = run_comp(tmp_path, "check", "leaves", "--folds", "2", "--json").json["findings"]
    wrong = [one["message"] for one in found if one["check"] == "metric-mismatch"]
    assert [told in one for one in wrong] == ([True] if told else [])


@pytest.mark.parametrize(("kind", "names"), [("prob", ("elm", "ash")), ("index", ("ash", "elm"))])
def test_the_class_that_is_asked_for_is_the_second_also_of_folders(
    kind: str, names: tuple[str, str], raw: Path, tmp_path: Path
) -> None:
    images(raw, "known/ash/a.jpg", "known/elm/b.jpg")
    template = TEMPLATE.replace('kind = "label"', f'kind = "{kind}"\npositive = "ash"')
    leaves = facts(tmp_path, 'images = "known/*/*"\ntest_images = "test/{id}.jpg"', template=template)
    assert leaves.label_map(leaves.read(raw), raw).names == names


@pytest.mark.parametrize("written", ["./train/{}.jpg", "/train/{}.jpg", ".\\train\\{}.jpg", "train/{}.jpg"])
def test_paths_in_a_table_are_read_as_people_write_them(written: str, raw: Path, tmp_path: Path) -> None:
    lines = [f"T_{n},{written.format(n)},{label}" for n, label in (("a", "ash"), ("b", "elm"))]
    text(raw, "train.csv", "\n".join(["id,img_path,label", *lines, ""]))
    data = 'table = "train.csv"\nlabel = "label"\nimages = "{img_path}"\ntest_images = "test/{id}.jpg"'
    assert rows(facts(tmp_path, data), raw) == [
        ("T_a", "train/a.jpg", "train", "ash", ""),
        ("T_b", "train/b.jpg", "train", "elm", ""),
        ("c", "test/c.jpg", "test", "", ""),
    ]


NUMBERS = 'task = "regression"'
TWO_TARGETS = '[template]\nfile = "sub.csv"\nid = "id"\nkind = "number"\ntarget = '


@pytest.mark.parametrize(
    ("label", "target", "expected"),
    [
        ('["h", "w"]', '["w", "h"]', ["2|1", "4|3"]),
        ('["H", "w"]', '["h", "w"]', ["1|2", "3|4"]),
        ('["h", "w"]', '["x", "y"]', ["1|2", "3|4"]),
        ('["w"]', '"y"', ["2", "4"]),
        ('["h", "w"]', '["w", "y"]', "'w' is one column"),
        ('["h", "w"]', '"w"', "a label column for each target column"),
        ('["h"]', '["w", "h"]', "a label column for each target column"),
        ('["h", "w"]', '"*"', "a regression names its target columns"),
    ],
)
def test_numbers_are_paired_with_the_target_columns_by_name(
    label: str, target: str, expected: list[str] | str, raw: Path, tmp_path: Path
) -> None:
    text(raw, "train.csv", "id,h,w\na,1,2\nb,3,4\n")
    text(raw, "sub.csv", "id,w,h,x,y\nc,0,0,0,0\n")
    leaves = facts(tmp_path, f"{SIMPLE}\nlabel = {label}", template=f"{TWO_TARGETS}{target}\n", top=NUMBERS)
    if isinstance(expected, str):
        with pytest.raises(InputError) as refused:
            leaves.adapter.read(raw)
        assert expected in str(refused.value)
    else:
        assert list(leaves.adapter.read(raw).train["label"]) == expected
