"""Checks register themselves: one new file is one new check, everywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comp.checks.context import CHECKS, CheckContext, Finding, check, declare, in_order
from comp.checks.runner import require_known, run_data_checks
from comp.errors import InputError
from gallery import clean_gallery
from made import REPOSITORY, clean_environment, subprocess_comp

NEW = """
from comp.checks.context import Finding
from comp.checks.context import check


@check("many-rows", "data", "rows", "warning", catches="more rows than fingers")
def many_rows(context):
    return [Finding("many-rows", "warning", 11, "more than ten rows", (), "use fewer")]
"""


@pytest.fixture
def with_one_more() -> Iterator[str]:
    name = "only-for-this-test"

    @check(name, "data", "images", "warning", catches="everything")
    def only_for_this_test(context: CheckContext) -> list[Finding]:
        return [Finding(name, "warning", len(context.manifest.train), "look", (), "look again")]

    yield name
    del CHECKS[name]


def test_a_check_that_registers_runs_and_can_be_allowed(with_one_more: str, tmp_path: Path) -> None:
    context = clean_gallery(tmp_path).context()
    (found,) = (one for one in run_data_checks(context) if one.check == with_one_more)
    assert found.count == len(context.manifest.train)
    require_known({with_one_more: "it is made up"})
    with pytest.raises(InputError, match="needs a reason"):
        require_known({with_one_more: ""})
    with pytest.raises(ValueError, match="registered once"):
        declare(with_one_more, "data", "images", "warning", catches="")
    with pytest.raises(ValueError, match="a section is one of"):
        declare("another", "data", "colours", "warning", catches="")


def test_the_command_lists_every_check(tmp_path: Path) -> None:
    listed = subprocess_comp(tmp_path, "checks", "--json").json
    assert [row["name"] for row in listed] == [one.name for one in in_order()]
    assert all(row["catches"] and row["severity"] for row in listed)
    assert [row["name"] for row in listed if not row["can_be_allowed"]] == ["control-rows"]


def test_one_new_file_is_one_new_check(tmp_path: Path) -> None:
    for folder in ("comp", "competitions"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "comp" / "checks" / "own_checks.py").write_text(NEW)
    program = "from comp.cli.main import main; main(['checks', '--json'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**clean_environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "many-rows" in {row["name"] for row in json.loads(done.stdout)}
