"""The table of runs as a CSV or parquet file, with a column for each key of their recipes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from comp.errors import InputError
from comp.files import atomic, require_output, write_text
from comp.pipelines.run_filter import RunValues

_KINDS = (".csv", ".parquet")
_LEFT_OUT = ("progress", "damage")


def require_export(path: str | Path | None) -> Path | None:
    """The file to export to, judged before anything is read.

    Raises
    ------
    InputError
        For another kind of file, parquet without a package that writes it, and a place that cannot be written to.
    """
    target = require_output(path)
    if target is None:
        return None
    if target.suffix not in _KINDS:
        raise InputError("runs are exported as .csv or .parquet", str(target), "`export=runs.csv`")
    if target.suffix == ".parquet" and not (find_spec("pyarrow") or find_spec("fastparquet")):
        raise InputError(
            "parquet needs a package that writes it", "pyarrow is not installed", "pip install pyarrow"
        )
    return target


def export_runs(every: Sequence[RunValues], path: Path) -> None:
    """Writes a row a run, in this order: what ``comp runs`` knows of it, then the recipe of its first model, in columns that
    begin with "recipe.".
    """
    import pandas as pd

    rows = []
    for one in every:
        recipes = one.recipes()
        recipe = {f"recipe.{key}": value for key, value in (recipes[0] if recipes else {}).items()}
        plain = {key: value for key, value in one.row.items() if key not in _LEFT_OUT}
        rows.append({**plain, **recipe})
    table = pd.DataFrame(rows)
    for name in table.columns:
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if not kinds <= {int, float} and kinds != {bool}:
            table[name] = [_text(value) for value in table[name]]
    if path.suffix == ".csv":
        out = io.StringIO()
        table.to_csv(out, index=False, lineterminator="\n")
        write_text(path, out.getvalue())
        return
    with atomic(path) as part:
        table.to_parquet(part, index=False)


def _text(value: object) -> str | None:
    """A value of a column whose values are of several kinds, as text."""
    if value is None or value != value:
        return None
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
