"""A made-up sample of a competition, and the mark that says it is one."""

from __future__ import annotations

import shutil
from pathlib import Path

from comp.data.competitions.competition import Competition
from comp.errors import InputError
from comp.files import make_folder, write_text

SAMPLE_MARK = ".comp-sample"


def write_sample(competition: Competition, raw: Path, seed: int = 0) -> None:
    """Writes the adapter's made-up raw folder and marks it as made up.

    Raises
    ------
    InputError
        If something is there already: real data is never mixed with made-up files.
    """
    if raw.is_dir() and any(raw.iterdir()):
        raise InputError(
            "a sample needs an empty folder", f"{raw} holds files", "name another with `data=DIR`"
        )
    make_folder(raw)
    try:
        competition.adapter.sample(raw, seed)
    except BaseException:
        for half in raw.iterdir():  # the folder was empty: all of it is the sample's
            shutil.rmtree(half) if half.is_dir() and not half.is_symlink() else half.unlink()
        raise
    write_text(raw / SAMPLE_MARK, "made up by `comp data --sample`\n")
