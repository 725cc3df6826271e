"""An independent grader, written with the csv module alone, takes what runs write, whatever the template looks like."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import comp
from made import SHAPES, run_comp, write_shapes

CLASSES = list(SHAPES)


def grade(sample: bytes, given: bytes, kind: str, encoding: str) -> dict[str, list[str]]:
    """Refuses what a strict site would refuse; the answers by id."""
    texts = [content.decode(encoding) for content in (sample, given)]
    asked, answered = (list(csv.reader(io.StringIO(text, newline=""))) for text in texts)
    assert answered[0] == asked[0], "the header, no extra columns"
    ids = [row[0] for row in answered[1:]]
    assert ids == [row[0] for row in asked[1:]], "exact ids in their order, letter by letter"
    assert len(set(ids)) == len(ids)
    for row in answered[1:]:
        assert len(row) == len(asked[0])
        if kind == "probs":
            assert abs(sum(float(cell) for cell in row[1:]) - 1) <= 1e-6
            assert sum(Decimal(cell) for cell in row[1:]) == 1
            assert all(0 <= float(cell) <= 1 for cell in row[1:])
        elif kind == "index":
            assert row[1] in ("0", "1", "2")
        elif kind == "label":
            assert row[1] in CLASSES
        else:
            assert len(set(row[1].split(" "))) == 2
            assert set(row[1].split(" ")) <= set(CLASSES)
    ends = [text[len(text.rstrip("\r\n")) :] for text in texts]
    assert ends[0] == ends[1], "the same end"
    assert ("\r\n" in texts[0]) == ("\r\n" in texts[1])
    heads = [content.split(b"\n")[0] for content in (sample, given)]
    assert heads[0].count(b'"') == heads[1].count(b'"')
    return {row[0]: row[1:] for row in answered[1:]}


def plain(name: str) -> str:
    return name


NAMES: dict[str, Callable[[int], str]] = {
    "leading zeros": lambda n: f"{n:05}",
    "numbers": lambda n: str(n * 1000),
    "spaces": lambda n: f"a {n}",
    "unicode": lambda n: f"사과{n}é",
    "floats": lambda n: f"{n}.0",
    "exponents": lambda n: f"{n}e5",
}


def write(raw: Path, name: Callable[[int], str], kind: str, suffix: bool, crlf: bool, encoding: str) -> bytes:
    """Renames the test files and writes a template of a kind for them; its bytes."""
    for number in range(12):
        (raw / "test" / f"t{number}.png").rename(raw / "test" / f"{name(number)}.png")
    order = [7, 3, 11, 0, 5, 1, 9, 2, 10, 4, 8, 6]
    end = "\r\n" if crlf else "\n"
    header = ["id", "square", "circle", "cross"] if kind == "probs" else ["id", "label"]
    filler = ["0.2", "0.3", "0.5"] if kind == "probs" else ["0" if kind == "index" else "circle"]
    rows = [
        [f'"{name(n)}{".png" if suffix else ""}"' if crlf else name(n) + (".png" if suffix else ""), *filler]
        for n in order
    ]
    content = end.join(",".join(row) for row in [header, *rows]) + end
    (raw / "sample_submission.csv").write_bytes(content.encode(encoding))
    return content.encode(encoding)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of shapes."""
    workspace = tmp_path_factory.mktemp("grader")
    write_shapes(workspace)
    comp.run("shapes", 2, workspace=workspace)
    return workspace


@pytest.mark.parametrize("kind", ["index", "label", "probs", "topk"])
@pytest.mark.parametrize("names", NAMES)
def test_a_strict_grader_takes_it(trained: Path, tmp_path: Path, kind: str, names: str) -> None:
    number = list(NAMES).index(names)
    suffix, crlf = number % 2 == 0, number % 3 == 0
    encoding = ["utf-8", "utf-8-sig", "cp949"][number % 3] if names != "unicode" else "utf-8-sig"
    workspace = tmp_path / "ws"
    shutil.copytree(trained, workspace)
    raw = workspace / "data" / "shapes"
    sample = write(raw, NAMES[names], kind, suffix, crlf, encoding)
    toml = workspace / "competitions" / "shapes" / "competition.toml"
    target = '"*"' if kind == "probs" else '"label"'
    text = toml.read_text().replace('kind = "label"', f'kind = "{kind}"\nk = 2')
    toml.write_text(text.replace('target = "label"', f"target = {target}"))
    done = run_comp(workspace, "predict", "latest", "--data", raw, "--out", workspace / "o.csv", "--json")
    assert done.code == 0, done.err
    answers = grade(sample, (workspace / "o.csv").read_bytes(), kind, encoding)
    assert len(answers) == 12
    valid = run_comp(workspace, "validate", "shapes", workspace / "o.csv")
    assert valid.code == 0, valid.out


def test_the_template_decides_spelling_and_order_and_never_an_answer(trained: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(trained, workspace)
    (run,) = (workspace / "runs").iterdir()
    first = (run / "submission.csv").read_text().splitlines()
    for number, spelled in enumerate((plain, lambda name: f"{name}.png")):
        rows = [line.split(",")[0] for line in first[1:]]
        rows = rows[::-1] if number else sorted(rows)
        (workspace / "other.csv").write_text(
            "id,label\n" + "".join(f"{spelled(name)},circle\n" for name in rows)
        )
        done = run_comp(
            workspace,
            "predict",
            "latest",
            "--template",
            workspace / "other.csv",
            "--out",
            workspace / "o.csv",
        )
        assert done.code == 0, done.err
        found = (workspace / "o.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in found[1:]] == [spelled(name) for name in rows]
        assert sorted(line.replace(".png", "") for line in found) == sorted(first)
