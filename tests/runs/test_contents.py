"""What a run wrote is believed only where it is still what the run wrote, and of that run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import comp
from comp.data.predictions import Predictions
from comp.files import read_json, write_json
from made import Outcome, proven_again, rewritten, run_comp

Change = Callable[[Path], None]
OFFLINE = ("--dry-run",)


@pytest.fixture
def submittable(submittable: Path) -> Path:
    """A copy of a workspace with a finished run, of a competition that is not on Kaggle."""
    leave_kaggle(submittable)
    return submittable


def leave_kaggle(workspace: Path) -> None:
    facts = workspace / "competitions" / "shapes" / "competition.toml"
    facts.write_text(facts.read_text().replace('kaggle = "three-shapes"\n', ""))


def the_run(workspace: Path) -> Path:
    """The folder of the one run."""
    (folder,) = (workspace / "runs").iterdir()
    return folder


def its_csv(workspace: Path) -> Path:
    return workspace / "submissions" / "shapes" / f"{the_run(workspace).name}.csv"


def answers_turned(csv: Path) -> None:
    """Every answer becomes another class."""
    turned = {"circle": "cross", "cross": "square", "square": "circle"}
    header, *rows = csv.read_text().splitlines()
    pairs = [row.split(",") for row in rows]
    csv.write_text("\n".join([header, *(f"{i},{turned[label]}" for i, label in pairs)]) + "\n")


def fold_moved(path: Path) -> None:
    header, first, *rest = path.read_text().splitlines()
    name, fold = first.split(",")
    path.write_text("\n".join([header, f"{name},{1 - int(fold)}", *rest]) + "\n")


def classes_turned(path: Path) -> None:
    """Predictions whose probabilities stand under other classes."""
    found = Predictions.load(path)
    Predictions(found.ids, found.labels, np.roll(found.probs, 1, axis=1), found.fingerprint).save(path)


def a_byte_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def of_the_other_fold(path: Path) -> None:
    fold, other = path.parent, path.parent.with_name("fold-1" if path.parent.name == "fold-0" else "fold-0")
    assert fold != other
    shutil.copy(other / path.name, path)


def a_line_added(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def gone(path: Path) -> None:
    path.unlink()


ENSEMBLE = ("ensemble", "RUN")
PREDICT = ("predict", "RUN")
SUBMIT = ("submit", "shapes", "--run", "RUN", *OFFLINE)
PSEUDO = ("pseudo", "RUN", "--threshold", "0.1")
KERNEL = ("kernel", "shapes", "--run", "RUN", "--kaggle", "some", "--user", "ann")
WARM = ("run", "shapes", "--folds", "2", "--set", "mode=finetune", "--set", "model.weights=run:RUN")
CHILD = ("run", "shapes", "--resume", "RUN", "--set", "epochs=2")


@pytest.mark.parametrize(
    ("file", "change", "command"),
    [
        ("folds.csv", fold_moved, ENSEMBLE),
        ("folds.csv", fold_moved, PSEUDO),
        ("folds.csv", fold_moved, WARM),
        ("folds.csv", fold_moved, CHILD),
        ("folds.json", a_line_added, ENSEMBLE),
        ("manifest.csv", a_line_added, ENSEMBLE),
        ("manifest.csv", a_line_added, PREDICT),
        ("manifest.csv", a_line_added, SUBMIT),
        ("manifest.csv", a_line_added, CHILD),
        ("oof.npz", classes_turned, ENSEMBLE),
        ("oof.npz", classes_turned, KERNEL),
        ("test.npz", classes_turned, ENSEMBLE),
        ("recipe.toml", a_line_added, PREDICT),
        ("recipe.toml", a_line_added, KERNEL),
        ("recipe.toml", a_line_added, CHILD),
        ("findings.json", a_line_added, SUBMIT),
        ("fold-0/result.json", a_line_added, PREDICT),
        ("fold-0/result.json", a_line_added, SUBMIT),
        ("fold-0/result.json", of_the_other_fold, PREDICT),
        ("fold-0/result.json", gone, SUBMIT),
        ("fold-0/model.json", a_line_added, PREDICT),
        ("fold-0/model.json", of_the_other_fold, KERNEL),
        ("fold-0/model.safetensors", a_byte_changed, PREDICT),
        ("fold-1/model.safetensors", of_the_other_fold, WARM),
        ("fold-0/control.json", a_line_added, PREDICT),
        ("fold-0/control.json", of_the_other_fold, SUBMIT),
        ("fold-0/control/00.image", a_byte_changed, PREDICT),
        ("fold-0/control/00.image", a_byte_changed, KERNEL),
        ("fold-0/control/00.image", gone, SUBMIT),
        ("fold-0/fitted.txt", a_line_added, WARM),
        ("fold-0/fitted.txt", gone, WARM),
        ("fold-0/test.npz", classes_turned, PSEUDO),
        ("fold-0/test.npz", of_the_other_fold, PSEUDO),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None) or value[0],
)
def test_each_command_checks_the_files_that_it_reads(
    submittable: Path, file: str, change: Change, command: tuple[str, ...]
) -> None:
    run = the_run(submittable)
    change(run / file)
    done = run_comp(submittable, *(part.replace("RUN", run.name) for part in command))
    assert done.code in (1, 2), done.err
    assert Path(file).name in done.err
    assert "remedy:" in done.err
    assert [path.name for path in (submittable / "runs").iterdir()] == [run.name], "no run was made"


def test_the_csv_of_a_run_is_the_one_that_it_wrote(submittable: Path) -> None:
    csv, name = its_csv(submittable), the_run(submittable).name
    before = csv.read_bytes()
    assert run_comp(submittable, "submit", "shapes", "--run", name, *OFFLINE).code == 0
    answers_turned(csv)
    for command in (("submit", "shapes", "--run", name, *OFFLINE), ("submit", "shapes", "--yes", *OFFLINE)):
        refused = run_comp(submittable, *command)
        assert refused.code == 1, refused.err
        assert f"is not what {name} wrote" in " ".join(refused.err.split())
    scored = run_comp(submittable, "submit", "shapes", "--run", name, "--scored", "0.5")
    assert scored.code == 1, "no score is entered beside another content either"
    shutil.copy(csv, the_run(submittable) / "submission.csv")
    assert run_comp(submittable, "submit", "shapes", "--run", name, *OFFLINE).code == 1, "both were changed"
    told = run_comp(submittable, "validate", "shapes", csv)
    assert told.code == 0
    assert f"is not what {name} wrote" in " ".join(told.err.split())
    own = run_comp(submittable, "submit", "shapes", "--file", csv, "--json", *OFFLINE)
    assert own.code == 0, own.err
    assert own.json["run"] is None
    assert own.json["oof"] is None, "no score of the run stands beside it"
    assert run_comp(submittable, "predict", name).code == 0
    assert csv.read_bytes() == before
    assert run_comp(submittable, "submit", "shapes", "--run", name, *OFFLINE).code == 0


def test_a_prediction_on_another_machine_is_the_runs_own_too(
    submittable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits may differ there: what ``comp predict`` writes in the run's place is known, and proven by control rows."""
    from comp.runs.run import find_run
    from comp.runs.submissions import remember_predicted, submissions_of
    from comp.workspace import Workspace

    csv, one = its_csv(submittable), find_run(Workspace(submittable), "latest")
    answers_turned(csv)
    remember_predicted(one, csv)
    assert len(submissions_of(one)) == 2
    assert run_comp(submittable, "submit", "shapes", "--run", "latest", *OFFLINE).code == 0
    by_file = run_comp(submittable, "submit", "shapes", "--file", csv, "--json", *OFFLINE)
    assert by_file.json["run"] == one.id
    table = read_json(one.folder / "predicted.json")
    for damaged in ([], {**table, "run": "another"}, {**table, "files": {}}, {"run": one.id}):
        write_json(one.folder / "predicted.json", damaged)
        refused = run_comp(submittable, "submit", "shapes", "--run", "latest", *OFFLINE)
        assert refused.code == 2, refused.err
        assert "predicted.json" in refused.err


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """A workspace with two finished runs and a partial one, on the same folds; not to be written to."""
    place = tmp_path_factory.mktemp("two") / "ws"
    shutil.copytree(finished, place)
    leave_kaggle(place)
    comp.run("shapes", 2, workspace=place, overrides=["epochs=2"])
    comp.run("shapes", 2, workspace=place, only=[1])
    return place


@pytest.fixture
def several(two_runs: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    shutil.copytree(two_runs, tmp_path / "ws")
    return tmp_path / "ws"


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_swapped_folders_are_noticed(several: Path) -> None:
    first, second, partial = sorted((several / "runs").iterdir())
    swap(first, second)
    for name in (first.name, second.name):
        for command in (
            ("submit", "shapes", "--run", name, *OFFLINE),
            ("predict", name),
            ("ensemble", name),
            ("kernel", "shapes", "--run", name, "--kaggle", "a", "--user", "b"),
        ):
            refused = run_comp(several, *command)
            assert refused.code == 2, refused.err
            assert "called after its id" in refused.err
    shown = {row["run"]: row for row in run_comp(several, "runs", "--json").json}
    assert [shown[run.name]["state"] for run in (first, second, partial)] == [
        "damaged",
        "damaged",
        "unfinished",
    ]
    assert f"is of run {second.name}" in shown[first.name]["damage"]


def test_a_renamed_folder_says_so_and_a_moved_workspace_works(several: Path, tmp_path: Path) -> None:
    first = min((several / "runs").iterdir())
    named = first.with_name("my-best-run")
    first.rename(named)
    refused = run_comp(several, "predict", "my-best-run")
    assert refused.code == 2
    assert f"is of run {first.name}: a run's folder is called after its id" in refused.err
    named.rename(first)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.move(several, moved)
    names = sorted(path.name for path in (moved / "runs").iterdir())
    for command in (
        ("submit", "shapes", "--run", names[0], *OFFLINE),
        ("predict", names[0]),
        ("ensemble", names[0], names[1]),
        ("run", "shapes", "--resume", names[2]),
        ("pseudo", names[0], "--threshold", "0.1"),
        ("runs", "shapes", "--final"),
    ):
        done = run_comp(moved, *command)
        assert done.code == 0, done.err
        assert "warning: run" not in done.err


@pytest.mark.parametrize("part", ["fold-0", "fold-1"])
def test_a_fold_of_another_run_or_number_is_noticed(several: Path, part: str) -> None:
    first, second, partial = sorted((several / "runs").iterdir())
    shutil.rmtree(first / part)
    shutil.copytree(second / part, first / part)
    assert run_comp(several, "predict", first.name).code == 2
    (partial / "fold-0").mkdir(exist_ok=True)
    shutil.rmtree(partial / "fold-0")
    shutil.copytree(second / "fold-0", partial / "fold-0")
    refused = run_comp(several, "run", "shapes", "--resume", partial.name)
    assert refused.code == 2, refused.err
    assert f"is of {second.name}/fold-0" in refused.err
    (partial / "fold-1").rename(partial / "aside")
    shutil.rmtree(partial / "fold-0")
    (partial / "aside").rename(partial / "fold-0")
    other = run_comp(several, "predict", partial.name, "--partial")
    assert other.code == 2, other.err
    assert "fold-1" in other.err


def test_a_partial_run_knows_its_files_too(several: Path) -> None:
    partial = max((several / "runs").iterdir())
    csv = several / "submissions" / "shapes" / f"{partial.name}.csv"
    submit = ("submit", "shapes", "--run", partial.name, "--yes", *OFFLINE)
    assert run_comp(several, *submit).code == 0
    before = csv.read_bytes()
    answers_turned(csv)
    assert run_comp(several, *submit).code == 1
    csv.write_bytes(before)
    for name in ("manifest.csv", "folds.csv", "fold-1/oof.npz"):
        content = (partial / name).read_bytes()
        a_byte_changed(partial / name)
        refused = run_comp(several, "run", "shapes", "--resume", partial.name)
        assert refused.code == 2, refused.err
        assert name in refused.err
        (partial / name).write_bytes(content)
    rewritten(partial / "partial.json", oof={"score": 0.99})
    assert run_comp(several, *submit).code == 0, "no file of it changed"
    table = read_json(partial / "partial.json")
    write_json(partial / "partial.json", {**table, "oof": {"score": 1.0}})
    refused = run_comp(several, *submit)
    assert refused.code == 2
    assert "partial.json was changed since it was written" in refused.err


@pytest.mark.parametrize("name", ["record.json", "started.json"])
def test_a_record_that_was_edited_is_no_record(submittable: Path, name: str) -> None:
    path = the_run(submittable) / name
    table = read_json(path)
    changed = {**table, "oof": {**table["oof"], "score": 0.999}} if "oof" in table else {**table, "folds": 3}
    write_json(path, changed)
    for command in (PREDICT, ENSEMBLE, SUBMIT):
        refused = run_comp(submittable, *(part.replace("RUN", path.parent.name) for part in command))
        assert refused.code == 2
        assert f"{name} was changed since it was written" in refused.err
    (row,) = run_comp(submittable, "runs", "--json").json
    assert (row["state"], row["oof"]) == ("damaged", None)
    write_json(path, {key: value for key, value in table.items() if key not in ("files", "sha256")})
    assert run_comp(submittable, "predict", path.parent.name).code == 2


def as_of_an_older_version(run: Path) -> None:
    """Takes out of a run what older versions did not write."""
    for path in [*run.glob("*.json"), *run.rglob("result.json")]:
        table = read_json(path)
        if isinstance(table, dict):
            write_json(path, {k: v for k, v in table.items() if k not in ("files", "sha256", "folder")})
    rewritten_started = read_json(run / "started.json")
    write_json(run / "started.json", {k: v for k, v in rewritten_started.items() if k != "run"})


def test_a_run_of_an_older_version_is_used_with_a_warning_and_submitted_after_a_yes(
    submittable: Path,
) -> None:
    run = the_run(submittable)
    as_of_an_older_version(run)
    for command in (PREDICT, ENSEMBLE, PSEUDO, CHILD):
        done = run_comp(submittable, *(part.replace("RUN", run.name) for part in command))
        assert done.code == 0, done.err
        assert "is of an older version" in done.err
    answer = run_comp(submittable, "submit", "shapes", "--run", run.name)
    assert answer.code == 1, answer.err
    assert "of an older version and cannot prove its files" in answer.err
    (run / "submission.csv").write_text("id,label\n")
    refused = run_comp(submittable, "submit", "shapes", "--run", run.name, "--yes", *OFFLINE)
    assert refused.code == 1
    assert "is not what" in refused.err


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("fold-0/control.json", "[]"),
        ("fold-0/control.json", "FEWER"),
        ("folds.csv", "id,fold\n"),
        ("manifest.csv", "id,path,split,label,group,parent\n"),
        ("oof.npz", "EMPTY"),
    ],
)
def test_a_proof_that_proves_nothing_is_refused(submittable: Path, file: str, content: str) -> None:
    """Also where its SHA-256 is right."""
    run = the_run(submittable)
    path = run / file
    if content == "FEWER":
        write_json(path, read_json(path)[:1])
    elif content == "EMPTY":
        found = Predictions.load(path)
        Predictions((), found.labels, found.probs[:0], found.fingerprint).save(path)
    else:
        path.write_text(content)
    if file == "folds.csv":
        from comp.files import sha256_of

        facts = read_json(run / "folds.json")
        write_json(run / "folds.json", {**facts, "sha256": sha256_of(path)})
    proven_again(run)
    commands = {"fold-0/control.json": (PREDICT, SUBMIT, KERNEL), "manifest.csv": (PREDICT, ENSEMBLE)}
    for command in commands.get(file, (ENSEMBLE,)):
        refused = run_comp(submittable, *(part.replace("RUN", run.name) for part in command))
        assert refused.code in (1, 2), refused.err
        assert Path(file).name in refused.err


def test_no_files_are_no_proof(submittable: Path) -> None:
    run = the_run(submittable)
    rewritten(run / "record.json", files={})
    assert run_comp(submittable, "predict", run.name).code == 2
    proven = run_comp(submittable, "runs", "--json").json[0]
    assert "says the SHA-256 of no file" in proven["damage"]


# --- other shapes ---------------------------------------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000
DAMAGED = {
    "empty": b"",
    "a list": b"[]",
    "a number for a table": b'{"oof": 7}',
    "a list in a table": b'{"oof": [1]}',
    "a word for a number": b'{"oof": {"score": "good"}}',
    "no score": b'{"oof": {}}',
    "an endless number": f'{{"oof": {{"score": {LONG}}}}}'.encode(),
    "a long number": f'{{"oof": {{"score": {LONG[:4000]}}}}}'.encode(),
    "not a number": b'{"oof": {"score": NaN}}',
    "deep": f'{{"oof": {DEEP}}}'.encode(),
    "NUL": b"\0\0\0\0",
    "no text": b"\xff\xfe\x00{",
    "cut off": b'{"run": "x", "oof": {"sco',
    "null": b"null",
    "other marks": b'{"oof": {"score": 0.5}, "marks": "quick"}',
    "another run's": b'{"run": "20000101-000000-0001", "oof": {"score": 0.5}}',
    "another slug's": b'{"slug": "digits", "oof": {"score": 0.5}}',
    "other files": b'{"oof": {"score": 0.5}, "files": [1, 2]}',
}


@pytest.mark.parametrize("which", ["newest", "oldest"])
@pytest.mark.parametrize("kind", [*DAMAGED, "a folder", "a loop of links", "no start"])
def test_a_damaged_record_stops_no_other_run(submittable: Path, kind: str, which: str) -> None:
    healthy = the_run(submittable)
    bad = healthy.with_name({"newest": "20990101-000000-0000", "oldest": "20000101-000000-0000"}[which])
    shutil.copytree(healthy, bad)
    rewritten(bad / "started.json", run=bad.name)
    (bad / "record.json").unlink()
    if kind == "a folder":
        (bad / "record.json").mkdir()
    elif kind == "a loop of links":
        (bad / "record.json").symlink_to("record.json")
    elif kind == "no start":
        (bad / "started.json").write_bytes(b"[]")
    else:
        (bad / "record.json").write_bytes(DAMAGED[kind])
    table = run_comp(submittable, "runs", "--json")
    assert table.code == 0, table.err
    states = {row["run"]: row["state"] for row in table.json}
    assert states == {healthy.name: "done", bad.name: "damaged"}
    commands = [("runs",), ("runs", "shapes", "--final"), ("list",)]
    if kind in ("a number for a table", "a folder", "no start"):
        commands += [("predict", "latest"), ("submit", "shapes", "--run", "latest", *OFFLINE)]
        commands += [("submit", "shapes", *OFFLINE)]
    for command in commands:
        done = run_comp(submittable, *command)
        assert done.code == 0, done.err
        assert bad.name in done.err, "the damaged one is named"
    refused = run_comp(submittable, "predict", bad.name)
    assert refused.code == 2
    assert "must be whole" in refused.err


def shape_changed(path: Path, kind: str) -> None:
    table = read_json(path)
    first = ("score" if "score" in table else next(iter(table))) if isinstance(table, dict) else None
    changed = {
        "list": [],
        "table": {},
        "number": 7,
        "words": ["a", "b"],
        "tables": [{}],
        "lacks a key": {k: v for k, v in table.items() if k != first} if first else [{"check": 1}],
        "null": None,
    }[kind]
    path.write_text(json.dumps(changed))


@pytest.mark.parametrize("kind", ["list", "table", "number", "words", "tables", "lacks a key", "null"])
@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("folds.json", ENSEMBLE),
        ("findings.json", SUBMIT),
        ("started.json", PREDICT),
        ("fold-0/control.json", PREDICT),
        ("fold-0/control.json", SUBMIT),
        ("fold-0/model.json", PREDICT),
        ("fold-0/result.json", PREDICT),
        ("fold-0/result.json", CHILD),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_file_of_another_shape_is_one_clear_line(
    submittable: Path, file: str, command: tuple[str, ...], kind: str
) -> None:
    """Of runs of older versions, whose files no SHA-256 keeps."""
    run = the_run(submittable)
    as_of_an_older_version(run)
    shape_changed(run / file, kind)
    done = run_comp(submittable, *(part.replace("RUN", run.name) for part in command))
    if (file, kind) in (("findings.json", "list"),):
        assert done.code == 0, "no finding"
        return
    assert done.code in (1, 2), done.err
    assert Path(file).name in done.err


def test_a_damaged_page_of_the_ledger_stops_no_other(submittable: Path) -> None:
    folder = submittable / "submissions" / "shapes"
    run = the_run(submittable)
    for n, content in enumerate(
        (b"", b"\xff", DEEP.encode(), b'{"submitted": 7}', b'{"submitted": [{"at": 5}]}')
    ):
        (folder / f"bad-{n}.json").write_bytes(content)
    (folder / "bad-folder.json").mkdir()
    for command in (
        ("runs", "shapes"),
        ("list",),
        ("submit", "shapes", "--run", run.name, *OFFLINE),
        ("submit", "shapes", "--run", run.name, "--scored", "0.5"),
        ("compare", its_csv(submittable), its_csv(submittable)),
    ):
        done = run_comp(submittable, *command)
        assert done.code == 0, done.err
        assert "bad-4.json" in done.err or command[0] in ("compare", "submit")
    own = folder / f"{run.name}.json"
    own.write_text("[]")
    refused = run_comp(submittable, "submit", "shapes", "--run", run.name, "--scored", "0.5")
    assert refused.code == 2
    assert own.name in refused.err


def test_a_blend_and_an_import_know_their_files_too(several: Path) -> None:
    first, second, _ = sorted((several / "runs").iterdir())
    blended = run_comp(several, "ensemble", first.name, second.name, "--json")
    assert blended.code == 0, blended.err
    arguments = ("--oof", first / "oof.npz", "--test", first / "test.npz", "--folds", first / "folds.csv")
    imported = run_comp(several, "import", "shapes", *arguments, "--json")
    assert imported.code == 0, imported.err
    for done in (blended, imported):
        run = several / "runs" / done.json["run"]
        csv = several / "submissions" / "shapes" / f"{run.name}.csv"
        assert submitted(several, run).code == 0
        again = run_comp(several, "ensemble", run.name, second.name)
        assert again.code == 0, again.err
        for name in ("oof.npz", "test.npz"):
            content = (run / name).read_bytes()
            classes_turned(run / name)
            refused = run_comp(several, "ensemble", run.name, second.name)
            assert refused.code == 2, refused.err
            assert name in refused.err
            (run / name).write_bytes(content)
        answers_turned(csv)
        assert submitted(several, run).code == 1


def submitted(workspace: Path, run: Path) -> Outcome:
    return run_comp(workspace, "submit", "shapes", "--run", run.name, *OFFLINE)


@pytest.mark.parametrize(
    "file", ["fold-1/fitted.txt", "fold-1/control/00.image", "fold-1/oof.npz", "findings.json"]
)
def test_a_merge_copies_nothing_that_was_changed(several: Path, file: str) -> None:
    one = comp.run("shapes", 2, workspace=several, only=[0])
    partial = sorted((several / "runs").iterdir())[2]
    a_byte_changed(partial / file)
    before = len(list((several / "runs").iterdir()))
    refused = run_comp(several, "merge", one.run, partial.name)
    assert refused.code == 2, refused.err
    assert Path(file).name in refused.err
    assert len(list((several / "runs").iterdir())) == before
