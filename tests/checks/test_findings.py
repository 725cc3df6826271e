"""Findings: what is allowed is lowered, graver ones come first, and JSON tells all."""

from __future__ import annotations

from comp.checks.context import Finding, counts, downgrade_allowed, finding


def test_only_errors_of_allowed_checks_are_lowered_and_the_rest_sorted() -> None:
    found = [
        finding("a", "info", ["x"], "m"),
        finding("b", "error", ["x"], "m"),
        finding("c", "error", ["x"], "m"),
        finding("b", "info", ["x"], "m"),
    ]
    lowered = downgrade_allowed(found, {"b": "known"})
    assert [(f.check, f.severity, f.allowed) for f in lowered] == [
        ("c", "error", ""),
        ("b", "warning", "known"),
        ("a", "info", ""),
        ("b", "info", ""),
    ]
    assert counts(lowered) == {"error": 1, "warning": 1, "info": 2}


def test_examples_are_few_and_the_count_is_whole() -> None:
    one = finding("a", "error", [f"r{n}" for n in range(100)], "m")
    assert one.count == 100
    assert one.examples == ("r0", "r1", "r2", "r3", "r4")


def test_json_has_groups_only_for_duplicates() -> None:
    assert set(finding("a", "error", ["x"], "m", "r").as_json()) == {
        "check",
        "severity",
        "count",
        "message",
        "examples",
        "remedy",
    }
    assert Finding("a", "info", 2, "m", (), "", (("p", "q"),)).as_json()["groups"] == (("p", "q"),)
