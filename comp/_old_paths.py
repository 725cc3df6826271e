"""Old module paths that people's adapters and models import: they work for one release, with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from comp._version import PACKAGE

FOLDER = str(PACKAGE / "_old_paths")  # no folder of the disk: it stands for the old modules

# what each old path offered, and where that is now
OLD_PATHS = {
    "comp.archives": ("comp.data.archives",),
    "comp.download": ("comp.data.download",),
    "comp.folds": ("comp.data.folds",),
    "comp.images": ("comp.data.images",),
    "comp.images.decode": ("comp.data.images.decode",),
    "comp.images.source": ("comp.data.images.source", "comp.data.images.raw_tree"),
    "comp.images.tree": ("comp.data.images.raw_tree",),
    "comp.labels": ("comp.data.labels", "comp.data.csv_table"),
    "comp.manifest": ("comp.data.manifest", "comp.data.images.raw_tree"),
    "comp.names": ("comp.data.images.raw_tree",),
    "comp.pickles": ("comp.data.safe_pickle",),
    "comp.predictions": ("comp.data.predictions",),
    "comp.tables": ("comp.data.csv_table",),
}


VERBS = {"comp.labels": "comp.pipelines.label_errors"}  # old paths of a name that is a verb now, and its home


class _Verb(ModuleType):
    """An old module that stands where a verb does: it can be called as the verb."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(VERBS[self.__name__]), name)(*arguments, **options)


class _OldPaths:
    """A finder and loader of modules, asked for those of ``comp`` that none of its folders has."""

    def find_spec(self, fullname: str, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname not in OLD_PATHS:
            return None
        spec = ModuleSpec(fullname, self, is_package=fullname == "comp.images")  # type: ignore[arg-type]
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(FOLDER)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return (_Verb if spec.name in VERBS else ModuleType)(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        homes = OLD_PATHS[module.__name__]
        warnings.warn(
            f"{module.__name__} is now {homes[0]}: import from comp.data; the old path goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        for home in reversed(homes):
            public = {k: v for k, v in vars(import_module(home)).items() if not k.startswith("__")}
            module.__dict__.update(public)


def _finder_of(path: str) -> _OldPaths:
    """What Python asks for the finder of a path that it keeps none of (any program may empty ``sys.path_importer_cache``)."""
    if path != FOLDER:
        raise ImportError(f"{path} is not {FOLDER}")
    return _OldPaths()


def accept_old_paths(folders: list[str]) -> None:
    """Lets ``import comp.manifest`` and the other old paths work; ``folders`` are where Python looks for comp's modules."""
    if _finder_of not in sys.path_hooks:
        sys.path_hooks.append(_finder_of)
    if FOLDER not in folders:
        folders.append(FOLDER)
