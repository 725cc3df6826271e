"""Finds competitions: the workspace's ``competitions/``, the built-in ones, and installed plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from comp.competition import Competition
from comp.errors import InputError, UnknownName
from comp.facts import CompetitionFacts, overlaid, read_facts_table, validate
from comp.workspace import Workspace

ENTRY_POINTS = "comp.competitions"


def built_in_folder() -> Path:
    """``comp/builtin`` in an installed wheel, ``competitions`` beside the package in a checkout."""
    inside = Path(__file__).parent / "builtin"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "competitions"


def competitions(workspace: Workspace) -> dict[str, Competition]:
    """Every competition that can be found, by slug, in alphabetical order.

    A competition.toml with ``extends = "SLUG"`` is laid over the competition of that slug: under the same slug (or
    without one) it takes its place, under another it stands beside it.

    Raises
    ------
    InputError
        If two folders claim one slug, or an overlay extends what is not there.
    """
    found: dict[str, Competition] = {}
    overlays: list[tuple[Path, dict[str, Any]]] = []
    for folder in _folders(workspace):
        table = read_facts_table(folder / "competition.toml")
        if "extends" in table:
            overlays.append((folder, table))
        else:
            _add(
                found,
                Competition(folder, validate(CompetitionFacts, table, f"{folder / 'competition.toml'}")),
            )
    bases = dict(found)
    taken: set[str] = set()
    for folder, table in overlays:
        one = _overlay(folder, table, bases)
        if one.slug in taken or (one.slug in bases and one.base is not bases[one.slug]):
            raise _claimed(one, found[one.slug])
        taken.add(one.slug)
        found[one.slug] = one
    return dict(sorted(found.items()))


def competition(slug: str, workspace: Workspace) -> Competition:
    """The competition of that slug; UnknownName lists near ones."""
    found = competitions(workspace)
    try:
        return found[slug]
    except KeyError:
        raise UnknownName("competition", slug, found, "`comp list` shows them all") from None


def _add(found: dict[str, Competition], one: Competition) -> None:
    if one.slug in found:
        raise _claimed(one, found[one.slug])
    found[one.slug] = one


def _claimed(one: Competition, other: Competition) -> InputError:
    value = f"{one.slug!r} is claimed by {other.folder} and {one.folder}"
    return InputError(
        "a slug names one competition",
        value,
        f'rename one of them, or lay it over the other: extends = "{one.slug}"',
    )


def _overlay(folder: Path, table: dict[str, Any], bases: dict[str, Competition]) -> Competition:
    path = folder / "competition.toml"
    name = table["extends"]
    if not isinstance(name, str) or name not in bases:
        raise UnknownName("competition to extend", str(name), bases, f"correct `extends` in {path}")
    base = bases[name]
    over = {key: value for key, value in table.items() if key != "extends"}
    merged = overlaid(read_facts_table(base.folder / "competition.toml"), over)
    return Competition(folder, validate(CompetitionFacts, merged, f"{path}"), base)


def _folders(workspace: Workspace) -> Iterator[Path]:
    """Every folder with a competition.toml, once (a checkout's own folder is a workspace's and the built-in one)."""
    seen: set[Path] = set()
    for parent in (built_in_folder(), workspace.competitions, *_plugins()):
        for toml in sorted((*parent.glob("competition.toml"), *parent.glob("*/competition.toml"))):
            if toml.parent.resolve() not in seen:
                seen.add(toml.parent.resolve())
                yield toml.parent


def _plugins() -> Iterator[Path]:
    """Folders of installed packages: an entry point names a package that is a competition folder or holds some."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            spec = find_spec(point.value.partition(":")[0])
        except ImportError:
            spec = None
        if spec is None:
            value = f"{point.name} = {point.value!r} is not a package that can be found"
            raise InputError(
                f"an entry point of {ENTRY_POINTS} names a package", value, "reinstall or remove the plug-in"
            )
        for place in spec.submodule_search_locations or ():
            yield Path(place)
