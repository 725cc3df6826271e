"""The machine that a run was computed on, and the table of what was answered for what."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comp._version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comp.data.labels import LabelMap


MOST_SQUARE = 1000  # classes that a square table shows
PAIRS = "true class"  # heads the first column where pairs are listed


def machine(device: str = "cpu") -> str:
    """The kind of this machine, with its GPU where that is the device that is used."""
    here = f"{platform.system()} {platform.machine()}"
    if device != "cuda":
        return here
    import torch

    # a merged run's recipe may name a device of other machines
    return f"{here}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else here


def what_differs(began: Mapping[str, Any], device: str) -> list[str]:
    """In which versions and on what machine a run of this ``started.json`` began, where it goes on otherwise."""
    import torch

    now = {"comp": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    then = began.get("versions", {})
    lines = [
        f"{name} {then[name]}, now {now[name]}" for name in now if then.get(name, now[name]) != now[name]
    ]
    here = machine(device)
    there = began.get("machine") or here
    return lines if there == here else [*lines, f"{there}, now {here}"]


def confusion_csv(labels: LabelMap, truth: NDArray[Any], probs: NDArray[np.float64]) -> str:
    """What was answered for what, as CSV: of one class a row a line for each true class and a column for each answer, of
    more than MOST_SQUARE classes a line for each pair that occurs; of several labels how often each is there, answered and right; of numbers their means and errors.
    """
    import numpy as np

    from comp.metrics import confusion, one_hot_places
    from comp.task_scores import answered_sets, likeliest

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if labels.task.one_class_a_row:
        wide = one_hot_places(probs, len(labels)) if labels.task.is_numeric else probs
        if len(labels) > MOST_SQUARE:
            pairs, counts = np.unique(np.stack([truth, likeliest(wide)]), axis=1, return_counts=True)
            writer.writerow([PAIRS, "answer", "rows"])
            writer.writerows(
                (labels.names[t], labels.names[a], n)
                for t, a, n in zip(*pairs.tolist(), counts.tolist(), strict=True)
            )
            return out.getvalue()
        counts = confusion(truth, wide)
        writer.writerow(["truth", *labels.names])
        writer.writerows([name, *row] for name, row in zip(labels.names, counts.tolist(), strict=True))
        return out.getvalue()
    if labels.task.has_classes:
        said, there = answered_sets(probs), truth > 0
        columns = [cells.sum(axis=0).tolist() for cells in (there, said, said & there)]
        writer.writerow(["class", "rows", "answered", "right"])
    else:
        apart = probs - truth
        columns = [
            truth.mean(axis=0).tolist(),
            probs.mean(axis=0).tolist(),
            np.sqrt((apart**2).mean(axis=0)).tolist(),
            np.abs(apart).mean(axis=0).tolist(),
        ]
        writer.writerow(["column", "mean", "mean_answer", "rmse", "mae"])
    writer.writerows([name, *row] for name, *row in zip(labels.names, *columns, strict=True))
    return out.getvalue()
