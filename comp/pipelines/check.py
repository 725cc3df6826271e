"""From a raw folder to checked folds: what `comp check` does, and what every run does first."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from comp import events
from comp.checks.context import CheckContext, ResultCache, downgrade_allowed, not_applying
from comp.checks.fold_checks import grouped, without_test_copies
from comp.checks.image_index import ImageIndex
from comp.checks.image_scan import scan
from comp.checks.related_images import UNASKED, UP_TO, CloseLook, large_enough
from comp.checks.runner import CheckResult, require_known, run_data_checks, run_fold_checks
from comp.config import whole_number
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.dataset import Dataset, read_dataset
from comp.data.folds import Folds, make_folds
from comp.data.images.pixel_cache import StoreWriter
from comp.data.images.source import Pixels
from comp.data.manifest import Manifest
from comp.data.open_set import require_held_out
from comp.data.postprocess import require_post
from comp.data.several_images import by_image, by_row, has_several, image_folds, image_paths, without_broken
from comp.errors import InputError, shortened
from comp.workspace import Workspace

BARE = {"class-too-small": 'a bare check; a run needs fewer folds or `rare="pool"`'}
NOTHING_ASKED = {
    "template-mismatch": "a bare check; a run needs images to predict"
}  # of a folder that has none


def check(
    slug: str,
    folds: int | str | Path | None = None,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    rare: str | None = None,
    allow: dict[str, str] | None = None,
    thorough: bool | None = None,
    group_scenes: bool = False,
) -> CheckResult:
    """The leakage and sanity check of a competition's raw folder; trains nothing.

    Parameters are those of ``comp.run``; images are only looked at closely where ``thorough`` or ``group_scenes`` asks for
    it, or folds that are given were made so. The result's ``status`` is "pass" or "fail", ``findings`` say why.
    Without ``folds`` it judges 5, and a class too small for them is only a warning.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    return survey(
        competition,
        ws,
        raw,
        folds=parse_folds(5 if folds is None else folds),
        manifest_file=Path(manifest).expanduser() if manifest else None,
        extra_file=Path(extra).expanduser() if extra else None,
        rare=rare,
        allow={**(_bare(competition) if folds is None else {}), **(allow or {})},
        look=CloseLook(thorough, group_scenes),
    )


def _bare(competition: Competition) -> dict[str, str]:
    """What a check without folds lowers to a warning; the template of a folder whose facts were read off it is made from its test
    rows, so that it can only lack them.
    """
    return BARE | (NOTHING_ASKED if "template.file" in competition.facts.unsure else {})


def survey(
    competition: Competition,
    workspace: Workspace,
    raw: Path,
    *,
    folds: int | Path = 5,
    fold_seed: int = 0,
    manifest_file: Path | None = None,
    extra_file: Path | None = None,
    rare: str | None = None,
    allow: dict[str, str] | None = None,
    corrections: Mapping[str, str] | None = None,
    look: CloseLook = UNASKED,
) -> CheckResult:
    """Reads, looks at every image, judges, makes or reads the folds, and judges those.

    Parameters
    ----------
    folds : int or Path
        K, or a CSV of ``id,fold`` made elsewhere.
    rare : "error", "pool" or "spread"
        What becomes of classes with fewer groups than folds: refused, kept in training only, or dealt as far as they go.
        By default what the competition says.
    allow : dict
        Checks to lower, with reasons, on top of the competition's own.
    corrections : mapping
        Labels by id to train with, where ``manifest_file`` has none.
    look : CloseLook
        How closely images are compared; without a word as closely as for folds that are given.

    Raises
    ------
    InputError
        For a raw folder in another layout, K below 2 or above N, or a check name that does not exist.
    """
    look.require_possible()
    if isinstance(folds, int) and folds < 2:
        raise InputError("`folds` takes 2 or more", f"got {folds}", "5 is the usual number")
    rare = rare or competition.facts.folds.rare
    if rare not in RARE:
        raise InputError(
            "`rare` takes error, pool or spread", repr(rare), "pool keeps small classes in training only"
        )
    lowered = {"class-too-small": RARE[rare]} if RARE[rare] else {}
    allowed = {**competition.facts.check.allow, **lowered, **(allow or {})}
    require_known(allowed)
    k = folds if isinstance(folds, int) else 2
    dataset = read_dataset(competition, raw, manifest_file, extra_file, corrections)
    if competition.facts.post.is_asked:
        require_post(competition, dataset.manifest, dataset.labels)
    if k > len(dataset.manifest.train):
        value = f"{k} folds of {len(dataset.manifest.train)} samples"
        raise InputError(
            "there cannot be more folds than samples to hold out", value, "choose a smaller `folds`"
        )
    if isinstance(folds, Path):  # what is wrong with the file itself shows before images are read
        _given_folds(folds, dataset.manifest)
    given = Folds.load(folds) if isinstance(folds, Path) and Folds.is_saved(folds) else None
    context = scan_images(dataset.with_manifest(by_image(dataset.manifest)), workspace, k, look, given)
    findings = run_data_checks(context)
    rows = by_row(without_broken(context.manifest, context.images.failed))
    made = None
    if not any(f.severity == "error" for f in downgrade_allowed(findings, allowed)):
        made = _folds(context, rows, workspace, folds, fold_seed, rare == "pool")
        if context.labels.task.unknown:
            require_held_out(rows, made, context.labels)
        context = replace(context, folds=image_folds(made, context.manifest, rows), k=made.k)
        findings += run_fold_checks(context)
    answered = dataset.with_manifest(rows) if has_several(rows) else None
    return CheckResult(context, made, downgrade_allowed(findings, allowed), allowed, answered)


RARE = {  # what becomes of classes that are too small for the folds, and the reason that it may
    "error": "",
    "pool": 'kept in training only (`rare="pool"`), left out of OOF',
    "spread": 'dealt to as many folds as they have groups (`rare="spread"`)',
}


def scan_images(
    dataset: Dataset,
    workspace: Workspace,
    k: int,
    look: CloseLook = UNASKED,
    given: Folds | None = None,
) -> CheckContext:
    """Looks at every image (or remembers it), and groups the rows that are related; as for the folds that are ``given``,
    where nothing is said on how closely.
    """
    kept = fingerprint_file(workspace, dataset.competition.slug, dataset.raw)
    images = look_at_images(dataset, kept)
    notes = (*dataset.manifest.notes, *images.notes(), *not_applying(dataset.competition))
    manifest = replace(dataset.manifest, notes=notes)
    memory = ResultCache(kept.with_name(f"{kept.name}.json"))
    context = CheckContext(dataset.with_manifest(manifest), k, images, memory=memory)
    context = _looking(context, look, given)
    manifest = context.manifest
    if large_enough(images, images.paths):
        notes = () if context.thorough else (NOT_LOOKED_FOR,)
    else:
        notes = (TOO_SMALL,) if look.thorough or look.scenes else ()
    manifest = replace(manifest, notes=(*manifest.notes, *notes))
    context = replace(context, dataset=dataset.with_manifest(manifest))
    return replace(context, dataset=dataset.with_manifest(grouped(context)), declared=manifest)


def _looking(context: CheckContext, look: CloseLook, given: Folds | None) -> CheckContext:
    """The context with how closely its rows are compared, without extra rows that then show a test image."""

    def looked(thorough: bool, scenes: bool) -> CheckContext:
        return without_test_copies(replace(context, thorough=thorough, group_scenes=scenes))

    large = len(large_enough(context.images, context.images.paths))
    if not large:
        return looked(False, False)
    if look.thorough is not None or look.scenes:
        return looked(bool(look.thorough or look.scenes), look.scenes)
    if given is not None and set(given.ids) <= set(by_row(context.manifest).table["id"]):
        for thorough, scenes in ((False, False), (True, False), (True, True)):
            tried = looked(thorough, scenes)
            if by_row(grouped(tried)).fingerprint("train") == given.fingerprint:
                return tried
    return looked(look.by_itself and large <= UP_TO, False)


TOO_SMALL = "not looked at closely: the images have under 48 pixels a side"
NOT_LOOKED_FOR = (
    "not looked for: copies that were turned by any angle, cropped by half, inverted, bent or partly erased, and images "
    "of one scene (`thorough=True`)"
)


def look_at_images(
    dataset: Dataset, kept: Path | None, keep: Callable[[str, Pixels], None] | None = None
) -> ImageIndex:
    """The fingerprints of every image of a dataset, with a bar; what is decoded for them goes into the pixel store, or to
    ``keep``, with the SHA-256 of its file.
    """
    paths = image_paths(dataset.manifest)
    writer = StoreWriter(len(paths))
    keep = keep or (writer.put if kept is not None else lambda content, pixels: None)
    try:
        with events.task("looking at images", len(paths)) as bar:
            found = scan(dataset.source, dataset.raw, paths, kept, bar.advance, keep)
        writer.finish(set(found.files(paths).values()))
    finally:
        writer.finish(())  # whatever happened, nothing half written stays
    return found


def fingerprint_file(workspace: Workspace, slug: str, raw: Path) -> Path:
    """The folder where the fingerprints of a raw folder are kept: by its place in the workspace, which may travel."""
    place = str(raw.relative_to(workspace.root)) if raw.is_relative_to(workspace.root) else str(raw)
    return workspace.fingerprints / f"{slug}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def _folds(
    context: CheckContext,
    rows: Manifest,
    workspace: Workspace,
    folds: int | Path,
    fold_seed: int,
    pool_rare: bool,
) -> Folds:
    """Folds of the workspace where there are some for these facts, else new ones, kept for the next run."""
    if isinstance(folds, Path):
        return _given_folds(folds, rows)
    sample = "sample-" if context.dataset.is_sample else ""
    ways = {"pool": pool_rare, "thorough": context.thorough, "scenes": context.group_scenes}
    way = "".join(f"-{name}" for name, yes in ways.items() if yes)
    kept = workspace.folds(context.competition.slug) / f"{sample}k{folds}-seed{fold_seed}{way}.csv"
    if kept.is_file() and Folds.is_saved(kept):
        return Folds.load(kept)
    made = make_folds(rows, folds, fold_seed, pool_rare, context.labels.task)
    made.save(kept)
    return made


def _given_folds(path: Path, manifest: Manifest) -> Folds:
    """The folds of a file: of a run, which know the rows that they were made for, or made elsewhere."""
    return Folds.load(path) if Folds.is_saved(path) else Folds.brought(path, manifest)


def parse_folds(folds: int | str | Path) -> int | Path:
    """K, or the path of a fold file."""
    if isinstance(folds, int):
        return folds
    text = str(folds)
    number = whole_number(text)
    if number is not None:
        return number
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # too long for a path, or with a NUL
        pass
    value = f"{shortened(text, 80)!r} is neither"
    raise InputError("`folds` takes a number or a CSV of id,fold", value, "for example `folds=5`")
