"""A new competition's folder, from the layout that is nearest to its raw data."""

from __future__ import annotations

import re
from pathlib import Path

from comp.data.competitions.competition import SCAFFOLDS, find_competitions
from comp.errors import InputError, UnknownName
from comp.files import make_folder, write_text
from comp.workspace import Workspace

LAYOUTS = {
    "folders": "train/<class>/<file>, test/<file>, sample_submission.csv",
    "csv": "train/<file>, test/<file>, train.csv (id,label), sample_submission.csv",
    "array": "train.npz (images, labels), test.npz (images)",
}


_ON_A_SAMPLE = "\nTry it on made-up data"  # of the README: from here on it is about that


def scaffold(slug: str, layout: str, workspace: Workspace) -> Path:
    """Writes competition.toml, adapter.py, baseline.toml and README.md into the workspace's ``competitions/``.

    What it writes works at once, on its own made-up sample.

    Raises
    ------
    UnknownName
        For a layout that does not exist.
    InputError
        For a slug that is none or is taken, or a folder that is there already.
    """
    if layout not in LAYOUTS:
        raise UnknownName(
            "layout", layout, LAYOUTS, "; ".join(f"{name}: {about}" for name, about in LAYOUTS.items())
        )
    folder = new_folder(slug, workspace)
    make_folder(folder)
    adapter = (SCAFFOLDS / layout / "adapter.py.txt").read_text(encoding="utf-8")
    facts = _filled(SCAFFOLDS / layout / "competition.toml", slug)
    _write(folder, slug, {"adapter.py": adapter, "competition.toml": facts})
    return folder


def scaffold_facts(slug: str, facts: str, workspace: Workspace, drawn: bool = True) -> Path:
    """The same with a competition.toml that is written already, and without an adapter.py; ``drawn`` says whether a sample
    can be made up by these facts, which the README then begins with.
    """
    folder = new_folder(slug, workspace)
    make_folder(folder)
    _write(folder, slug, {"competition.toml": facts})
    if not drawn:
        readme = (folder / "README.md").read_text(encoding="utf-8")
        write_text(folder / "README.md", readme.partition(_ON_A_SAMPLE)[0])
    return folder


def title_of(slug: str) -> str:
    """A title for people, until they give it a better one."""
    return slug.replace("-", " ").capitalize()


def _write(folder: Path, slug: str, files: dict[str, str]) -> None:
    for source, name in (
        (SCAFFOLDS / "README.md.txt", "README.md"),
        (SCAFFOLDS / "baseline.toml", "baseline.toml"),
    ):
        write_text(folder / name, _filled(source, slug))
    for name, text in files.items():
        write_text(folder / name, text)


def _filled(source: Path, slug: str) -> str:
    text = source.read_text(encoding="utf-8")
    return text.replace("{slug}", slug).replace("{title}", title_of(slug))


def new_folder(slug: str, workspace: Workspace) -> Path:
    """Where a new competition's folder goes, which is not there yet; InputError for a slug that is none or is taken."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", slug):
        raise InputError(
            "a slug is lower-case letters, digits and hyphens", repr(slug), "for example leaf-disease"
        )
    known = find_competitions(workspace)
    taken = [known.competitions[slug].folder] if slug in known.competitions else []
    taken += [one.folder for one in known.broken if slug in one.slugs]
    if taken:
        value = f"{slug!r} is that of {taken[0]}"
        raise InputError(
            "a slug names one competition",
            value,
            f'choose another, or lay a competition.toml over it: extends = "{slug}"',
        )
    folder = workspace.competitions / slug.replace("-", "_")
    if folder.exists():
        raise InputError(
            "a new competition needs a new folder",
            f"{folder} is there",
            "choose another slug, or remove the folder",
        )
    return folder
