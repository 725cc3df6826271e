"""What never leaves the machine: submissions that do not answer their template, unproven and half-hearted runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from comp import console
from comp.runs.run import all_runs
from comp.workspace import Workspace
from kaggle_server import LoopbackKaggle
from made import proven_again, rewritten

Rows = list[str]


def own_csv(workspace: Path) -> Path:
    """The CSV of the one run."""
    (path,) = (workspace / "submissions" / "shapes").glob("*.csv")
    return path


def changed(workspace: Path, change: Callable[[Rows], Rows]) -> Path:
    """The run's CSV with other rows, under another name."""
    header, *rows = own_csv(workspace).read_text().splitlines()
    path = workspace / "other.csv"
    path.write_text("\n".join([header, *change(rows)]) + "\n")
    return path


def misspelt(rows: Rows) -> Rows:
    return [rows[0].replace(rows[0].split(",")[1], "circel"), *rows[1:]]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda rows: rows[1:], "missing-id"),
        (lambda rows: [*rows, rows[0]], "doubled-id"),
        (misspelt, "value"),
        (lambda rows: [*rows, "t99,circle"], "extra-id"),
    ],
    ids=["missing", "doubled", "misspelt", "extra"],
)
def test_a_submission_that_does_not_answer_its_template_never_leaves(
    submittable: Path, kaggle: LoopbackKaggle, change: Callable[[Rows], Rows], rule: str
) -> None:
    done = kaggle.comp(submittable, "submit", "shapes", "--file", changed(submittable, change), "--yes")
    assert done.code == 1
    assert rule in done.err
    assert kaggle.calls == []


def test_rows_in_another_order_are_put_in_order_where_ids_are_file_names(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    path = changed(submittable, lambda rows: rows[::-1])
    done = kaggle.comp(submittable, "submit", "shapes", "--file", path, "-m", "turned round")
    assert done.code == 0, done.err
    assert "written in its order as other-ordered.csv" in done.err
    assert kaggle.blobs["blob1"] == own_csv(submittable).read_bytes()
    assert path.read_bytes() != own_csv(submittable).read_bytes()


def test_rows_in_another_order_are_refused_where_they_go_by_position(
    submittable: Path, kaggle: LoopbackKaggle
) -> None:
    facts = submittable / "competitions" / "shapes" / "competition.toml"
    facts.write_text(facts.read_text().replace('pairs = "filename"', 'pairs = "position"\norder = "natural"'))
    path = changed(submittable, lambda rows: rows[::-1])
    done = kaggle.comp(submittable, "submit", "shapes", "--file", path)
    assert done.code == 1
    assert "go by position" in done.err
    assert kaggle.calls == []


def mark(workspace: Path, kind: str) -> None:
    """Makes the one run a quick, a sample or a partial one."""
    (run,) = all_runs(Workspace(workspace))
    if kind == "partial":
        (run.folder / "record.json").rename(run.folder / "partial.json")
        return
    rewritten(run.folder / "started.json", marks=[kind])
    proven_again(run.folder)


@pytest.mark.parametrize("kind", ["quick", "sample", "partial"])
def test_a_run_that_is_no_full_one_needs_a_second_yes(
    submittable: Path, kaggle: LoopbackKaggle, kind: str
) -> None:
    mark(submittable, kind)
    refused = kaggle.comp(submittable, "submit", "shapes", "--run", "latest")
    assert refused.code == 1
    assert "--yes" in refused.err
    assert kind in refused.err
    assert kaggle.calls == []
    by_default = kaggle.comp(submittable, "submit", "shapes", "--yes")
    assert by_default.code == 2
    assert "no full run" in by_default.err
    by_file = kaggle.comp(submittable, "submit", "shapes", "--file", own_csv(submittable))
    assert by_file.code == 1, "it is the run's very file"
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--yes").code == 0


def test_the_newest_full_run_is_named_and_confirmed(submittable: Path, kaggle: LoopbackKaggle) -> None:
    refused = kaggle.comp(submittable, "submit", "shapes")
    assert refused.code == 1
    assert own_csv(submittable).stem in refused.err
    assert "--yes" in refused.err
    dry = kaggle.comp(submittable, "submit", "shapes", "--dry-run", "--json")
    assert (dry.code, dry.json["run"]) == (0, own_csv(submittable).stem)
    assert kaggle.comp(submittable, "submit", "shapes", "--yes").code == 0


def test_a_dry_run_looks_at_everything_and_writes_nothing(submittable: Path, kaggle: LoopbackKaggle) -> None:
    before = {p: p.read_bytes() for p in (submittable / "submissions").rglob("*") if p.suffix}
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert (done.json["state"], done.json["left_today"]) == ("dry-run", 4)
    assert not kaggle.count("StartSubmissionUpload")
    assert {p: p.read_bytes() for p in before} == before


def test_the_same_file_is_not_submitted_twice_by_accident(submittable: Path, kaggle: LoopbackKaggle) -> None:
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest").code == 0
    copy = submittable / "copy.csv"
    copy.write_bytes(own_csv(submittable).read_bytes())
    for named in (("--run", "latest"), ("--file", copy)):
        refused = kaggle.comp(submittable, "submit", "shapes", *named)
        assert refused.code == 1
        assert "--again" in refused.err
        assert "4000" in refused.err
    assert kaggle.count("blob") == 1
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--again").code == 0
    assert len(kaggle.submissions) == 2


def test_no_wait_leaves_the_score_to_a_later_call(submittable: Path, kaggle: LoopbackKaggle) -> None:
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--no-wait", "--json")
    assert (done.code, done.json["status"]) == (0, "PENDING")
    assert kaggle.count("GetSubmission") == 0
    later = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--json")
    assert (later.code, later.json["public"]) == (0, 0.8125)
    assert kaggle.count("blob") == 1


def test_patience_with_a_slow_score_ends(submittable: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.statuses = ["PENDING"]
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", COMP_KAGGLE_WAIT="0.1")
    assert done.code == 0
    assert "comp runs shapes" in done.out


def test_a_run_whose_control_rows_are_gone_is_refused(submittable: Path, kaggle: LoopbackKaggle) -> None:
    (run,) = all_runs(Workspace(submittable))
    (run.folder / "fold-1" / "control.json").unlink()
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest")
    assert done.code == 1
    assert "control-rows" in done.err
    assert "fold-1" in done.err
    allowed = ("--allow", "control-rows=lost on the way")
    assert kaggle.comp(submittable, "submit", "shapes", "--run", "latest", *allowed).code == 0


def test_a_run_of_other_train_rows_is_refused(submittable: Path, kaggle: LoopbackKaggle) -> None:
    (run,) = all_runs(Workspace(submittable))
    table = submittable / "data" / "shapes" / "train.csv"
    table.write_text(table.read_text().replace("a0,circle", "a0,cross"))
    rewritten(run.folder / "started.json", raw=str(submittable / "data" / "shapes"))
    proven_again(run.folder)
    done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest")
    assert done.code == 1
    assert "stale-folds" in done.err
    assert "1 labels changed" in done.err
    unknown = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--allow", "nonsense=because")
    assert unknown.code == 2


def test_a_run_of_another_competition_is_refused(submittable: Path, kaggle: LoopbackKaggle) -> None:
    done = kaggle.comp(submittable, "submit", "digits", "--run", "latest")
    assert done.code == 2
    assert "comp submit shapes" in done.err
    both = kaggle.comp(submittable, "submit", "shapes", "--run", "latest", "--file", "x.csv")
    assert both.code == 2


def test_two_at_a_time_are_refused(submittable: Path, kaggle: LoopbackKaggle) -> None:
    from comp.runs import ledger

    with ledger.submit_lock(Workspace(submittable), "shapes"):
        done = kaggle.comp(submittable, "submit", "shapes", "--run", "latest")
    assert done.code == 1
    assert "under way" in done.err
    assert kaggle.calls == []


@pytest.mark.parametrize(
    ("said", "yes"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_person_is_asked_at_a_terminal(monkeypatch: pytest.MonkeyPatch, said: str, yes: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(said))
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    assert console.confirm("really?") is yes
    assert "really? [y/N]" in shown.getvalue()


def test_nobody_is_asked_where_there_is_no_terminal() -> None:
    assert console.confirm("really?") is None
