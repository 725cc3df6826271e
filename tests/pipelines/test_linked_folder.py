"""Raw data whose parts lie apart: `comp run --images DIR --test DIR --csv FILE --template FILE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.data.competitions.competition import find_competition, find_competitions
from comp.errors import InputError, UnknownName
from comp.pipelines.new_competition import linked_folder, slug_of_path
from comp.workspace import Workspace
from made import run_comp
from raw_layouts import LAYOUTS


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    for name in ("pictures", "asked"):
        (tmp_path / name).mkdir()
    for name in ("labels.tsv", "blank.csv"):
        (tmp_path / name).write_text("id\tlabel\n")
    names = {"images": "pictures", "test": "asked", "csv": "labels.tsv", "template": "blank.csv"}
    return {part: tmp_path / name for part, name in names.items()}


def test_parts_become_one_folder_of_links(parts: dict[str, Path], tmp_path: Path) -> None:
    raw = linked_folder(**parts, slug="mine", workspace=tmp_path)
    assert raw == tmp_path / "data" / "mine"
    links = {link.name: link.readlink() for link in raw.iterdir()}
    assert links == {
        "train": parts["images"],
        "test": parts["test"],
        "train.tsv": parts["csv"],
        "sample_submission.csv": parts["template"],
    }
    assert linked_folder(**parts, slug="mine", workspace=tmp_path) == raw, "the same parts again"


def test_another_folder_is_not_taken_for_the_links(parts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "data" / "mine" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="parts are linked into one folder"):
        linked_folder(**parts, slug="mine", workspace=tmp_path)
    other = dict(parts, images=tmp_path / "asked")
    first, second = (linked_folder(**given, workspace=tmp_path) for given in (parts, other))
    assert first != second


@pytest.mark.parametrize("gone", ["images", "test", "csv", "template"])
def test_a_part_that_is_not_there_is_named(parts: dict[str, Path], tmp_path: Path, gone: str) -> None:
    parts[gone] = tmp_path / "nothing"
    with pytest.raises(InputError, match="parts of raw data must be there") as refused:
        linked_folder(**parts, workspace=tmp_path)
    assert str(tmp_path / "nothing") in refused.value.value
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "neither is given"),
        (("--csv", "labels.csv"), "--images is missing"),
        (("digits", "--images", "."), "both are given"),
        (("digits", "--test", "."), "--images is missing"),
    ],
)
def test_run_takes_one_of_a_slug_and_parts(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    outcome = run_comp(tmp_path, "run", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_the_facts_of_a_named_folder_stay_with_its_folds(tmp_path: Path) -> None:
    """Runs of it can be asked later, and nothing lists it as a competition."""
    raw = tmp_path / "raw"
    LAYOUTS["aerial-cactus"].make(raw, 0)
    slug = slug_of_path(str(raw), "roc_auc", workspace=tmp_path)
    workspace = Workspace(tmp_path)
    found = find_competition(slug, workspace)
    assert (found.slug, found.facts.metric) == (slug, "roc_auc")
    assert slug not in find_competitions(workspace).competitions
    with pytest.raises(UnknownName):
        find_competition(f"{slug}-x", workspace)
