"""A new competition's folder, from the layout that is nearest to its raw data."""

from __future__ import annotations

import re
from pathlib import Path

from comp._version import PACKAGE
from comp.data.competitions.competition import find_competitions
from comp.errors import InputError, UnknownName
from comp.files import make_folder, write_text
from comp.workspace import Workspace

LAYOUTS = {
    "folders": "train/<class>/<file>, test/<file>, sample_submission.csv",
    "csv": "train/<file>, test/<file>, train.csv (id,label), sample_submission.csv",
    "array": "train.npz (images, labels), test.npz (images)",
}
_TEMPLATES = PACKAGE / "data" / "competitions" / "scaffolds"


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
    make_folder(folder)
    words = {"{slug}": slug, "{title}": slug.replace("-", " ").capitalize()}
    for source, name in (
        (_TEMPLATES / "README.md.txt", "README.md"),
        (_TEMPLATES / "baseline.toml", "baseline.toml"),
        (_TEMPLATES / layout / "adapter.py.txt", "adapter.py"),
        (_TEMPLATES / layout / "competition.toml", "competition.toml"),
    ):
        text = source.read_text(encoding="utf-8")
        if name != "adapter.py":
            for word, value in words.items():
                text = text.replace(word, value)
        write_text(folder / name, text)
    return folder
