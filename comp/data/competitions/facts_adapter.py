"""A competition that is read by its facts: the interface of an adapter, for [data] of competition.toml."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.data.competitions.data_facts import DataFacts
from comp.data.competitions.facts import Adapter, CompetitionConfig
from comp.errors import InputError

if TYPE_CHECKING:
    from comp.data.competitions.read_facts import FactsReader
    from comp.data.images.source import ImageSource
    from comp.data.manifest import Manifest

BY_FACTS = ("read", "read_test", "sample")


@dataclass(frozen=True)
class FactsAdapter:
    """What an adapter.py would do, done by the facts; functions of an adapter.py that there is all the same win.

    ``file`` is the competition.toml, for errors; ``code`` the adapter.py, None where there is none.
    """

    facts: CompetitionConfig
    file: str
    code: Adapter | None = None
    _last: list[FactsReader] = field(
        default_factory=list, repr=False, compare=False
    )  # who read last, if anybody

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.facts, self.file, self.code)  # what was read stays here

    @property
    def data(self) -> DataFacts:
        assert self.facts.data is not None
        return self.facts.data

    def has(self, name: str) -> bool:
        """Whether the facts or the adapter.py can do what an adapter's function of that name does."""
        in_shards = name == "source" and bool(self.data.shards)
        return name in BY_FACTS or name == "classes" or in_shards or self.codes(name)

    def read(self, raw: Path) -> Manifest:
        """The manifest of a raw folder."""
        if self.code and self.codes("read"):
            if self.facts.has_boxes:
                value = f"{self.code.file} defines read(raw), and {self.file} has [data] {'box' if self.data.box else 'tiles'}"
                remedy = (
                    "drop read; or write FILE#xywh=left,top,width,height into its paths, and give a source"
                )
                raise InputError("boxes are read by [data] alone", value, remedy)
            return self.code.read(raw)
        return self._sound(self._reader(raw).read())

    def read_test(self, raw: Path) -> Manifest:
        """The rows to predict, of a folder whose train part may be absent."""
        if self.code and (self.codes("read_test") or self.codes("read")):
            return self.code.read_test(raw)
        return self._sound(self._reader(raw).read_test())

    def sample(self, raw: Path, seed: int) -> None:
        """Writes a small made-up raw folder in the layout of the facts."""
        if self.code and self.codes("sample"):
            self.code.sample(raw, seed)
            return
        self._last.clear()
        if self.facts.images is not None or self.facts.has_boxes:
            value = f"{self.file} has {'[images]' if self.facts.images else '[data] box' if self.data.box else '[data] tiles'}"
            remedy = "download the data, or define sample(raw, seed) in an adapter.py"
            raise InputError("a sample is drawn of whole photographs", value, remedy)
        if self.data.shards:
            from comp.data.competitions.made_shards import write_made_shards

            write_made_shards(self.facts, self.data, raw, seed)
            return
        from comp.data.competitions.made_sample import write_made

        write_made(self.facts, self.data, raw, seed)

    def classes(self, raw: Path) -> tuple[str, ...] | None:
        """The class names in index order where columns or folders state them; None where they are those of the rows."""
        if self.code and self.codes("classes"):
            return self.code.classes(raw)
        if self.codes("read"):
            return None
        last = self._last[0] if self._last and self._last[0].tree.raw == raw else self._reader(raw)
        return last.classes()

    def source(self, raw: Path) -> ImageSource:
        """Where images come from that are no files of their own: of the adapter.py, else from the shards of the facts."""
        if self.codes("source") or not self.data.shards:
            return self._needed("source").source(raw)
        from comp.data.competitions.read_shards import shard_source

        return shard_source(self.data, raw)

    @property
    def answers(self) -> Callable[[Path], dict[str, str]]:
        """What gives the labels of the test rows of a raw folder, by id; `comp score` alone may ask."""
        return self._needed("answers").answers

    def download(self, raw: Path) -> None:
        self._needed("download").download(raw)

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the adapter.py by its name, such as its own metric."""
        return self._needed(name).function(name)

    def named(self, name: str) -> Callable[..., Any]:
        return self._needed(name).named(name)

    def _sound(self, manifest: Manifest) -> Manifest:
        from comp.data.manifest import sound

        return replace(manifest, table=sound(manifest.table, f"{self.file}, [data]"))

    def codes(self, name: str) -> bool:
        """Whether the adapter.py defines a function of that name."""
        return self.code is not None and self.code.has(name)

    def _needed(self, name: str) -> Adapter:
        if self.code is None:
            raise AttributeError(f"{self.file} stands alone: no adapter.py defines {name}")
        return self.code

    def _reader(self, raw: Path) -> FactsReader:

        self._last[:] = [self._new_reader(raw)]
        return self._last[0]

    def _new_reader(self, raw: Path) -> FactsReader:
        from comp.data.competitions.read_facts import FactsReader
        from comp.data.competitions.read_rows import RowReader

        if self.data.shards:
            from comp.data.competitions.read_shards import ShardReader

            return ShardReader(self.facts, self.data, raw)
        if self.data.names_rows:
            return RowReader(self.facts, self.data, raw)
        return FactsReader(self.facts, self.data, raw)
