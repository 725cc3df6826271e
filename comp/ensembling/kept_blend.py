"""A learned blend as a file, so that it answers elsewhere without the rows that it was learned on: ``learned.npz``."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.ensembling.decisions import Decision
from comp.ensembling.methods import APPLIES, blend_of
from comp.ensembling.nested_cv import FittedBlend
from comp.errors import InputError
from comp.files import atomic

LEARNED = "learned.npz"
_STATE = "state."


def save_blend(learned: FittedBlend, path: Path) -> None:
    """Writes a blend as arrays (float64, every bit kept) and a JSON text of its names; no pickles.

    Raises
    ------
    InputError
        For a method that does not say what it learned.
    """
    blend, rule = learned.blend, learned.rule
    if blend.state is None or blend.method not in APPLIES:
        value = f"{blend.method} does not say what it learned"
        raise InputError(
            "a blend is carried by what it learned", value, f"blend by one of {', '.join(APPLIES)}"
        )
    told = {
        "method": blend.method,
        "names": blend.names,
        "classes": blend.labels.names,
        "task": blend.labels.task.as_json(),
        "temperature": learned.temperature,
        "rule": rule.as_json(),
    }
    arrays = {f"{_STATE}{name}": values for name, values in blend.state.items()}
    for name, values in (("weights", blend.weights), ("factors", learned.factors)):
        if values is not None:
            arrays[name] = values
    meta = np.frombuffer(json.dumps(told).encode("utf-8", "surrogatepass"), dtype=np.uint8)
    with atomic(path) as part, part.open("wb") as out:
        np.savez(out, meta=meta, **arrays)  # type: ignore[arg-type]


def load_blend(path: Path) -> FittedBlend:
    """What ``save_blend`` wrote: it gives the same answers, bit for bit.

    Raises
    ------
    InputError
        Where the file is missing, torn, or of a method that is not there.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            told = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
            arrays = {name: stored[name].astype(np.float64) for name in stored.files if name != "meta"}
        labels = LabelMap(told["classes"], Task.of_json(told["task"]))
        state = {name.removeprefix(_STATE): a for name, a in arrays.items() if name.startswith(_STATE)}
        weights = arrays.get("weights")
        blend = blend_of(told["method"], tuple(told["names"]), labels, weights, state)
        rule = Decision.of_json(told["rule"], labels)
        return FittedBlend(blend, told["temperature"], arrays.get("factors"), rule)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        remedy = "write the notebook's folder again: `comp kernel`"
        raise InputError("a carried blend must be readable", f"{path}: {error}", remedy) from error
