"""Tables: cells letter by letter, and written back byte for byte."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.csv_table import parse_table, read_table
from comp.errors import InputError

CELLS = st.text(st.characters(codec="cp949", exclude_categories=["Cc"]), max_size=6)


def rewritten(content: bytes) -> bytes:
    table = parse_table(content, "t.csv")
    return table.text([list(row) for row in table.rows]).encode(table.encoding)


@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from(["utf-8", "utf-8-sig", "cp949"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.booleans(),
)
def test_a_table_is_written_back_byte_for_byte(
    rows: list[tuple[str, str]], encoding: str, newline: str, quoting: Any, final: bool
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=newline, quoting=quoting)
    writer.writerow(["id", "이름"])
    writer.writerows(rows)
    text = out.getvalue() if final else out.getvalue().removesuffix(newline)
    content = text.encode(encoding)
    assert rewritten(content) == content
    assert parse_table(content, "t.csv").rows == tuple(rows)


@pytest.mark.parametrize(
    "content",
    [
        b"id,label\n007,1e5\n 8 ,NA\n",
        b",answer value\r\n0,0\r\n1,0\r\n",
        b'id,text\n1,"a, b"\n2,"say ""hi"""\n',
        b'id,text\n1,"two\nlines"\n',
        b"id,label\n1,0",
        b"id,label\n1,0\n\n",
        b'"id","label"\n"a, b",1\n"c",2\n',
        b'"id","label"\n1,2\n',
        b'id,label\n"1","2"\n',
        b"id,label\r1,0\r",
        b'id,label\n"a\r\nb",0\n',
        b'id\n1\n""\n',
    ],
    ids=[
        "numbers stay text",
        "unnamed column",
        "quoted",
        "line break in a cell",
        "no final newline",
        "a blank line at the end",
        "texts in quotes, numbers not",
        "a header in quotes",
        "rows in quotes",
        "carriage returns alone",
        "another line end in a cell",
        "one column",
    ],
)
def test_manners_of_real_tables_survive(content: bytes) -> None:
    assert rewritten(content) == content


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("cp949", "cp949")]
)
def test_the_encoding_is_found(tmp_path: Path, encoding: str, found: str) -> None:
    (tmp_path / "t.csv").write_bytes("파일,사과\n가,나\n".encode(encoding))
    table = read_table(tmp_path / "t.csv")
    assert (table.encoding, table.header, table.rows) == (found, ("파일", "사과"), (("가", "나"),))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a,b\n1,2,3\n", "row 2: 3 cells under 2 columns"),
        (b"a,b\n1\n", "row 2: 1 cells under 2 columns"),
        (b"a,\xff\xfe\xff\n", "is neither"),
    ],
)
def test_faulty_tables_are_refused_in_one_line(content: bytes, told: str) -> None:
    with pytest.raises(InputError) as error:
        parse_table(content, "t.csv")
    assert told in error.value.value
    assert "\n" not in error.value.value


def test_a_missing_table_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="must be readable"):
        read_table(tmp_path)


def test_columns_are_found_loosely_only_when_nothing_else_fits() -> None:
    table = parse_table(b" ID ,label,Label\n1,2,3\n", "t.csv")
    assert table.column("id") == ["1"]
    assert table.column("Label") == ["3"]
    with pytest.raises(InputError, match="it has ' ID ', 'label', 'Label'"):
        table.column("name")
    with pytest.raises(InputError, match="'LABEL' more than once: 'label' in column 2, 'Label' in column 3"):
        table.column("LABEL")


@pytest.mark.parametrize("other", ["label", "label ", "\tlabel", "\ufefflabel", "label\u200b"])
def test_a_column_that_comes_twice_is_read_by_nobody(other: str) -> None:
    table = parse_table(f"id,label,{other}\n1,2,3\n".encode(), "t.csv")
    assert table.column("id") == ["1"]
    with pytest.raises(InputError, match="a table has a column once") as refused:
        table.column("label")
    assert "t.csv has 'label' more than once: 'label' in column 2" in refused.value.value
    assert "column 3" in refused.value.value
    with pytest.raises(InputError, match="column once"):
        table.require_once([1, 2])
    table.require_once([0, 1])


def test_unicode_forms_of_a_name_are_one_column() -> None:
    table = parse_table("id,\u00e9,e\u0301\n1,2,3\n".encode(), "t.csv")
    with pytest.raises(InputError, match="column once"):
        table.column("\u00e9")
