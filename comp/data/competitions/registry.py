"""Finds competitions: the workspace's ``competitions/``, the built-in ones, and installed plug-ins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from comp._version import PACKAGE
from comp.config import deep_merge, validate
from comp.data.competitions.competition import Competition, CompetitionConfig, read_facts_table
from comp.errors import InputError, UnknownName
from comp.workspace import Workspace

ENTRY_POINTS = "comp.competitions"
_NAMED = re.compile(r"""^\s*(slug|extends)\s*=\s*["']([^"'\r\n]{1,200})["']""", re.MULTILINE)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_LOOKED_AT = 1 << 16  # bytes of an unreadable file in which its slug is looked for


@dataclass(frozen=True)
class Broken:
    """A competition that cannot be used: its folder, the slugs that it may have been meant for, and its mistakes."""

    folder: Path
    slugs: tuple[str, ...]
    error: InputError

    def __str__(self) -> str:
        return f"{self.folder}: {'; '.join(str(self.error).splitlines())}"


@dataclass(frozen=True)
class Registry:
    """What there is: the ``competitions`` that can be used, by slug in alphabetical order, and the ``broken`` ones.

    No broken one stops another, but a slug that a broken one claims is not to be used either: an overlay that cannot be
    read may have changed the metric.
    """

    competitions: dict[str, Competition]
    broken: list[Broken] = field(default_factory=list)

    def get(self, slug: str) -> Competition:
        """The competition of a slug.

        Raises
        ------
        InputError
            The mistakes of a broken one of that slug; UnknownName, with near ones, where there is none.
        """
        if slug in self.competitions:
            return self.competitions[slug]
        for one in self.broken:
            if slug in one.slugs:
                raise one.error
        remedy = "`comp list` shows them all"
        if self.broken:
            remedy += f"; {len(self.broken)} cannot be read, first {self.broken[0].folder}"
        raise UnknownName("competition", slug, self.competitions, remedy)


def built_in_folder() -> Path:
    """``comp/builtin`` in an installed wheel, ``competitions`` beside the package in a checkout."""
    inside = PACKAGE / "builtin"
    return inside if inside.is_dir() else PACKAGE.parent / "competitions"


def find(workspace: Workspace) -> Registry:
    """Every competition that can be found, the broken ones apart.

    A competition.toml with ``extends = "SLUG"`` is laid over the competition of that slug: under the same slug (or
    without one) it takes its place, under another it stands beside it. Folders that claim one slug are broken, all.
    """
    broken: list[Broken] = list(_broken_plugins())
    plain: list[Competition] = []
    overlays: list[tuple[Path, dict[str, Any]]] = []
    for folder in _folders(workspace):
        path = folder / "competition.toml"
        table: dict[str, Any] | None = None
        try:
            table = read_facts_table(path)
            if "extends" in table:
                overlays.append((folder, table))
            else:
                plain.append(Competition(folder, validate(CompetitionConfig, table, str(path))))
        except InputError as error:
            broken.append(Broken(folder, _claims(folder, table), error))
    bases, doubled = _each_once(plain)
    broken += doubled
    laid: list[Competition] = []
    for folder, table in overlays:
        try:
            laid.append(_overlay(folder, table, bases, broken))
        except InputError as error:
            broken.append(Broken(folder, _claims(folder, table), error))
    beside = [
        one for one in bases.values() if one not in [over.base for over in laid if over.slug == one.slug]
    ]
    usable, doubled = _each_once([*beside, *laid])
    broken += doubled
    refused = {slug for one in broken for slug in one.slugs}
    return Registry({slug: usable[slug] for slug in sorted(usable) if slug not in refused}, broken)


def competitions(workspace: Workspace) -> dict[str, Competition]:
    """Every competition that can be used, by slug, in alphabetical order."""
    return find(workspace).competitions


def competition(slug: str, workspace: Workspace) -> Competition:
    """The competition of that slug; InputError with its mistakes where it has some, UnknownName lists near ones."""
    return find(workspace).get(slug)


def _each_once(every: list[Competition]) -> tuple[dict[str, Competition], list[Broken]]:
    """The competitions whose slug no other claims, and those where others do."""
    claimed: dict[str, list[Competition]] = {}
    for one in every:
        claimed.setdefault(one.slug, []).append(one)
    single = {slug: same[0] for slug, same in claimed.items() if len(same) == 1}
    rule = "a slug names one competition"
    doubled = []
    for slug, same in claimed.items():
        if len(same) > 1:
            value = f"{slug!r} is claimed by {' and '.join(str(one.folder) for one in same)}"
            remedy = f'rename one of them, or lay it over the other: extends = "{slug}"'
            doubled.append(Broken(same[-1].folder, (slug,), InputError(rule, value, remedy)))
    return single, doubled


def _overlay(
    folder: Path, table: dict[str, Any], bases: dict[str, Competition], broken: list[Broken]
) -> Competition:
    path = folder / "competition.toml"
    name = table["extends"]
    remedy = f"correct `extends` in {path}"
    if not isinstance(name, str):
        raise InputError("extends names a competition", f"{path}: {name!r}", remedy)
    if name not in bases:
        for one in broken:
            if name in one.slugs:
                value = f"{path} extends {name!r}, which has mistakes of its own: {one.error}"
                raise InputError(
                    "an overlay needs the competition that it extends", value, "correct that first"
                )
        raise UnknownName(
            "competition to extend", name, bases, f"{remedy}; it names one that extends no other"
        )
    base = bases[name]
    over = {key: value for key, value in table.items() if key != "extends"}
    merged = deep_merge(read_facts_table(base.folder / "competition.toml"), over)
    return Competition(folder, validate(CompetitionConfig, merged, f"{path}"), base)


def _claims(folder: Path, table: dict[str, Any] | None) -> tuple[str, ...]:
    """The slugs that a broken competition.toml may have been meant for: what it says, as far as it can be read, or else
    the name of its folder.
    """
    by_folder = folder.name.replace("_", "-")
    if table is not None:
        slug = table.get("slug", table.get("extends"))
        if isinstance(slug, str) and _SLUG.fullmatch(slug):
            return (slug,)
        return (by_folder,)
    try:
        with (folder / "competition.toml").open("rb") as file:
            text = file.read(_LOOKED_AT).decode("utf-8", "replace")
    except OSError:
        return (by_folder,)
    said: dict[str, str] = dict(reversed(_NAMED.findall(text)))
    return tuple(dict.fromkeys((said.get("slug") or said.get("extends") or by_folder, by_folder)))


def _folders(workspace: Workspace) -> Iterator[Path]:
    """Every folder with a competition.toml, once (a checkout's own folder is a workspace's and the built-in one)."""
    seen: set[str] = set()
    for parent in (built_in_folder(), workspace.competitions, *_plugins()):
        for toml in sorted((*parent.glob("competition.toml"), *parent.glob("*/competition.toml"))):
            real = os.path.realpath(toml.parent)
            if real not in seen:
                seen.add(real)
                yield toml.parent


def _plugins() -> Iterator[Path]:
    """Folders of installed packages: an entry point names a package that is a competition folder or holds some."""
    for point in entry_points(group=ENTRY_POINTS):
        for place in _package(point.value) or ():
            yield Path(place)


def _broken_plugins() -> Iterator[Broken]:
    for point in entry_points(group=ENTRY_POINTS):
        if _package(point.value) is None:
            value = f"{point.name} = {point.value!r} is not a package that can be found"
            rule, remedy = (
                f"an entry point of {ENTRY_POINTS} names a package",
                "reinstall or remove the plug-in",
            )
            yield Broken(Path(point.value), (point.name,), InputError(rule, value, remedy))


def _package(name: str) -> list[str] | None:
    """The folders of a package, which is not imported; None where there is none of that name."""
    try:
        spec = find_spec(name.partition(":")[0])
    except Exception:  # of a package around it, which is
        return None
    return None if spec is None else list(spec.submodule_search_locations or ())
