"""Adapters: the code beside a competition.toml, imported when it is first needed."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from comp.errors import InputError

if TYPE_CHECKING:
    from comp.images.source import ImageSource
    from comp.manifest import Manifest

REQUIRED = ("read", "sample")
OPTIONAL = ("read_test", "source", "classes", "answers", "download", "coarse")


class Adapter:
    """What an ``adapter.py`` defines, with the competition's options filled in.

    ``read(raw)`` gives the file layout and the labels in the order of the source; ``sample(raw, seed)`` writes a
    small made-up raw folder in exactly the real layout. These may be absent: ``read_test(raw)``, the rows to predict
    of a folder without its train part, where ``read`` needs that; ``source(raw)``, where the images' bytes come from
    if not from files; ``classes(raw)``, the class names in index order where the raw folder
    states them; ``answers(raw)``, test id → label where the competition publishes them; ``download(raw)``.
    """

    def __init__(self, module: ModuleType, options: Mapping[str, Any]) -> None:
        self._module = module
        self._options = options
        taken = {
            name
            for function in (*REQUIRED, *OPTIONAL)
            if self.has(function)
            for name in self._parameters(function)
        }
        unknown = sorted(set(options) - taken)
        if unknown:
            value = f"{', '.join(unknown)}; it takes {', '.join(sorted(taken - {'raw', 'seed'})) or 'none'}"
            raise InputError("[options] are what the adapter takes", value, "correct competition.toml")

    def has(self, name: str) -> bool:
        """Whether the adapter defines a function of that name."""
        return callable(getattr(self._module, name, None))

    def read(self, raw: Path) -> Manifest:
        return cast("Manifest", self._function("read")(raw))

    def read_test(self, raw: Path) -> Manifest:
        """The rows to predict, of a folder whose train part may be absent."""
        return cast("Manifest", self._function("read_test" if self.has("read_test") else "read")(raw))

    def sample(self, raw: Path, seed: int) -> None:
        self._function("sample")(raw, seed)

    def source(self, raw: Path) -> ImageSource:
        return cast("ImageSource", self._function("source")(raw))

    def classes(self, raw: Path) -> tuple[str, ...]:
        return tuple(self._function("classes")(raw))

    def answers(self, raw: Path) -> dict[str, str]:
        """The labels of the test rows, by id; `comp score` alone may ask."""
        return cast("dict[str, str]", self._function("answers")(raw))

    def download(self, raw: Path) -> None:
        self._function("download")(raw)

    def _parameters(self, name: str) -> list[str]:
        return list(inspect.signature(getattr(self._module, name)).parameters)

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the adapter by its name, such as its own metric."""
        found: Callable[..., Any] = getattr(self._module, name)
        return found

    def _function(self, name: str) -> Callable[..., Any]:
        function = getattr(self._module, name)
        taken = set(self._parameters(name))
        options = {key: value for key, value in self._options.items() if key in taken}
        return lambda *arguments: function(*arguments, **options)


def import_adapter(path: Path, slug: str, options: Mapping[str, Any]) -> Adapter:
    """Imports an adapter.py.

    Raises
    ------
    InputError
        If it is not there, does not import, lacks ``read`` or ``sample``, or does not take the options.
    """
    name = f"comp_adapter_{slug.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(
            "a competition needs an adapter.py", f"{path} is not there", "`comp new SLUG` scaffolds one"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(
            "adapter.py must import", f"{path}: {type(error).__name__}: {error}", "correct the adapter"
        ) from error
    for needed in REQUIRED:
        if not callable(getattr(module, needed, None)):
            raise InputError(
                "an adapter defines read(raw) and sample(raw, seed)", f"{path} lacks {needed}", "add it"
            )
    return Adapter(module, options)
