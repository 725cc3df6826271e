"""Checks of labels, of class indices and of metrics, on context without images; and the same by command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from comp.checks.context import CheckContext, Finding
from comp.checks.image_index import ImageIndex
from comp.checks.manifest_checks import class_too_small, label_map, label_spelling, unknown_label
from comp.checks.template_checks import class_index, metric_mismatch
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig, TemplateFacts
from comp.data.dataset import Dataset, made_template
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.task import SINGLE_LABEL, Task
from gallery import save, texture
from made import run_comp

ADAPTER = """\
def read(raw):
    raise NotImplementedError


def sample(raw, seed):
    raise NotImplementedError
"""


def context_of(
    labels: Sequence[str],
    folder: Path = Path(),
    *,
    classes: Sequence[str] | None = None,
    stated: bool = False,
    kind: str = "label",
    metric: str = "accuracy",
    k: int = 5,
    task: Task = SINGLE_LABEL,
) -> CheckContext:
    """Evidence of a train row for each label; the label map is discovered unless ``classes`` give it."""
    rows = [Sample(f"a{n}", f"train/a{n}", "train", label) for n, label in enumerate(labels)]
    facts = CompetitionConfig.model_validate(
        {
            "slug": "made",
            "title": "Made",
            "metric": metric,
            "task": task.name,
            "classes": tuple(classes) if classes and stated else "discover",
            "template": TemplateFacts.model_validate({"kind": kind, "k": k}),
        }
    )
    names = LabelMap(classes, task) if classes else LabelMap.discover(labels, task)
    template = replace(made_template(["t0"], "id", "label", kind), k=k)
    manifest = Manifest.from_samples(rows)
    competition = Competition(folder, facts)
    dataset = Dataset(competition, folder, manifest, names, template, ArraySource({}))
    return CheckContext(dataset, 2, ImageIndex())


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.severity, one.message) for one in found]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["1", "1", "1.0"], "'1' (2 rows) and '1.0' (1 row) are one number in several spellings"),
        (["1", "1e0", "2"], "'1' (1 row) and '1e0' (1 row) are one number"),
        (["+1", "1", "2"], "are one number"),
        (["1,0", "1", "2"], "are one number"),
        (["\uff11", "1", "2"], "are one number"),
        (["a", "nan", "b"], "'nan' (1 row) is what tables write for no label"),
        (["a", "NaN", "<NA>"], "are what tables write for no label"),
    ],
)
def test_a_number_in_two_spellings_and_no_label_are_errors_that_name_both(
    labels: list[str], told: str
) -> None:
    found = said(label_spelling(context_of(labels)))
    assert [severity for severity, _ in found] == ["error"]
    assert told in found[0][1]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a"] * 40 + ["A"] * 3, "'A' (3 rows) and 'a' (40 rows) are several classes, by case or spacing"),
        (["True", "true", "x"], "'True' (1 row) and 'true' (1 row) are several classes"),
        (["big cat", "big_cat"], "are several classes, by case or spacing"),
        (["01", "1", "2"], "'01' (1 row) and '1' (1 row) are several classes, by the zeros in front"),
    ],
)
def test_two_classes_that_look_like_one_are_a_warning_with_both_counts(labels: list[str], told: str) -> None:
    found = said(label_spelling(context_of(labels)))
    assert [severity for severity, _ in found] == ["warning"]
    assert told in found[0][1]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b"],
        ["1", "2", "10"],
        ["007", "008"],
        ["none", "None_1"],
        ["0.5", "1"],
        ["1-1", "11"],
        ["1,000", "1"],
    ],
)
def test_other_labels_are_passed_in_silence(labels: list[str]) -> None:
    assert label_spelling(context_of(labels)) == []


def test_classes_that_competition_toml_states_are_what_it_says() -> None:
    for classes in (("a", "A"), ("1", "1.0"), ("nan", "x")):
        assert label_spelling(context_of(classes, classes=classes, stated=True)) == []
        assert label_spelling(context_of(classes, classes=classes)) != [], "an adapter only lists them"


def test_the_rarer_spelling_is_the_example() -> None:
    found = label_spelling(context_of(["1"] * 9 + ["1.0"] * 2))
    assert (found[0].count, found[0].examples[:2]) == (11, ("a9", "a10"))


@pytest.mark.parametrize(
    ("classes", "wrong"),
    [
        (tuple(map(str, range(12))), ()),
        (("cat", "dog"), ()),
        (("00", "01", "02"), ()),
        (("0.0", "1.0"), ()),
        (("0", "1", "other"), ()),
        (("1", "2", "3", "4", "5"), ("1", "2", "3", "4", "5")),
        (("0", "1", "3"), ("3",)),
        (("0", "1", "10", "2"), ("10", "2")),
        (("-1", "0", "1"), ("-1", "0", "1")),
        (("001", "002"), ("001", "002")),
    ],
)
def test_a_class_that_is_not_its_own_index_is_an_error(
    classes: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    for stated in (True, False):
        one = context_of(classes, classes=classes, kind="index", stated=stated)
        found = class_index(one)
        assert [(f.severity, f.examples) for f in found] == ([("error", wrong)] if wrong else [])
        assert (
            class_index(
                replace(one, dataset=replace(one.dataset, template=replace(one.template, kind="label")))
            )
            == []
        )


@pytest.mark.parametrize(
    ("metric", "kind", "k", "severity"),
    [
        ("roc_auc", "label", 5, "error"),
        ("roc_auc", "index", 5, "error"),
        ("log_loss", "label", 5, "error"),
        ("logloss", "topk", 5, "error"),
        ("roc_auc", "probs", 5, ""),
        ("log_loss", "probs", 5, ""),
        ("accuracy", "label", 5, ""),
        ("accuracy", "topk", 5, ""),
        ("macro_f1", "index", 5, ""),
        ("map@1", "label", 5, ""),
        ("map@5", "label", 5, "error"),
        ("top3", "index", 5, "error"),
        ("map@5", "topk", 3, "error"),
        ("map@5", "topk", 5, ""),
        ("map@3", "topk", 5, ""),
        ("top5", "probs", 5, ""),
    ],
)
def test_a_metric_judges_what_the_template_holds(metric: str, kind: str, k: int, severity: str) -> None:
    found = metric_mismatch(context_of(["a", "b", "c"], metric=metric, kind=kind, k=k))
    assert [one.severity for one in found] == ([severity] if severity else [])
    for one in found:
        assert "template holds" in one.message
        assert repr(kind) in one.message


@pytest.mark.parametrize(
    ("body", "judges", "severities"),
    [
        ("return (probs.argmax(axis=1) == labels).mean()", "probs", []),
        ("return probs[range(len(labels)), labels].mean()", "probs", ["warning"]),
        ("return (probs == labels).mean()", "index", []),
        ("raise ValueError('too few rows')", "probs", []),
    ],
)
def test_a_metric_of_the_adapter_is_tried_on_what_would_be_written(
    tmp_path: Path, body: str, judges: str, severities: list[str]
) -> None:
    (tmp_path / "adapter.py").write_text(f"{ADAPTER}\n\ndef mine(labels, probs):\n    {body}\n")
    one = context_of(["a", "b", "c"], tmp_path, metric="adapter:mine")
    facts = one.competition.facts.model_copy(update={"metric_input": judges})
    found = metric_mismatch(
        replace(one, dataset=replace(one.dataset, competition=Competition(tmp_path, facts)))
    )
    assert [f.severity for f in found] == severities
    probs = replace(one.template, kind="probs")
    assert (
        metric_mismatch(
            replace(
                one, dataset=replace(one.dataset, competition=Competition(tmp_path, facts), template=probs)
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("listing", "severities"),
    [('("none", "mild", "severe")', []), ('("mild", "none", "severe")', ["error"]), ("None", None)],
)
def test_an_adapters_order_is_one_where_it_is_no_plain_listing(
    tmp_path: Path, listing: str, severities: list[str] | None
) -> None:
    own = "" if severities is None else f"\n\ndef classes(raw):\n    return {listing}\n"
    (tmp_path / "adapter.py").write_text(ADAPTER + own)
    names = ["none", "mild", "severe"] if severities == [] else ["mild", "none", "severe"]
    found = metric_mismatch(context_of(names, tmp_path, classes=names, metric="quadratic_kappa"))
    assert [one.severity for one in found] == (["error"] if severities is None else severities)
    for one in found:
        assert "quadratic_kappa" in one.message
        assert "'mild', 'none', 'severe'" in one.message
    stated = context_of(names, tmp_path, classes=names, stated=True, metric="quadratic_kappa")
    assert metric_mismatch(stated) == []


# --- by command -----------------------------------------------------------------------------------------------------

FAST = ["--set", "mode=scratch", "--set", "model.name=resnet9", "--set", "model.weights=none"]


@pytest.fixture
def marks(workspace: Path) -> Path:
    """The raw folder of a scaffolded competition ``marks`` with its sample: circle, square and stripe in train.csv."""
    assert run_comp(workspace, "new", "marks", "--layout", "csv").code == 0
    assert run_comp(workspace, "data", "marks", "--sample").code == 0
    raw = workspace / "data" / "marks"
    for seed, path in enumerate(sorted(raw.glob("t*/*.jpg"))):
        save(path, texture(seed), quality=95)  # any labels will do, and no two are alike
    return raw


def facts(workspace: Path, old: str, new: str) -> None:
    """Changes competition.toml of marks."""
    path = workspace / "competitions" / "marks" / "competition.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def relabelled(raw: Path, change: Callable[[int, str], str]) -> None:
    """Changes the labels of train.csv; ``change`` gets a row's number and its label."""
    header, *rows = (raw / "train.csv").read_text().splitlines()
    parts = [row.split(",") for row in rows]
    lines = [f"{name},{change(n, label)}" for n, (name, label) in enumerate(parts)]
    (raw / "train.csv").write_text("\n".join([header, *lines]) + "\n")


def answered(raw: Path, header: str, cells: str) -> None:
    """Puts other columns and cells into the template."""
    path = raw / "sample_submission.csv"
    ids = [row.split(",")[0] for row in path.read_text().splitlines()[1:]]
    path.write_text(f"{header}\n" + "".join(f"{i},{cells}\n" for i in ids))


def findings(workspace: Path, *more: object) -> tuple[int, dict[str, str]]:
    """The exit code of `comp check marks`, and the severity of each finding of these families."""
    done = run_comp(workspace, "check", "marks", "--folds", 2, "--json", *more)
    skipped = {"metadata-shortcut", "train-test-drift", "unlisted-file"}
    return done.code, {f["check"]: f["severity"] for f in done.json["findings"] if f["check"] not in skipped}


def test_a_clean_scaffold_is_passed(workspace: Path, marks: Path) -> None:
    assert findings(workspace) == (0, {})


def test_columns_that_are_no_classes_stop_check_and_run_before_training(workspace: Path, marks: Path) -> None:
    facts(workspace, 'kind = "label"', 'kind = "probs"')
    facts(workspace, 'target = "label"', 'target = "*"')
    answered(marks, "id,c0,c1,c2", "0,0,0")
    assert findings(workspace) == (1, {"template-columns": "error"})
    done = run_comp(workspace, "run", "marks", "--folds", 2, *FAST)
    assert done.code == 1
    assert "'c0', 'c1', 'c2' are no class; no column for 'circle', 'square', 'stripe'" in done.err
    assert not (workspace / "runs").exists()


def test_grades_of_two_digits_stand_as_numbers(workspace: Path, marks: Path) -> None:
    relabelled(marks, lambda n, _: str(n % 12))
    facts(workspace, 'kind = "label"', 'kind = "index"')
    facts(workspace, 'metric = "accuracy"', 'metric = "quadratic_kappa"')
    answered(marks, "id,label", "0")
    assert findings(workspace) == (0, {})
    relabelled(marks, lambda n, _: str(n % 5 + 1))
    assert findings(workspace) == (1, {"class-index": "error"})


def test_tables_joined_with_pandas_are_refused_until_classes_are_stated(workspace: Path, marks: Path) -> None:
    relabelled(marks, lambda n, _: str(n % 2) + (".0" if n > 20 else ""))
    answered(marks, "id,label", "0")
    assert findings(workspace) == (1, {"label-spelling": "error"})
    facts(workspace, 'classes = "discover"', 'classes = ["0", "1"]')
    assert findings(workspace) == (0, {"label-spelling": "warning"})
    done = run_comp(workspace, "check", "marks", "--folds", 2, "--json")
    assert done.json["stats"]["classes"] == 2


def test_labels_of_test_rows_are_dropped_and_never_written(workspace: Path, marks: Path) -> None:
    adapter = workspace / "competitions" / "marks" / "adapter.py"
    text = adapter.read_text()
    adapter.write_text(text.replace('f"test/{name}", "test")', 'f"test/{name}", "test", "circle")'))
    assert text != adapter.read_text()
    assert findings(workspace) == (0, {"test-labels": "warning"})
    proposal = workspace / "proposal.csv"
    run_comp(workspace, "check", "marks", "--fix", proposal)
    assert set(Manifest.read_csv(proposal).test["label"]) == {""}
    rows = [line.replace(",test,,", ",test,square,") for line in proposal.read_text().splitlines()]
    adapter.write_text(text)
    proposal.write_text("\n".join(rows) + "\n")
    assert findings(workspace, "--manifest", proposal) == (0, {"test-labels": "warning"})


def test_a_manifest_row_without_an_id_stops_before_training(workspace: Path, marks: Path) -> None:
    proposal = workspace / "proposal.csv"
    run_comp(workspace, "check", "marks", "--fix", proposal)
    header, first, *rest = proposal.read_text().splitlines()
    name = first.split(",")[0]
    proposal.write_text("\n".join([header, first.removeprefix(name), *rest]) + "\n")
    done = run_comp(workspace, "check", "marks", "--manifest", proposal)
    assert done.code == 2
    assert "row 2" in done.err
    assert str(proposal) in done.err


@pytest.mark.parametrize("table", ["train.csv", "sample_submission.csv"])
def test_a_label_column_that_comes_twice_is_an_error(workspace: Path, marks: Path, table: str) -> None:
    header, *rows = (marks / table).read_text().splitlines()
    text = "\n".join([f"{header},label", *(f"{row},circle" for row in rows)])
    (marks / table).write_text(text + "\n")
    done = run_comp(workspace, "check", "marks")
    assert done.code == 2
    assert f"{table} has 'label' more than once" in done.err


def test_a_template_without_rows_asks_for_nothing(workspace: Path, marks: Path) -> None:
    (marks / "sample_submission.csv").write_text("id,label\n")
    code, found = findings(workspace)
    assert (code, found["template-mismatch"]) == (1, "error")


def test_folders_that_are_numbers_stand_as_numbers(workspace: Path) -> None:
    run_comp(workspace, "new", "rooms", "--layout", "folders")
    run_comp(workspace, "data", "rooms", "--sample")
    raw = workspace / "data" / "rooms"
    for old, new in (("circle", "2"), ("square", "10"), ("stripe", "1")):
        (raw / "train" / old).rename(raw / "train" / new)
    done = run_comp(workspace, "show", "rooms")
    assert "1 0, 2 1, 10 2" in done.out


SEVERAL = Task("multi-label")


def of_several(cells: Sequence[str], classes: Sequence[str] = ("a", "b", "c")) -> CheckContext:
    return context_of(cells, classes=classes, kind="labels", metric="micro_f1", task=SEVERAL)


def test_a_name_among_several_that_is_no_class_is_told_with_its_row() -> None:
    found = unknown_label(of_several(["a|b", "a|cc", "", "c", "d"]))
    assert [(one.check, one.severity, one.count, one.examples) for one in found] == [
        ("unknown-label", "error", 2, ("a1", "a4"))
    ]
    assert "'cc'" in found[0].message
    assert unknown_label(of_several(["a|b|c", "", "b"])) == []  # no label is a label


def test_a_row_without_a_label_is_a_fault_of_one_class_alone() -> None:
    assert unknown_label(context_of(["a", "", "b"], classes=("a", "b")))[0].examples == ("a1",)
    assert unknown_label(of_several(["a", "", "b"])) == []


def test_a_class_that_no_set_of_labels_has_is_told() -> None:
    found = label_map(of_several(["a|b", "a", ""]))
    assert (found[0].severity, found[0].examples) == ("error", ("c",))
    assert label_map(of_several(["a|b", "b|c"])) == []


def test_classes_of_several_are_counted_by_label_and_only_warned_of() -> None:
    found = class_too_small(of_several(["a|b", "a|c", "a|b"]))
    assert [(one.severity, one.examples) for one in found] == [("warning", ("c",))]
    assert class_too_small(of_several(["a|b", "b|c", "c|a"])) == []  # each set comes once, each label twice
    single = class_too_small(context_of(["a", "a", "b"], classes=("a", "b")))
    assert single[0].severity == "error"


@pytest.mark.parametrize(
    ("names", "refused"), [(["cold", "hot", "mild"], True), (["0", "1", "2"], False), (["1", "3", "9"], True)]
)
def test_a_scale_needs_an_order_whatever_scores_it(tmp_path: Path, names: list[str], refused: bool) -> None:
    (tmp_path / "adapter.py").write_text(ADAPTER)
    one = context_of(names, tmp_path, metric="accuracy")
    scale = replace(one, dataset=replace(one.dataset, labels=LabelMap(names, Task("ordinal"))))
    assert [f.severity for f in metric_mismatch(scale)] == ["error"] * refused
    assert metric_mismatch(one) == []


def test_a_range_is_of_a_regression() -> None:
    facts = {"slug": "x", "title": "x", "range": (0.0, 1.0)}
    assert CompetitionConfig(**facts, task="regression").range == (0.0, 1.0)
    with pytest.raises(ValueError, match="range is of the numbers of task = 'regression'"):
        CompetitionConfig(**facts)
