"""The error tree is the one that its docstring draws."""

from __future__ import annotations

import re

from comp import errors
from comp.errors import CompError, UnknownName, near_names


def test_the_docstring_draws_the_tree_that_is_there() -> None:
    drawn = set(re.findall(r"^[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)) - {"Every"}
    there = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CompError)
    }
    assert drawn == there


def test_every_error_ends_with_the_exit_code_of_its_branch() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, CompError):
            assert kind.exit_code == (1 if issubclass(kind, errors.Refusal) else 2), name


def test_an_unknown_name_lists_near_misses_or_all_or_how_many() -> None:
    assert "did you mean digits?" in UnknownName("competition", "digit", ["digits", "art"]).value
    assert "there is: art, digits" in UnknownName("competition", "zzz", ["digits", "art"]).value
    assert "99 are known" in UnknownName("model", "qqq", [f"resnet{i}" for i in range(99)]).value


def test_near_names_ignore_case_and_keep_the_real_spelling() -> None:
    assert near_names("TEST_RESNET", ["Test_ResNet", "vit"]) == ["Test_ResNet"]


def test_as_json_has_all_that_a_program_wants() -> None:
    assert errors.CheckFailed("r", "v", "m").as_json() == {
        "kind": "CheckFailed",
        "rule": "r",
        "value": "v",
        "remedy": "m",
        "exit_code": 1,
    }
