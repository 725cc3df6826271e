"""`comp check`: its document, its table, what is allowed, what small classes do, and what a second look costs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from comp import check as check_in_python
from comp.checks.runner import DATA_CHECKS, FOLD_CHECKS, RUN_CHECKS
from comp.data.predictions import Predictions
from contract import contents
from made import (
    SHAPES_TOML,
    Outcome,
    draw,
    run_comp,
    save_image,
    subprocess_comp,
    train_table,
    write_train_table,
)


def check(workspace: Path, *more: object) -> Outcome:
    return run_comp(workspace, "check", "shapes", *more)


def break_one(raw: Path) -> None:
    (raw / "train" / "a2.png").write_bytes(b"broken")


def mirror_one(raw: Path) -> None:
    """a3 becomes the mirror image of a0; both are circles."""
    save_image(raw / "train" / "a3.png", draw("circle", 0)[:, ::-1])


def test_the_document_has_the_promised_shape(workspace: Path, shapes: Path) -> None:
    mirror_one(shapes)
    break_one(shapes)
    outcome = check(workspace, "--folds", 3, "--json")
    assert outcome.code == 1
    document = outcome.json
    assert set(document) == {"slug", "status", "findings", "stats"}
    assert (document["slug"], document["status"]) == ("shapes", "fail")
    for found in document["findings"]:
        assert set(found) - {"groups", "allowed"} == {
            "check",
            "severity",
            "count",
            "message",
            "examples",
            "remedy",
        }
        assert found["check"] in {*DATA_CHECKS, *FOLD_CHECKS}
        assert found["severity"] in ("error", "warning", "info")
        assert isinstance(found["count"], int)
        assert all(isinstance(row, str) for row in found["examples"])
    by_check = {f["check"]: f for f in document["findings"]}
    assert by_check["near-duplicate"]["groups"] == [["train/a0.png", "train/a3.png"]]
    assert "groups" not in by_check["unreadable-image"]
    assert {"train", "extra", "test", "classes", "smallest_class", "largest_class", "folds", "notes"} <= set(
        document["stats"]
    )
    assert (document["stats"]["train"], document["stats"]["test"], document["stats"]["smallest_class"]) == (
        18,
        12,
        6,
    )


def test_errors_come_first(workspace: Path, shapes: Path) -> None:
    mirror_one(shapes)
    break_one(shapes)
    save_image(shapes / "train" / "stray.png", draw("cross", 900))
    found = check(workspace, "--folds", 3, "--json").json["findings"]
    assert [f["severity"] for f in found] == ["error", "warning", "info"]


def test_in_a_process_of_its_own_stdout_is_json_alone(workspace: Path, shapes: Path) -> None:
    mirror_one(shapes)
    page, proposal = workspace / "page.html", workspace / "proposal.csv"
    outcome = subprocess_comp(
        workspace, "check", "shapes", "--folds", 3, "--json", "--html", page, "--fix", proposal
    )
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["status"] == "pass"
    assert "Traceback" not in outcome.err
    assert page.is_file()
    assert proposal.is_file()


def test_people_read_a_table_with_examples_and_remedies(workspace: Path, shapes: Path) -> None:
    break_one(shapes)
    outcome = check(workspace, "--folds", 3)
    assert outcome.code == 1
    for words in ("error", "unreadable-image", "train/a2.png", "restore the files", "shapes: fail"):
        assert words in outcome.out, words
    assert "1 error, " in outcome.err


def test_the_page_and_the_proposal_are_written_where_they_were_asked_for(
    workspace: Path, shapes: Path
) -> None:
    mirror_one(shapes)
    before = contents(shapes)
    page, proposal = workspace / "new" / "page.html", workspace / "new" / "proposal.csv"
    outcome = check(workspace, "--folds", 3, "--html", page, "--fix", proposal)
    assert outcome.code == 0, outcome.err
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 2
    table = pd.read_csv(proposal, dtype=str, keep_default_na=False)
    assert set(table["action"]) == {"keep", "group"}
    assert len(table) == 30
    assert contents(shapes) == before


def test_a_page_is_written_of_a_failed_check_too(workspace: Path, shapes: Path) -> None:
    break_one(shapes)
    assert check(workspace, "--folds", 3, "--html", workspace / "page.html").code == 1
    assert "unreadable-image" in (workspace / "page.html").read_text()


# --- allowing -------------------------------------------------------------------------------------------------------


def copy_test_into_train(raw: Path) -> None:
    """Ten of twelve test rows show labelled images."""
    for number in range(10):
        label = train_table(raw)[number][1]
        save_image(raw / "test" / f"t{number}.png", draw(label, number)[:, ::-1])


def test_an_allowed_error_is_a_warning_whose_reason_is_printed(workspace: Path, shapes: Path) -> None:
    copy_test_into_train(shapes)
    refused = check(workspace, "--folds", 3)
    assert refused.code == 1
    assert "train-test-duplicate" in refused.out
    allowed = check(workspace, "--folds", 3, "--allow", "train-test-duplicate=the site says so")
    assert allowed.code == 0, allowed.err
    assert "allowed: the site says so" in allowed.out


def test_an_allowed_error_of_a_run_is_recorded_with_its_reason(workspace: Path, shapes: Path) -> None:
    copy_test_into_train(shapes)
    assert run_comp(workspace, "run", "shapes", "--folds", 2).code == 1
    done = run_comp(
        workspace, "run", "shapes", "--folds", 2, "--allow", "train-test-duplicate=the site says so", "--json"
    )
    assert done.code == 0, done.err
    assert "the site says so" in done.err
    recorded = json.loads((workspace / "runs" / done.json["run"] / "findings.json").read_text())
    found = next(f for f in recorded if f["check"] == "train-test-duplicate")
    assert (found["severity"], found["allowed"]) == ("warning", "the site says so")
    assert done.json["findings"]["error"] == 0
    assert done.json["findings"]["warning"] >= 1


def test_a_competition_may_allow_with_a_reason_that_is_printed_every_time(
    workspace: Path, shapes: Path
) -> None:
    copy_test_into_train(shapes)
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(SHAPES_TOML + '\n[check]\nallow = { train-test-duplicate = "known here" }\n')
    for _ in range(2):
        outcome = check(workspace, "--folds", 3, "--json")
        assert outcome.code == 0, outcome.err
        found = next(f for f in outcome.json["findings"] if f["check"] == "train-test-duplicate")
        assert (found["severity"], found["allowed"]) == ("warning", "known here")
        assert "known here" in outcome.err


@pytest.mark.parametrize(
    "allow",
    [
        "train-test-duplicat=typo",
        "train-test-duplicate=",
        "train-test-duplicate=  ",
        "train-test-duplicate",
        "=why",
    ],
)
def test_an_unknown_check_or_no_reason_is_a_mistake(workspace: Path, shapes: Path, allow: str) -> None:
    for verb in ("check", "run"):
        outcome = run_comp(workspace, verb, "shapes", "--folds", 3, "--allow", allow)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize(
    "allow",
    [
        'train-test-duplicat = "typo"',
        'train-test-duplicate = ""',
        'train-test-duplicate = "  "',
        "train-test-duplicate = true",
    ],
)
def test_the_same_mistakes_in_a_competition(workspace: Path, shapes: Path, allow: str) -> None:
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    toml.write_text(SHAPES_TOML + f"\n[check.allow]\n{allow}\n")
    outcome = check(workspace, "--folds", 3)
    assert outcome.code == 2, outcome.err
    assert "train-test-duplica" in outcome.err


def test_every_check_can_be_allowed_by_name(workspace: Path, shapes: Path) -> None:
    words = [
        word
        for name in (*DATA_CHECKS, *FOLD_CHECKS, *RUN_CHECKS)
        if name != "control-rows"  # the one that cannot
        for word in ("--allow", f"{name}=known")
    ]
    assert check(workspace, "--folds", 3, *words).code == 0


# --- small classes --------------------------------------------------------------------------------------------------


@pytest.fixture
def rare(shapes: Path) -> Path:
    """Two squares only, a5 and a8, beside six circles and six crosses."""
    kept = [row for row in train_table(shapes) if row[1] != "square" or row[0] in ("a5", "a8")]
    gone = {row[0] for row in train_table(shapes)} - {row[0] for row in kept}
    for sample in gone:
        (shapes / "train" / f"{sample}.png").unlink()
    write_train_table(shapes, kept)
    return shapes


def test_a_bare_check_only_warns_of_a_class_too_small(workspace: Path, rare: Path) -> None:
    bare = check(workspace, "--json")
    assert bare.code == 0, bare.err
    found = next(f for f in bare.json["findings"] if f["check"] == "class-too-small")
    assert (found["severity"], found["examples"]) == ("warning", ["square"])
    assert "a bare check" in found["allowed"]
    asked = check(workspace, "--folds", 3, "--json")
    assert asked.code == 1
    assert [(f["check"], f["examples"]) for f in asked.json["findings"] if f["severity"] == "error"] == [
        ("class-too-small", ["square"])
    ]
    assert "--rare pool" in asked.json["findings"][0]["remedy"]
    assert check(workspace, "--folds", 2).code == 0


def test_labelled_images_alone_can_be_checked_where_nothing_is_to_be_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        save_image(
            tmp_path / "raw" / ("circle", "square")[n % 2] / f"{n}.png", draw(("circle", "square")[n % 2], n)
        )
    found = run_comp(tmp_path, "check", "./raw", "--json")
    assert found.code == 0, found.err
    (finding,) = [f for f in found.json["findings"] if f["check"] == "template-mismatch"]
    assert finding["severity"] == "warning"
    assert "a run needs images to predict" in finding["allowed"]
    asked = run_comp(tmp_path, "check", "./raw", "--json", "--folds", 2)
    assert asked.code == 1


def test_pooled_classes_only_train_and_are_listed_and_left_out_of_oof(workspace: Path, rare: Path) -> None:
    done = run_comp(workspace, "run", "shapes", "--folds", 3, "--rare", "pool", "--quick", "--json")
    assert done.code == 0, done.err
    assert "left out of OOF" in done.err
    folder = workspace / "runs" / done.json["run"]
    folds = pd.read_csv(folder / "folds.csv").set_index("id")["fold"]
    assert dict(folds[folds < 0]) == {"a5": -1, "a8": -1}
    assert sorted(set(folds[folds >= 0])) == [0, 1, 2]
    found = next(
        f for f in json.loads((folder / "findings.json").read_text()) if f["check"] == "class-too-small"
    )
    assert (found["severity"], found["examples"]) == ("warning", ["square"])
    oof = Predictions.load(folder / "oof.npz")
    assert sorted(oof.ids) == sorted(set(folds.index) - {"a5", "a8"})
    assert oof.labels.names == ("circle", "cross", "square"), "the class can still be answered"
    manifest = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False).set_index("id")
    for k in range(3):
        fitted = (folder / f"fold-{k}" / "fitted.txt").read_text().split()
        assert {manifest["content"]["a5"], manifest["content"]["a8"]} <= set(fitted)


def test_folds_with_and_without_pooled_classes_are_kept_apart(workspace: Path, rare: Path) -> None:
    assert check(workspace, "--folds", 2).code == 0
    assert check(workspace, "--folds", 3, "--rare", "pool").code == 0
    assert check(workspace, "--folds", 3).code == 1
    assert sorted(path.stem for path in (workspace / "folds" / "shapes").glob("*.csv")) == [
        "k2-seed0",
        "k3-seed0-pool",
    ]


def test_a_pooled_run_can_be_resumed(workspace: Path, rare: Path) -> None:
    done = run_comp(workspace, "run", "shapes", "--folds", 3, "--rare", "pool", "--quick", "--json")
    folder = workspace / "runs" / done.json["run"]
    (folder / "record.json").unlink()
    (folder / "fold-2" / "result.json").unlink()
    again = run_comp(workspace, "run", "shapes", "--resume", done.json["run"], "--json")
    assert again.code == 0, again.err
    assert again.json["oof"] == done.json["oof"]


def test_rare_takes_three_words(workspace: Path, shapes: Path) -> None:
    outcome = check(workspace, "--rare", "drop")
    assert outcome.code == 2
    assert "error, pool or spread" in outcome.err


# --- again ----------------------------------------------------------------------------------------------------------


def test_changed_contents_make_kept_folds_stale_and_removing_them_helps(
    workspace: Path, shapes: Path
) -> None:
    assert check(workspace, "--folds", 3).code == 0
    save_image(shapes / "train" / "a4.png", draw("cross", 900))
    stale = check(workspace, "--folds", 3, "--json")
    assert stale.code == 1
    assert [f["check"] for f in stale.json["findings"] if f["severity"] == "error"] == ["stale-folds"]
    assert run_comp(workspace, "run", "shapes", "--folds", 3).code == 1
    for path in (workspace / "folds" / "shapes").iterdir():
        path.unlink()
    assert check(workspace, "--folds", 3).code == 0


def test_changed_test_images_leave_the_folds_alone(workspace: Path, shapes: Path) -> None:
    first = run_comp(workspace, "run", "shapes", "--folds", 2, "--quick", "--json")
    save_image(shapes / "test" / "t4.png", draw("cross", 900))
    second = run_comp(workspace, "run", "shapes", "--folds", 2, "--quick", "--json")
    assert second.code == 0, second.err
    one, two = (
        json.loads((workspace / "runs" / done.json["run"] / "started.json").read_text())
        for done in (first, second)
    )
    assert one["train_sha256"] == two["train_sha256"]
    assert one["test_sha256"] != two["test_sha256"]


def test_extra_kin_of_train_rows_leave_the_folds_alone(workspace: Path, shapes: Path) -> None:
    assert check(workspace, "--folds", 3).code == 0
    save_image(workspace / "more" / "e.png", draw("circle", 0)[:, ::-1])
    (workspace / "more" / "extra.csv").write_text("path,label\ne.png,circle\n")
    outcome = check(workspace, "--folds", 3, "--extra", workspace / "more" / "extra.csv", "--json")
    assert outcome.code == 0, outcome.out
    assert outcome.json["stats"]["extra"] == 1


@pytest.mark.parametrize("beside", ["{}", "[1]", "no json", '{"k": 3}'])
def test_a_fold_file_may_lie_beside_some_other_json(workspace: Path, shapes: Path, beside: str) -> None:
    rows = "".join(f"{row[0]},{n // 3 % 3}\n" for n, row in enumerate(train_table(shapes)))
    (workspace / "mine.csv").write_text("id,fold\n" + rows)
    (workspace / "mine.json").write_text(beside)
    outcome = check(workspace, "--folds", workspace / "mine.csv")
    assert outcome.code == 0, outcome.err


def test_the_folds_of_a_run_can_be_brought_and_know_their_rows(workspace: Path, shapes: Path) -> None:
    done = run_comp(workspace, "run", "shapes", "--folds", 2, "--quick", "--json")
    folds = workspace / "runs" / done.json["run"] / "folds.csv"
    assert check(workspace, "--folds", folds).code == 0
    write_train_table(shapes, [["a0", "square", "", ""], *train_table(shapes)[1:]])
    stale = check(workspace, "--folds", folds, "--json")
    assert "stale-folds" in {f["check"] for f in stale.json["findings"] if f["severity"] == "error"}


def test_a_second_check_says_the_same_and_opens_no_image(workspace: Path, shapes: Path) -> None:
    mirror_one(shapes)
    first = check(workspace, "--folds", 3, "--json")
    kept = {path: path.stat().st_mtime_ns for path in (workspace / ".comp" / "fingerprints").iterdir()}
    again = check(workspace, "--folds", 3, "--json")
    assert again.json == first.json
    assert {
        path: path.stat().st_mtime_ns for path in (workspace / ".comp" / "fingerprints").iterdir()
    } == kept
    assert check_in_python("shapes", 3, workspace=workspace).context.images.decoded == 0


def test_a_torn_memory_costs_only_the_work_again(workspace: Path, shapes: Path) -> None:
    mirror_one(shapes)
    first = check(workspace, "--folds", 3, "--json")
    for content in (b"", b"[1]", b"{", b"\xff\xfe"):
        for path in (workspace / ".comp" / "fingerprints").rglob("*"):
            if path.is_file():
                path.write_bytes(content)
        assert check(workspace, "--folds", 3, "--json").out == first.out


def test_check_wants_one_thing_to_check(workspace: Path, shapes: Path) -> None:
    for words in ([], ["shapes", "--images", shapes], ["--images", shapes], ["--csv", shapes / "train.csv"]):
        outcome = run_comp(workspace, "check", *words)
        assert outcome.code == 2, words
        assert "--images" in outcome.err
