"""A proposed manifest: what `comp check --fix` would do about its findings, row by row, with the reason."""

from __future__ import annotations

from comp.checks.context import CheckContext
from comp.checks.fold_checks import parent_name
from comp.data.manifest import as_written


def proposed(context: CheckContext) -> str:
    """The manifest as CSV with the columns ``action`` and ``why``.

    ``drop``: the image is missing or unreadable, or it repeats a labelled image pixel by pixel under the same
    label (the first by path that is not named a copy stays), or it is a labelled copy of a test row. ``group``:
    it shows the image of another row, so that both share a fold. ``look``: one image under different labels;
    a person must decide. ``keep``: everything else. Raw files are never touched; `manifest=FILE` uses the
    proposal, without its dropped rows.
    """
    table = context.manifest.table.copy()
    table["action"], table["why"] = "keep", ""
    labelled = {
        p: label
        for p, label, s in zip(table["path"], table["label"], table["split"], strict=True)
        if s != "test"
    }
    decided: dict[str, tuple[str, str]] = {}
    for cluster in context.alike:
        related = [path for path in cluster if path in labelled]
        test = [path for path in cluster if path not in labelled]
        if len({labelled[path] for path in related}) > 1:
            why = "the image has other labels too: " + ", ".join(sorted({labelled[path] for path in related}))
            decided.update((path, ("look", why)) for path in related)
        elif test:
            decided.update((path, ("drop", f"a copy of the test row {test[0]}")) for path in related)
        elif len(related) > 1:
            decided.update((path, ("group", f"shows the image of {related[0]}")) for path in related)
    for cluster in context.exact:
        related = sorted(
            (path for path in cluster if path in labelled),
            key=lambda path: (parent_name(path) is not None, path),
        )
        for path in related[1:]:
            if decided.get(path, ("group",))[0] == "group":
                decided[path] = ("drop", f"the same pixels as {related[0]}")
    for path, error in context.images.failed.items():
        decided[path] = ("drop" if path in labelled else "look", error)
    table["action"] = [decided.get(path, ("keep", ""))[0] for path in table["path"]]
    table["why"] = [decided.get(path, ("keep", ""))[1] for path in table["path"]]
    return str(as_written(table).to_csv(index=False, lineterminator="\n"))
