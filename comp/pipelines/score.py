"""A submission against labels that the competition publishes or that were held out. Nothing else reads those labels."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.dataset import Template, load_template, read_submission
from comp.data.labels import LabelMap, disorder
from comp.errors import InputError, InvalidSubmission
from comp.files import read_json, write_json
from comp.metrics import answered_counts, one_hot_places
from comp.submission.answers import read_back
from comp.submission.validate import validate
from comp.task_scores import answered_sets
from comp.workspace import Workspace

LOOKS = "looks.json"


@dataclass(frozen=True)
class ClassScore:
    """How one class fared: its rows, those that were found (recall), and precision and F1."""

    name: str
    rows: int
    recall: float
    precision: float
    f1: float


@dataclass(frozen=True, repr=False)
class Score:
    """A submission's score; ``looks`` counts how often this competition's labels were looked at, this time included."""

    slug: str
    metric: str
    direction: str
    score: float
    scale: float
    rows: int
    classes: list[ClassScore]
    looks: int

    def __repr__(self) -> str:
        return f"Score({self.slug!r}, {self.metric} {self.score:.4f} of {self.rows} rows, look {self.looks})"

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp score --json``."""
        return asdict(self)


def score(
    slug: str, csv: str | Path, *, workspace: str | Path | None = None, data: str | Path | None = None
) -> Score:
    """Judges a submission by the labels of the test rows, and writes down that they were looked at.

    Parameters
    ----------
    slug : str
    csv : path
    workspace, data : path, optional
        As for ``comp.run``.

    Raises
    ------
    InputError
        If the competition publishes no labels.
    InvalidSubmission
        If the CSV does not answer the template; that is no look.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    if not competition.adapter.has("answers"):
        where = competition.facts.url or "the competition's page"
        raise InputError(
            "only published labels can be scored against",
            f"{slug} keeps those of its test rows",
            f"submit it at {where}",
        )
    raw = raw_of(competition, ws, data)
    manifest = competition.read(raw)
    labels = competition.label_map(manifest, raw)
    _require_order(competition, labels, raw)
    template = load_template(competition, raw, manifest)
    file = Path(csv).expanduser()
    table = read_submission(file)
    problems = validate(table, template, labels)
    if problems:
        raise InvalidSubmission(
            "a submission must answer its template",
            problems[0].message,
            f"`comp validate {slug} {csv}` says all",
        )
    truth = labels.encode(_answers(competition, raw, template))
    probs = read_back(table, template, labels)
    value = competition.metric(truth, probs)
    looks = _count_look(ws, slug, file, value)
    metric, scale = competition.metric, competition.facts.score_scale
    classes = class_scores(truth, probs, labels)
    return Score(slug, metric.name, metric.direction, value, scale, len(truth), classes, looks)


def _require_order(competition: Competition, labels: LabelMap, raw: Path) -> None:
    """Refuses a metric of order where the order of the classes is not known."""
    metric = competition.metric
    wrong = disorder(metric, labels.names, metric.ordered and competition.states_order(raw))
    if wrong is not None and wrong.grave:
        remedy = "state `classes` in competition.toml, from one end to the other"
        raise InputError("a metric of order needs classes in order", wrong.message, remedy)


def class_scores(truth: NDArray[Any], probs: NDArray[np.float64], labels: LabelMap) -> list[ClassScore]:
    """Recall, precision and F1 of every class, in the order of the label map; 0 where there is nothing to divide by. A
    regression has no classes, and none of these.
    """
    if not labels.task.has_classes:
        return []
    if labels.task.one_class_a_row:
        wide = one_hot_places(probs, len(labels)) if labels.task.is_numeric else probs
        hits, rows, answered = answered_counts(truth, wide)
    else:
        said, there = answered_sets(probs), truth > 0
        hits, rows, answered = (cells.sum(axis=0) for cells in (said & there, there, said))
    shares = [hits / np.maximum(rows, 1), hits / np.maximum(answered, 1)]
    shares.append(2 * hits / np.maximum(rows + answered, 1))
    scores = np.stack(shares, axis=1).tolist()
    return [ClassScore(name, n, *of) for name, n, of in zip(labels, rows.tolist(), scores, strict=True)]


def _answers(competition: Competition, raw: Path, template: Template) -> list[str]:
    """The label of each row of the template, in its order."""
    known = competition.adapter.answers(raw)
    missing = [i for i in template.samples if i not in known]
    if missing:
        raise InputError(
            "every test row needs its label",
            f"{len(missing)} have none, first {missing[0]!r}",
            "correct answers() in adapter.py",
        )
    return [known[i] for i in template.samples]


def _count_look(workspace: Workspace, slug: str, file: Path, value: float) -> int:
    """Writes the look into the ledger folder; how many there are now."""
    ledger = workspace.submissions(slug) / LOOKS
    looks = read_json(ledger) if ledger.is_file() else []
    if not isinstance(looks, list):
        raise InputError("the ledger of looks must be a list", f"{ledger}", "restore it, or move it away")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    looks.append(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "file": str(file),
            "sha256": sha256,
            "score": value,
        }
    )
    write_json(ledger, looks)
    return len(looks)
