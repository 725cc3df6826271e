"""Which file is to be submitted, and everything that is looked at before it leaves the machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comp import console, events
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.csv_table import Table, parse_table
from comp.data.dataset import Template, load_template, read_submission
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.errors import CheckFailed, InputError, InvalidSubmission, Refusal, UnknownName
from comp.files import read_json, write_bytes
from comp.runs import run as runs
from comp.runs.contents import findings_of, manifest_of, numbers_of, require_fold
from comp.runs.marks import in_brackets
from comp.runs.run import Run
from comp.runs.submissions import require_its_own, run_that_wrote, warn_of_another_content
from comp.submission.validate import Problem, validate
from comp.workspace import Workspace

SHOWN = 20
ALLOWED = ("control-rows", "stale-folds")  # checks that --allow lets pass here


@dataclass(frozen=True)
class PreparedSubmission:
    """A submission that answers its template; ``content`` are the bytes that were looked at, and that are sent."""

    file: Path
    content: bytes
    rows: int
    run: Run | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oof(self) -> float | None:
        return None if self.run is None else oof_of(self.run)


def oof_of(run: Run) -> float | None:
    """A run's OOF score, also that of a run with some folds, or None."""
    kept = run.record or partial_record(run)
    score = kept.get("oof", {}).get("score")
    return None if score is None else float(score)


def partial_record(run: Run) -> dict[str, Any]:
    """What a run with some of its folds came to; of a run of an older version, as its ledger file says."""
    if run.partial or run.is_proven:
        return run.partial
    path = run.folder.parent.parent / "submissions" / run.slug / f"{run.id}.json"
    found = read_json(path) if path.is_file() else {}
    fine = isinstance(found, dict) and isinstance(found.get("oof"), dict)
    return found if fine and isinstance(found["oof"].get("score"), float | int) else {}


def marks_of(run: Run) -> list[str]:
    """Why a run is no full one."""
    return [*run.gaps, *([] if run.record else ["partial"])]


def choose(
    workspace: Workspace, slug: str, run: str | None, file: str | Path | None, yes: bool
) -> tuple[Path, Run | None]:
    """The CSV to submit and its run: the named ones, else the newest full run on real data, once that is confirmed.

    Raises
    ------
    InputError, Refusal
        If there is none, it is another competition's, or nobody says yes.
    """
    if file is not None:
        if run is not None:
            raise InputError(
                "a submission is named by `run` or `file`", "both were given", "name one of them"
            )
        path = Path(file).expanduser()
        content = read_submission_bytes(path)
        warn_of_another_content(workspace, path, content)
        return path, run_that_wrote(workspace, slug, content)
    if run is not None:
        newest = runs.sound_runs(workspace, slug)[:1] if run == "latest" else []
        one = newest[0] if newest else runs.find_run(workspace, run)
        if one.slug != slug:
            value = f"{one.id} is a run of {one.slug}"
            raise InputError(
                "a run is submitted to its own competition", value, f"`comp submit {one.slug} --run {one.id}`"
            )
    else:
        full = [r for r in runs.sound_runs(workspace, slug) if r.record and not r.gaps]
        if not full:
            value = f"no full run on real data of {slug} is in {workspace.runs}"
            raise InputError(
                "there must be a run to submit", value, f"`comp run {slug}`, or name one with `run`"
            )
        one = full[0]
        score = oof_of(one)
        shown = "undefined" if score is None else f"{score:.4f}"
        scored = f"OOF {one.record.get('metric')} {shown}{in_brackets(one.marks)}"
        if one.refit:
            scored = f"a refit of {one.refit}, without a score of its own"
        told = f"run {one.id}, {one.started.get('model')}, {scored}"
        require_yes(
            f"submit the newest full run: {told}?", yes, f"name it with `run={one.id!r}`, or say `yes=True`"
        )
    return workspace.submissions(slug) / f"{one.id}.csv", one


def require_yes(question: str, yes: bool, remedy: str) -> None:
    """Asks, unless ``yes`` was said already; Refusal without a yes, naming the option where there is nobody to ask."""
    if yes:
        events.log(f"{question} yes")
        return
    said = console.confirm(question)
    if not said:
        value = "the answer was no" if said is False else "there is no terminal to ask at"
        raise Refusal(question.rstrip("?"), value, remedy)


def make_ready(
    workspace: Workspace,
    competition: Competition,
    path: Path,
    run: Run | None,
    data: str | Path | None,
    allow: dict[str, str],
) -> PreparedSubmission:
    """The submission, once it answers its template and its run has proved itself.

    Raises
    ------
    InvalidSubmission
        With everything that is wrong with it.
    CheckFailed
        If the run wrote another submission, did not pass its checks, lacks its control rows, or was made from other
        rows than there are now.
    InputError
        If a file of its proof is not as the run wrote it.
    """
    unknown = [name for name in allow if name not in ALLOWED]
    if unknown:
        raise UnknownName("check of a submission", unknown[0], ALLOWED, '`allow={"CHECK": "REASON"}`')
    content = read_submission_bytes(path)
    if data is not None or run is None:
        raw = raw_of(competition, workspace, data)
    else:
        raw = runs.raw_folder(run, workspace)
    manifest = competition.read(raw)
    labels = competition.label_map(manifest, raw)
    template = load_template(competition, raw, manifest)
    table = parse_table(content, path.name)
    problems = validate(table, template, labels)
    turned = [p.rule for p in problems] == ["order"] and competition.facts.pairs == "filename"
    if problems and not turned:
        raise InvalidSubmission(
            "a submission must answer its template", _told(problems), _remedy(competition, problems, path)
        )
    if run is not None:
        require_its_own(run, path, content)
    if turned:
        path, content = _in_order(path, table, template, labels)
        events.log(
            f"rows stood in another order than the template's: written in its order as {workspace.shown(path)}"
        )
    if run is not None:
        require_sound(run, manifest, allow)
    return PreparedSubmission(path, content, len(table), run)


def require_proven(run: Run, yes: bool) -> None:
    """Asks before a run of an older version is submitted, that does not know the SHA-256 of what it wrote."""
    if not run.is_proven:
        question = f"run {run.id} is of an older version and cannot prove its files: submit it all the same?"
        require_yes(question, yes, f"say `yes=True`, or train it again: `comp run {run.slug}`")


def require_sound(run: Run, manifest: Manifest, allow: dict[str, str]) -> None:
    """Looks at what a run recorded of its checks and control rows, and whether its train rows are still those."""
    found = findings_of(run) if run.has("findings.json") or run.is_proven else []
    errors = [f for f in found if f["severity"] == "error" and f["check"] not in allow]
    if errors:
        raise CheckFailed(
            "a run is submitted once its checks pass",
            f"{errors[0]['check']}: {errors[0]['message']}",
            errors[0]["remedy"],
        )
    if run.started.get("mode") not in (runs.IMPORTED, runs.ENSEMBLE):
        _require_folds(run, "control-rows" in allow)
    stale = _stale(run, manifest)
    if stale and "stale-folds" not in allow:
        remedy = 'train again, restore the data, or say `allow={"stale-folds": "REASON"}` (a run with a manifest of its own, say)'
        raise CheckFailed("a run is of the rows there are", f"stale-folds: {stale}", remedy)


def _require_folds(run: Run, allowed: bool) -> None:
    """Refuses a trained run without its folds, or with folds whose control rows prove nothing."""
    trained = [path.parent for path in sorted(run.folder.rglob(runs.RESULT))]
    names = {(folder / runs.RESULT).relative_to(run.folder).as_posix() for folder in trained}
    gone = sorted(name for name in run.files if name.endswith(f"/{runs.RESULT}") and name not in names)
    few = bool(run.record) and len(trained) < len(numbers_of(run))
    if gone or few or not trained:
        value = f"{run.id} lacks {', '.join(gone) or ('folds' if trained else 'every fold')}"
        raise CheckFailed("a run is submitted with its folds", value, "restore its folder, or train it again")
    for folder in trained:
        require_fold(run, folder)
    bare = [str(f.relative_to(run.folder)) for f in trained if not (f / "control.json").is_file()]
    if allowed:
        return
    if bare:
        value = f"control-rows: {run.id} has none of {', '.join(bare)}"
        raise CheckFailed(
            "a run's predictions prove themselves",
            value,
            f'`comp predict {run.id}`, or `allow={{"control-rows": "REASON"}}`',
        )
    for folder in trained:
        from comp.inference.predict import control_table  # torch: only where a submission is prepared

        control_table(folder)


def read_submission_bytes(path: Path) -> bytes:
    """The bytes of a submission; the same error as for every command that reads one."""
    read_submission(path)
    return path.read_bytes()


def _stale(run: Run, manifest: Manifest) -> str:
    """How a run's train rows differ from those there are now, in ids and labels; empty where they do not."""
    if not run.is_proven and not (run.folder / "manifest.csv").is_file():
        return ""
    then = manifest_of(run).train
    before = dict(zip(then["id"], then["label"], strict=True))
    now = dict(zip(manifest.train["id"], manifest.train["label"], strict=True))
    came, went = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    changed = sum(before[i] != now[i] for i in before.keys() & now.keys())
    if not came and not went and not changed:
        return ""
    return f"since {run.id}, {came} train rows came, {went} went and {changed} labels changed"


def _in_order(path: Path, table: Table, template: Template, labels: LabelMap) -> tuple[Path, bytes]:
    """The rows in the template's order, in a file beside the given one."""
    place = table.header.index(template.id_column)
    rows = {row[place]: list(row) for row in table.rows}
    text = replace(table, name=path.name).text([rows[i] for i in template.ids])
    content = text.encode(table.encoding)
    left = validate(parse_table(content, path.name), template, labels)
    if left:
        raise InvalidSubmission("a submission must answer its template", _told(left), "put the rows in order")
    ordered = path.with_name(f"{path.stem}-ordered{path.suffix}")
    write_bytes(ordered, content)
    return ordered, content


def _told(problems: list[Problem]) -> str:
    return "\n".join(f"{p.rule}: {p.message}" for p in problems[:SHOWN])


def _remedy(competition: Competition, problems: list[Problem], path: Path) -> str:
    order = any(p.rule == "order" for p in problems)
    if order and competition.facts.pairs == "position":
        return "rows of this competition go by position, so nothing here can know what is meant: restore the file"
    return f"correct it; `comp validate {competition.slug} {path}` says the same. Nothing was uploaded"


def found(slug: str, workspace: str | Path | None) -> tuple[Workspace, Competition]:
    """The workspace and the competition of a slug."""
    ws = Workspace.find(workspace)
    return ws, find_competition(slug, ws)
