"""Where a competition's raw folder is: the one that is named, the one that was named last, or data/<slug>."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from comp import events
from comp.config import read_shaped
from comp.data.competitions.competition import Competition
from comp.data.competitions.sample import SAMPLE_MARK
from comp.errors import CompError, InputError
from comp.files import write_json
from comp.workspace import Workspace

FILE = "data.json"  # in the workspace's .comp: the raw folder by slug


def raw_of(competition: Competition, workspace: Workspace, data: str | Path | None = None) -> Path:
    """The raw folder of a command; ``data``, if it has what the layout requires, is remembered for the next one.

    Where none is named, the remembered one is used, and that is said. A made-up sample is not preferred to real data
    in data/<slug>.

    Raises
    ------
    InputError
        If ``data`` is named for a competition without raw data, or the remembered folder is gone.
    """
    slug = competition.slug
    if data is not None:
        given = Path(data).expanduser().absolute()
        require_wanted(competition, given)
        remember(competition, workspace, given)
        return given
    known = remembered(competition, workspace)
    if known is None:
        return workspace.raw(slug)
    usual = workspace.shown(workspace.raw(slug))
    if not known.is_dir():
        raise InputError(
            "the remembered raw folder must be there",
            f"{known}, which an earlier command named for {slug}, is gone",
            f"bring it back, or name another with `data=DIR`: {usual} is the usual one",
        )
    events.log(f"data: {workspace.shown(known)}, as named before")
    return known


def require_wanted(competition: Competition, data: Path) -> None:
    """InputError for a raw folder of a competition that has none."""
    if not competition.facts.layout.needs_data:
        value = f"{competition.slug} needs no raw folder, and {data} would not be read"
        raise InputError("a raw folder is named where there is one", value, "leave `data` out")


def remembered(competition: Competition, workspace: Workspace) -> Path | None:
    """The folder that was named last, there or gone; None where none was, or real data lies where a sample was named."""
    if not competition.facts.layout.needs_data:
        return None
    named = _all(workspace).get(competition.slug)
    if named is None:
        return None
    folder = workspace.root / named
    usual = workspace.raw(competition.slug)
    if (
        (folder / SAMPLE_MARK).is_file()
        and not (usual / SAMPLE_MARK).is_file()
        and _has_data(competition, usual)
    ):
        return None
    return folder


def raw_or_usual(competition: Competition, workspace: Workspace) -> Path:
    """The raw folder that a command without ``data`` would read, for those that only look whether it is there."""
    return remembered(competition, workspace) or workspace.raw(competition.slug)


def remember(competition: Competition, workspace: Workspace, raw: Path) -> None:
    """Remembers a raw folder that is complete; data/<slug> is what is used anyway, and only ends what was remembered."""
    if not competition.facts.layout.needs_data or not raw.is_dir() or not _has_data(competition, raw):
        return
    every, slug = _all(workspace), competition.slug
    inside = raw.is_relative_to(workspace.root)  # which may travel
    changed = {**every, slug: str(raw.relative_to(workspace.root) if inside else raw)}
    if raw == workspace.raw(slug):
        del changed[slug]
    if changed != every:
        with suppress(OSError, CompError):  # a workspace that cannot be written to remembers nothing
            write_json(_file(workspace), changed)


def _has_data(competition: Competition, raw: Path) -> bool:
    try:
        return competition.has_data(raw)
    except CompError:  # a damaged archive, of which reading tells more
        return False


def _file(workspace: Workspace) -> Path:
    return workspace.memory / FILE


def _all(workspace: Workspace) -> dict[str, str]:
    path = _file(workspace)
    if not path.is_file():
        return {}
    found: dict[str, str] = read_shaped(
        path, dict[str, str], "remove it, and name raw folders with `data` again"
    )
    return found
