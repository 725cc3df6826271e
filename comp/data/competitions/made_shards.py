"""A made-up raw folder whose images lie in shards, as a competition's facts state them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from comp.data.competitions.data_facts import DataFacts
from comp.data.competitions.made_sample import Made, Row
from comp.data.images.shard_source import KINDS
from comp.errors import InputError

if TYPE_CHECKING:
    from comp.data.competitions.facts import CompetitionConfig

SHARDS = 2  # of a glob
_TABLE = "rows.csv"  # which is never written: the shards have its columns


def write_made_shards(facts: CompetitionConfig, data: DataFacts, raw: Path, seed: int) -> None:
    """Writes shards, tables and the template that ``facts`` describe; the same seed gives the same images and rows.

    Raises
    ------
    InputError
        For a glob that no name can be made of, a format whose package is not installed, or facts that nothing can be
        made up for.
    """
    import numpy as np

    plain = {"shards": "", "test_shards": "", "image": "", "table": data.table or _TABLE}
    rng = np.random.default_rng(seed)
    _MadeShards(facts, data.model_copy(update=plain), raw, rng, stated=data).write()


@dataclass
class _MadeShards(Made):
    """Made-up rows whose images are gathered, and written into the shards that ``stated`` names."""

    stated: DataFacts = field(kw_only=True)
    images: dict[Path, bytes] = field(default_factory=dict, kw_only=True)

    def _write_image(self, path: Path, content: bytes) -> None:
        self.images[path] = content

    def _write_table(self, name: str, rows: Sequence[Mapping[str, str]], labelled: bool) -> None:
        if name != _TABLE:
            super()._write_table(name, rows, labelled)

    def _write_shards(self, train: Sequence[Row], tests: Sequence[Row]) -> None:
        labelled, images = [row["cells"] for row in train], list(self.images.values())
        hidden = self._label_columns(labelled)
        asked = [{name: one for name, one in row["cells"].items() if name not in hidden} for row in tests]
        if self.stated.table:  # which has the columns
            labelled, asked = ([self._id_alone(row) for row in rows] for rows in (labelled, asked))
        if not self.stated.test_shards:
            self._write_set(self.stated.shards, [*labelled, *asked], images)
            return
        self._write_set(self.stated.shards, labelled, images[: len(labelled)])
        self._write_set(self.stated.test_shards, asked, images[len(labelled) :])

    def _id_alone(self, cells: Mapping[str, str]) -> dict[str, str]:
        return {self._id_column(): cells[self._id_column()]}

    def _write_set(self, pattern: str, cells: Sequence[Mapping[str, str]], images: Sequence[bytes]) -> None:
        """Rows dealt to the shards of a glob, one after the other."""
        count = SHARDS if "*" in pattern else 1
        each = -(-len(cells) // count)
        for n in range(count):
            name = pattern.replace("*", f"{n:05}", 1).replace("*", f"{count:05}").replace("?", "0")
            kind = KINDS.get(PurePosixPath(name).suffix.lower())
            if set(name) & set("[]") or kind is None:
                rule = "a sample of shards has names that end in .parquet, .tar or .lmdb"
                raise InputError(rule, pattern, "define sample(raw, seed) in an adapter.py")
            (self.raw / name).parent.mkdir(parents=True, exist_ok=True)
            part = slice(n * each, (n + 1) * each)
            write = {"parquet": self._parquet, "tar": self._tar, "lmdb": self._lmdb}[kind]
            write(self.raw / name, cells[part], images[part])

    def _parquet(self, path: Path, cells: Sequence[Mapping[str, str]], images: Sequence[bytes]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise _lacks("pyarrow") from error
        names = list(dict.fromkeys(name for row in cells for name in row))
        columns: dict[str, Any] = {name: [row.get(name) for row in cells] for name in names}
        stated = self.stated.image or "image"
        columns[stated] = [{"bytes": content, "path": None} for content in images]
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        fields = [(name, kind if name == stated else pyarrow.string()) for name in columns]
        pyarrow.parquet.write_table(pyarrow.table(columns, pyarrow.schema(fields)), path, row_group_size=100)

    def _tar(self, path: Path, cells: Sequence[Mapping[str, str]], images: Sequence[bytes]) -> None:
        with tarfile.open(path, "w") as opened:
            for row, content in zip(cells, images, strict=True):
                members = {self.stated.image or "jpg": content}
                fields = {
                    name.removeprefix("json."): one for name, one in row.items() if name.startswith("json.")
                }
                if fields:
                    members["json"] = json.dumps(fields).encode()
                plain = {name: one for name, one in row.items() if not name.startswith("json.")}
                key = plain.pop(self._id_column(), None) or row[self._id_column()]
                label = "cls" if len(plain) == 1 and not self.stated.label else ""
                members |= {label or name: one.encode() for name, one in plain.items()}
                for suffix, told in members.items():
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(told)
                    opened.addfile(info, io.BytesIO(told))

    def _lmdb(self, path: Path, cells: Sequence[Mapping[str, str]], images: Sequence[bytes]) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise _lacks("lmdb") from error
        size = 2 * sum(map(len, images)) + (16 << 20)
        folder = path.suffix.lower() != ".mdb"
        with (
            lmdb.open(str(path), map_size=size, subdir=folder) as opened,
            opened.begin(write=True) as writing,
        ):
            for row, content in zip(cells, images, strict=True):
                writing.put(row[self._id_column()].encode(), content)


def _lacks(package: str) -> InputError:
    rule, remedy = f"shards of that kind need {package}", 'pip install "imgcomp[shards]"'
    return InputError(rule, f"{package} is not installed", remedy)
