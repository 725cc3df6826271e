"""Finds competitions: the workspace's ``competitions/``, the built-in ones, and installed plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from comp.competition import Competition, read_facts
from comp.errors import InputError, UnknownName
from comp.workspace import Workspace

ENTRY_POINTS = "comp.competitions"


def built_in_folder() -> Path:
    """``comp/builtin`` in an installed wheel, ``competitions`` beside the package in a checkout."""
    inside = Path(__file__).parent / "builtin"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "competitions"


def competitions(workspace: Workspace) -> dict[str, Competition]:
    """Every competition that can be found, by slug, in alphabetical order.

    Raises
    ------
    InputError
        If two folders claim one slug.
    """
    found: dict[str, Competition] = {}
    for folder in _folders(workspace):
        competition = Competition(folder, read_facts(folder / "competition.toml"))
        other = found.get(competition.slug)
        if other is not None and other.folder.resolve() != folder.resolve():
            value = f"{competition.slug!r} is claimed by {other.folder} and {folder}"
            raise InputError("a slug names one competition", value, "rename one of them")
        found.setdefault(competition.slug, competition)
    return dict(sorted(found.items()))


def competition(slug: str, workspace: Workspace) -> Competition:
    """The competition of that slug; UnknownName lists near ones."""
    found = competitions(workspace)
    try:
        return found[slug]
    except KeyError:
        raise UnknownName("competition", slug, found, "`comp list` shows them all") from None


def _folders(workspace: Workspace) -> Iterator[Path]:
    for parent in (built_in_folder(), workspace.competitions, *_plugins()):
        if parent.is_dir():
            yield from sorted(toml.parent for toml in parent.glob("*/competition.toml"))


def _plugins() -> Iterator[Path]:
    """Folders of installed packages: an entry point names a package that holds competition folders."""
    for point in entry_points(group=ENTRY_POINTS):
        spec = find_spec(point.value.partition(":")[0])
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(place)
