"""A written notebook run as Kaggle would run it again: offline, in a fresh environment, on hidden rows, with what goes wrong
there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comp import console, events
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.csv_table import parse_table
from comp.data.dataset import load_template
from comp.errors import CheckFailed, counted
from comp.files import write_json
from comp.kaggle.kernel.build import KernelFolder
from comp.kaggle.kernel.hidden_rows import BROKEN, HiddenRows, listing, read_only, remove, write_hidden
from comp.kaggle.kernel.machine import Machine, Ran
from comp.models.checkpoint import read_sidecar
from comp.runs import run as runs
from comp.runs.parts import parts_of
from comp.submission.validate import validate
from comp.workspace import Workspace

FACTS = "rehearsal.json"
_PRIOR = re.compile(r"^(\d+) rows have no image that can be read", re.MULTILINE)
_FAULTS = "unknown ids, no train folder, input that may not be written to, no network, no GPU"


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal came to: rows and bytes of them decoded, rows that got the class prior, seconds, and the most memory
    and disk in bytes.
    """

    rows: int
    decoded: int
    prior: int
    seconds: float
    memory: int
    disk: int

    def as_json(self) -> dict[str, Any]:
        """The rehearsal of ``comp kernel --json``, and ``rehearsal.json``."""
        return asdict(self)


def rehearse(
    found: KernelFolder, rows: int, workspace: str | Path | None = None, data: str | Path | None = None
) -> Rehearsed:
    """Runs a notebook that was written on ``rows`` hidden rows made of training images, and judges its CSV.

    Raises
    ------
    CheckFailed
        Where the notebook stops, asks the network, writes into its input, or its CSV does not answer the template.
    InputError
        Where no hidden rows can be made.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(found.slug, ws)
    raw = raw_of(competition, ws, data)
    place = Path(tempfile.mkdtemp(prefix="comp-rehearsal-"))
    try:
        inputs = place / "input"
        broken = (
            BROKEN if competition.facts.kaggle.hidden_test else 0
        )  # elsewhere it is an error, as it should be
        hidden = write_hidden(competition, raw, inputs / "competitions" / found.kaggle, rows, broken)
        mount(found, inputs)
        torn = "a broken image, " if hidden.broken else ""
        events.log(f"rehearsal: {counted(hidden.rows, 'hidden row')}; {torn}{_FAULTS}")
        before = read_only(inputs)
        machine = Machine.make(place)
        (book,) = found.folder.glob("*.ipynb")
        with console.waiting("rehearsal") as told:
            ran = machine.run(book, inputs, place / "working", told)
        _require_done(ran)
        if listing(inputs) != before:
            raise CheckFailed("a notebook leaves its input alone", "files of it changed", "please report it")
        prior = _judge(ws, competition, found, inputs / "competitions" / found.kaggle, place, hidden, ran)
        result = Rehearsed(hidden.rows, hidden.decoded, prior, ran.seconds, ran.memory, ran.disk)
        write_json(found.folder / FACTS, result.as_json())
        return result
    finally:
        remove(place)


def mount(found: KernelFolder, inputs: Path) -> None:
    """Puts a dataset where Kaggle mounts it, as its client uploads it: files alone, without its metadata."""
    target = inputs / "datasets" / found.id
    target.mkdir(parents=True)
    for path in found.dataset.iterdir():
        if path.is_file() and path.name != "dataset-metadata.json":
            shutil.copyfile(path, target / path.name)


def _require_done(ran: Ran) -> None:
    """CheckFailed for a notebook that stopped with an error, or asked the network."""
    if ran.code:
        last = [line.strip() for line in ran.text.splitlines() if line.strip()][-12:]
        value = "it was killed" if ran.code < 0 else "\n".join(last) or "it does not say why"
        raise CheckFailed(
            "a notebook must run where Kaggle runs it", value, "correct that, then rehearse again"
        )
    if ran.asked:
        raise CheckFailed("a notebook asks no network", ran.asked[0], "please report it")


def _judge(
    workspace: Workspace,
    competition: Competition,
    found: KernelFolder,
    raw: Path,
    place: Path,
    hidden: HiddenRows,
    ran: Ran,
) -> int:
    """How many rows got the class prior, once the CSV answers its template and those are the broken ones."""
    path = place / "working" / "submission.csv"
    run = runs.find_run(workspace, found.run)
    labels = read_sidecar(parts_of(workspace, run, True)[0].folders[0]).labels
    manifest = competition.read_test(raw)
    template = load_template(competition, raw, manifest)
    problems = validate(parse_table(path.read_bytes(), path.name), template, labels)
    if problems:
        told = "\n".join(f"{one.rule}: {one.message}" for one in problems[:5])
        raise CheckFailed("a notebook's CSV answers its template", told, "please report it")
    said = _PRIOR.search(ran.text)
    prior = int(said[1]) if said else 0
    if prior != len(hidden.broken):
        value = f"{prior} rows got it, {len(hidden.broken)} images are broken"
        raise CheckFailed("a broken image gets the class prior", value, "please report it")
    if os.path.exists(place / "working" / "submission.csv.part"):
        raise CheckFailed("a notebook leaves nothing half written", str(path), "please report it")
    return prior
