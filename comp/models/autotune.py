"""Precision, memory layout and threads by measuring a few steps of this model on this device."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch

from comp import events
from comp.data.device_memory import free_memory, is_out_of_memory
from comp.errors import counted
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.net import Net, freeze_batchnorm
from comp.models.runtime import computes, exact, on_threads, set_flags, wait_for
from comp.recipe import Recipe

Precision = Literal["fp32", "bf16", "fp16"]
Choice = tuple[Precision, bool]
Times = dict[str, float]  # seconds by what was measured
_KEY = re.compile("[0-9a-f]{64}")
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS = 1.5  # a candidate, after one step to warm up
WORTH = 1.15  # times faster: half precision costs accuracy, so it has to bring something
QUICK = 0.1  # seconds; of a shorter step on all threads it is tried whether fewer are faster
FILE = "step-times.json"


def autotune_precision(net: Net, recipe: Recipe, cache: Path, threads_open: bool = False) -> Recipe:
    """The recipe with ``precision`` and ``channels_last`` filled in where they were left open.

    Steps of the recipe's batch (forward only in probe) are timed on made pixels, in fp32 and in the half precision
    of the device, with both memory layouts; the network is left as it was. What was measured is kept in
    ``cache`` and used again for the same model, batch and device, so that two runs on a machine agree.

    Parameters
    ----------
    net : Net
        Of this recipe; copied, not changed.
    recipe : Recipe
        With device and threads resolved.
    cache : Path
        The folder of the kept measurements.
    threads_open : bool
        Train on fewer threads where that is faster: in short steps they mostly wait for each other.
    """
    wanted = _candidates(recipe)
    best, seconds = wanted[0], 0.0
    if len(wanted) > 1:
        times = _measured(net, recipe, cache, wanted)
        best = fastest([(choice, times[_name(choice)]) for choice in wanted if _name(choice) in times])
        seconds = times[_name(best)]
        _say(recipe, _name(best), times)
    recipe = _filled(recipe, best)
    trains = recipe.device == "cpu" and recipe.mode != "probe"
    return _on_fewer(net, recipe, cache) if threads_open and trains and seconds < QUICK else recipe


def _measured(net: Net, recipe: Recipe, cache: Path, wanted: list[Choice]) -> dict[str, float]:
    """Seconds a step of each choice by its name: as remembered, else measured now."""
    key = _key(net, recipe)
    known = _read(cache / FILE)
    if not any(_name(choice) in known.get(key, {}) for choice in wanted):
        with events.task("measuring precision and layout", len(wanted)) as bar:
            times: dict[str, float] = {}
            for choice in wanted:
                times[_name(choice)] = step_seconds(net, recipe, choice, recipe.threads)
                bar.advance()
        free_memory()
        _write(cache / FILE, {**known, key: _finite(times)})
        return times
    return known[key]


def _on_fewer(net: Net, recipe: Recipe, cache: Path) -> Recipe:
    """The recipe on half its threads or a quarter, where steps become faster by it, and by ``WORTH`` in the end; no fewer,
    since as many load images.
    """
    whole = recipe.threads or 1
    choice: Choice = (recipe.precision, bool(recipe.channels_last))  # type: ignore[assignment]
    key = _key(net, recipe)
    known = _read(cache / FILE)
    counts = [count for count in (whole, whole // 2, whole // 4) if count]
    kept = known.get(key, {})
    times = {count: kept[_threads(count)] for count in counts if _threads(count) in kept}
    if whole not in times:
        times = {}
        with events.task("measuring threads", len(counts)) as bar:
            for count in counts:
                times[count] = step_seconds(net, recipe, choice, count)
                bar.advance()
                if times[whole] >= QUICK or times[count] > min(times.values()):
                    break
        free_memory()
        _write(cache / FILE, {**known, key: _finite({_threads(n): seconds for n, seconds in times.items()})})
    best = min(times, key=lambda count: (times[count], count))
    if times[whole] < times[best] * WORTH:
        return recipe
    _say(recipe, _threads(best), {_threads(count): seconds for count, seconds in times.items()})
    return recipe.model_copy(update={"threads": best})


def _say(recipe: Recipe, best: str, times: dict[str, float]) -> None:
    told = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in times.items())
    events.log(f"  {best}: {times[best] * 1000:.0f} ms a step of {_batch(recipe)}, measured ({told})")


def fastest(timed: list[tuple[Choice, float]]) -> Choice:
    """The fastest choice; a half precision only where it beats the best fp32 by ``WORTH``."""
    full = [(seconds, choice) for choice, seconds in timed if choice[0] == "fp32"]
    half = [(seconds, choice) for choice, seconds in timed if choice[0] != "fp32"]
    if not half or (full and min(full)[0] < min(half)[0] * WORTH):
        return min(full)[1]
    return min(half)[1]


def _candidates(recipe: Recipe) -> list[Choice]:
    layouts = [True, False] if recipe.channels_last is None else [recipe.channels_last]
    precisions: list[Precision]
    if recipe.precision != "auto":
        precisions = [recipe.precision]
    elif recipe.device == "cuda":
        precisions = ["fp32", "bf16" if computes("bf16", "cuda") else "fp16"]
    elif recipe.device == "cpu" and recipe.mode != "probe" and computes("bf16", "cpu"):
        precisions = ["fp32", "bf16"]
    else:
        precisions = ["fp32"]
    return [(precision, layout) for precision in precisions for layout in layouts]


def _filled(recipe: Recipe, choice: Choice) -> Recipe:
    return recipe.model_copy(update={"precision": choice[0], "channels_last": choice[1]})


def step_seconds(net: Net, recipe: Recipe, choice: Choice, threads: int | None) -> float:
    """Seconds a step, the median of those that ``SECONDS`` hold; infinite where it does not fit into memory."""
    try:
        return median(step_times(net, recipe, choice, threads)[1:])
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return float("inf")
        raise


def median(times: list[float]) -> float:
    """The middle of some seconds, the longer of two."""
    return sorted(times)[len(times) // 2]


def step_times(
    net: Net,
    recipe: Recipe,
    choice: Choice,
    threads: int | None,
    first: int = 1,
    through: Callable[[Any], Any] = lambda made: made,
    seconds: float = SECONDS,
) -> list[float]:
    """Seconds of each step of a copy of the network, or of what ``through`` makes of it; after the ``first`` ones, which
    warm up, so many as ``seconds`` hold.
    """
    precision, layout = choice
    device, batch = torch.device(recipe.device), _batch(recipe)
    trains = recipe.mode != "probe"
    set_flags(recipe)  # a step is timed as it will run
    with (
        torch.random.fork_rng([]),  # a GPU's generator is seeded before each epoch
        torch.inference_mode(not trains),
        exact(not trains),
        on_threads(threads or torch.get_num_threads()),
    ):
        made = through(_copy(net, recipe, device, layout))
        side, channels = recipe.model.size or 224, recipe.model.channels
        x = torch.zeros((batch, side, side, channels), device=device)
        x = x.permute(0, 3, 1, 2)  # as ``normalise`` gives it
        y = torch.zeros(batch, dtype=torch.int64, device=device)
        found: list[float] = []
        while len(found) <= first or (sum(found[first - 1 :]) < seconds and len(found) < 50):
            found.append(_one_step(made, x, y, precision, trains))
    return found


def _one_step(net: Any, x: torch.Tensor, y: torch.Tensor, precision: Precision, trains: bool) -> float:
    half = _DTYPES.get(precision)
    started = time.perf_counter()
    with torch.autocast(x.device.type, dtype=half) if half else nullcontext():
        loss = torch.nn.functional.cross_entropy(net(x), y)
    if trains:
        loss.backward()  # type: ignore[no-untyped-call]
        net.zero_grad(set_to_none=True)
    wait_for(x.device)
    return time.perf_counter() - started


def _copy(net: Net, recipe: Recipe, device: torch.device, layout: bool) -> Any:
    """A copy of the network as training, or probe, will have it."""
    made = copy.deepcopy(net)
    if layout:
        made = made.to(memory_format=torch.channels_last)
    made.train(recipe.mode != "probe")
    if recipe.model.freeze_bn:
        freeze_batchnorm(made)
        if recipe.mode != "probe" and recipe.fold_norms is not False:
            fuse_frozen_batchnorm(made, recipe.model.size or 224, recipe.model.channels)
    return made.to(device)


def _batch(recipe: Recipe) -> int:
    return 64 if recipe.mode == "probe" else max(2, recipe.batch // recipe.accumulate)


def _name(choice: Choice) -> str:
    return choice[0] + (" channels last" if choice[1] else "")


def _threads(count: int) -> str:
    return counted(count, "thread")


def remembered(net: Net, recipe: Recipe, cache: Path, what: str, measure: Callable[[], Times]) -> Times:
    """The times that ``measure`` gives, or as they were measured for the same model, batch, device and ``what``."""
    key, known = _key(net, recipe, what), _read(cache / FILE)
    if key in known:
        return known[key]
    found = _finite(measure())
    free_memory()
    _write(cache / FILE, {**known, key: found})
    return found


def _key(net: Net, recipe: Recipe, *what: str) -> str:
    """What a measurement holds for: the model's layers, the batch, the device, the threads and torch."""
    device = torch.cuda.get_device_name() if recipe.device == "cuda" else f"{recipe.device} {recipe.threads}"
    device += " deterministic" if recipe.device == "cuda" and recipe.deterministic else ""
    facts = (str(net), recipe.model.size, _batch(recipe), recipe.mode, device, torch.__version__)
    wanted = (recipe.precision, recipe.channels_last, *what)
    return sha256(repr((facts, wanted)).encode()).hexdigest()


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {k: t for k, t in entries if _KEY.fullmatch(k) and isinstance(t, dict) and _are_times(t)}


def _are_times(times: dict[str, Any]) -> bool:
    return all(isinstance(t, float) and t > 0 and isfinite(t) for t in times.values())


def _finite(times: dict[str, float]) -> dict[str, float]:
    """Without what did not fit into memory."""
    return {name: seconds for name, seconds in times.items() if isfinite(seconds)}


def _write(path: Path, known: dict[str, dict[str, float]]) -> None:
    from comp.errors import InputError
    from comp.files import make_folder, write_json

    try:
        make_folder(path.parent)
        write_json(path, known)
    except (InputError, OSError):  # a cache that cannot be written costs seconds, not the run
        return
