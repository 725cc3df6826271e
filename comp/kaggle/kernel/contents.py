"""What a notebook predicts with: the parts of a run, their views, and what is learned of them; all of it, or what fits into
the notebook's time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from comp.data.competitions.competition import Competition
from comp.data.predictions import Predictions, average
from comp.ensembling.aligned import LabelledPredictions, align
from comp.ensembling.decisions import decision_of
from comp.ensembling.learned_again import BlendRows, blend_rows, judged_rows, learned_again, posted
from comp.ensembling.members import Member as OofOf
from comp.ensembling.members import joined_manifest, nested_folds, read_parts
from comp.ensembling.nested_cv import BlendSpec, FittedBlend, learn_all, nested
from comp.errors import InputError
from comp.kaggle.kernel import budget as budgets
from comp.kaggle.kernel.budget import IDENTITY, OWN, Budget, Choice, Member
from comp.kaggle.kernel.speed import Device, cost_of, factor
from comp.runs import run as runs
from comp.runs.contents import fold_checkpoints, recipe_of, require_of_fold, with_chosen_views
from comp.runs.parts import Part, parts_of
from comp.workspace import Workspace

ALONE = "identity_view"  # what folds call their OOF rows under the identity view


@dataclass(frozen=True, eq=False)
class Contents:
    """``parts`` are the checkpoints that predict, ``id`` the run that the notebook asks; ``views`` those of parts that lost
    theirs. ``blends`` are what blends learned, by the id of their run, with the names of their parts.
    """

    id: str
    parts: list[Part]
    views: dict[str, list[str]] = field(default_factory=dict)
    blends: dict[str, tuple[runs.Run, list[str], FittedBlend]] = field(default_factory=dict)
    budget: Budget | None = None


def whole(workspace: Workspace, run: runs.Run, partial: bool) -> Contents:
    """All that a run, or a blend, predicts with.

    Raises
    ------
    InputError
        Where there are no checkpoints, or a blend is of other parts than it was made of.
    """
    parts = parts_of(workspace, run, partial)
    if not parts:
        raise InputError("a notebook predicts with checkpoints", f"{run.id} has none", "name another run")
    blends: dict[str, tuple[runs.Run, list[str], FittedBlend]] = {}
    _add_blends(workspace, run, blends)
    return Contents(run.id, parts, blends=blends)


def _add_blends(
    workspace: Workspace, run: runs.Run, into: dict[str, tuple[runs.Run, list[str], FittedBlend]]
) -> None:
    """A blend and the blends among its parts; nothing for a run that is none."""
    if run.started.get("mode") != runs.ENSEMBLE:
        return
    for name in run.started["parts"]:
        _add_blends(workspace, runs.find_run(workspace, name.partition("/")[0]), into)
    into[run.id] = (run, list(run.started["parts"]), learned_again(workspace, run))


def fitting(
    workspace: Workspace,
    run: runs.Run,
    all_of_it: Contents,
    competition: Competition,
    device: Device,
    limit: float,
) -> Contents:
    """What of ``all_of_it`` fits into ``limit`` seconds on a device, with its budget.

    Raises
    ------
    InputError
        Where nothing does.
    """
    rows = competition.facts.kaggle.hidden_rows or 0
    seen = _AsSeen(workspace, run, competition, all_of_it) if run.record and not run.refit else None
    by = factor(device)
    members, decode = [], 0.0
    for name, parts in seen.leaves.items() if seen else [(run.id, all_of_it.parts)]:
        member, looks = _member(name, parts, seen, rows, by)
        members.append(member)
        decode = max(decode, looks * rows / device.cores)
    score = seen.score if seen else lambda choice: float("nan")
    facts = (limit, decode, device.gpus)
    choice, dropped = budgets.choose(members, score, *facts, competition.metric.direction)
    own = {one.name: OWN for one in members}
    found = Budget(
        device=device,
        factor=by,
        rows=rows,
        limit=limit,
        decode=decode,
        whole=budgets.total(members, own, decode, device.gpus),
        seconds=budgets.total(members, choice, decode, device.gpus),
        members=tuple(members),
        choice=choice,
        dropped=tuple(dropped),
        score_before=score(own),
        score=score(choice),
        metric=competition.metric.name,
    )
    if seen is None or not dropped:
        return replace(all_of_it, budget=found)
    return _cut(run, all_of_it, seen, found)


def _member(name: str, parts: list[Part], seen: _AsSeen | None, rows: int, by: float) -> tuple[Member, float]:
    """A part with its seconds of all rows on a device, and what one image costs a core here to decode."""
    costs = []
    views = 1
    for part in parts:
        chosen = with_chosen_views(recipe_of(part.run), part.run).views
        costs.append(cost_of(part, chosen))
        views = max(views, len(set(chosen)))
    seconds = rows * by * sum(cost.network for cost in costs)
    known = views > 1 and seen is not None and seen.knows_identity(name)
    identity = rows * by * sum(cost.identity for cost in costs) if known else None
    checkpoints = sum(len(part.folders) for part in parts)
    return Member(name, seconds, identity, checkpoints, views), max(cost.decode for cost in costs)


class _AsSeen:
    """The OOF rows of a run's or blend's parts under any choice of parts and views, and what it scores and learns there."""

    def __init__(
        self, workspace: Workspace, run: runs.Run, competition: Competition, all_of_it: Contents
    ) -> None:
        self._competition = competition
        self.blend = _rows_of(workspace, run, competition)
        self.leaves: dict[str, list[Part]] = {}
        by_name = {part.name: part for part in all_of_it.parts}
        for member in self.blend.parts:
            self.leaves[member.name] = _leaves(workspace, member, by_name)
        self._identity: dict[str, OofOf | None] = {}
        self._scores: dict[tuple[tuple[str, str], ...], float] = {}

    def knows_identity(self, name: str) -> bool:
        """Whether the OOF rows of a part are kept under the identity view alone too."""
        return self._alone(name) is not None

    def _alone(self, name: str) -> OofOf | None:
        if name not in self._identity:
            member = next(one for one in self.blend.parts if one.name == name)
            parts = self.leaves[name]
            found = _identity_oof(parts[0], member) if len(parts) == 1 else None
            self._identity[name] = None if found is None else posted(found, self._competition)
        return self._identity[name]

    def rows(self, choice: Choice) -> LabelledPredictions:
        """The OOF rows of the chosen parts."""
        chosen = []
        for one in self.blend.parts:
            if one.name in choice:
                alone = self._alone(one.name) if choice[one.name] == IDENTITY else None
                chosen.append(alone or one)
        folds = dict(zip(self.blend.rows.aligned.ids, self.blend.rows.fold.tolist(), strict=True))
        return relabelled(chosen, self.blend.rows, folds)

    def score(self, choice: Choice) -> float:
        """The nested score of what would be learned of this choice."""
        key = tuple(sorted(choice.items()))
        if key not in self._scores:
            rows, spec = self.rows(choice), self.blend.spec
            self._scores[key] = spec.metric(rows.truth, nested(spec, rows))
        return self._scores[key]

    def learned(self, choice: Choice) -> FittedBlend:
        """What answers the hidden rows with this choice, learned on all OOF rows."""
        return learn_all(self.blend.spec, self.rows(choice))


def relabelled(
    parts: Sequence[OofOf], like: LabelledPredictions, folds: dict[str, int]
) -> LabelledPredictions:
    """The OOF rows of these parts with the truth, folds and groups of ``like``."""
    aligned = align({part.name: replace(part.oof, fingerprint="") for part in parts})
    place = {name: n for n, name in enumerate(like.aligned.ids)}
    order = [place[name] for name in aligned.ids]
    fold = np.array([folds[name] for name in aligned.ids], dtype=np.int64)
    return LabelledPredictions(aligned, like.truth[order], fold, tuple(like.group[n] for n in order))


def _rows_of(workspace: Workspace, run: runs.Run, competition: Competition) -> BlendRows:
    """What a blend was learned on; of a run the models that it is the mean of, with the temperature and the rule that it has."""
    if run.started.get("mode") == runs.ENSEMBLE:
        return blend_rows(workspace, run)
    chosen = read_parts(workspace, [run.id])
    manifest = joined_manifest(chosen)
    rows = judged_rows(
        [posted(part, competition) for part in chosen], manifest, nested_folds(chosen, manifest)
    )
    decision = decision_of(run, rows.aligned.labels)
    spec = BlendSpec(
        "mean",
        competition.metric,
        calibrate=decision.temperature is not None,
        decide=bool(decision.values),
    )
    return BlendRows(chosen, manifest, rows, spec)


def _leaves(workspace: Workspace, member: OofOf, known: dict[str, Part]) -> list[Part]:
    """The checkpoints of a part: its own, or those of the blend that it is."""
    if member.name in known:
        return [known[member.name]]
    if member.run.started.get("mode") == runs.ENSEMBLE:
        return parts_of(workspace, member.run, False)
    model = member.name.partition("/")[2]
    return [Part(member.name, member.run, model, fold_checkpoints(member.run, False, model), False)]


def _identity_oof(part: Part, member: OofOf) -> OofOf | None:
    """A part with its OOF rows under the identity view, as its folds keep them; None where they do not."""
    by_model: dict[str, list[Predictions]] = {}
    for folder in part.folders:
        try:
            require_of_fold(folder, [f"oof-{ALONE}.npz"])
            found = Predictions.load(folder / f"oof-{ALONE}.npz")
        except InputError:
            return None
        by_model.setdefault(str(folder.parent), []).append(found)
    joined = [
        Predictions(
            tuple(i for one in folds for i in one.ids),
            folds[0].labels,
            np.concatenate([one.probs for one in folds]),
        )
        for folds in by_model.values()
    ]
    if any(set(one.ids) < set(member.oof.ids) for one in joined):
        return None
    return replace(member, oof=average(joined).select(member.oof.ids))


def _cut(run: runs.Run, all_of_it: Contents, seen: _AsSeen, found: Budget) -> Contents:
    """The parts that fit as a blend of its own, learned anew on their OOF rows."""
    names = sorted(found.choice)
    kept = [part for name in names for part in seen.leaves[name]]
    short = [part for name in names if found.choice[name] == IDENTITY for part in seen.leaves[name]]
    told = hashlib.sha256(repr(sorted(found.choice.items())).encode()).hexdigest()
    own = f"{run.id[:-4]}{told[:4]}"  # an id like a run's: the runs keep theirs
    taken = {part.run.id for part in kept}
    own = own if own not in taken else f"{run.id[:-4]}{told[4:8]}"
    inner = {id_: blend for id_, blend in all_of_it.blends.items() if id_ != run.id and id_ in names}
    return Contents(
        own,
        kept,
        {part.name: ["identity"] for part in short},
        {**inner, own: (run, names, seen.learned(found.choice))},
        found,
    )
