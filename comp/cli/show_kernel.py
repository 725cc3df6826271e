"""What ``comp kernel`` says: what was written and how large it is, what goes along and what does not, what to do next."""

from __future__ import annotations

from comp import console
from comp.kaggle.kernel.budget import SPARE, Budget
from comp.kaggle.kernel.build import KernelFolder
from comp.kaggle.kernel.rehearsal import Rehearsed
from comp.kaggle.kernel.speed import DEVICES
from comp.runs.marks import in_brackets
from comp.workspace import Workspace


def show_kernel(found: KernelFolder) -> None:
    """Shows a written kernel folder, with the commands to give next, in order."""
    shown = Workspace(found.folder).shown(found.folder)
    size = found.bytes
    wheels = ", ".join(f"{name} {version}" for name, version in found.wheels.items())
    compute = f"on {DEVICES[found.device].title}"
    console.print_result(f"{shown}: notebook {found.id}, private, without internet, {compute}")
    if found.marks:
        console.print_result(f"  run {found.run}{in_brackets(found.marks)}")
    console.print_result(f"  dataset {found.id}: {found.files} files, {told(size['dataset'])}")
    several = f" by {len(found.parts)} parts" if len(found.parts) > 1 else ""
    console.print_result(
        f"    {found.checkpoints} checkpoints of {found.run}{several}, {told(size['checkpoints'])}"
    )
    console.print_result(f"    wheels of {wheels}, {told(size['wheels'])}")
    if found.own_competition:
        console.print_result(
            f"    the folder of {found.slug}: competition.toml, adapter.py and what is beside them"
        )
    console.print_result(
        f"    {found.control_rows} of the competition's train images, to prove the predictions: keep the dataset private"
    )
    console.print_result(
        "  not in it: torch, pandas and whatever else Kaggle's image has; --wheels NAME adds what it lacks"
    )
    if found.budget is not None:
        show_budget(found.budget)
    console.print_result("next, in this order:")
    for command in found.next:
        console.print_result(f"  {command}")
    console.print_result(
        "wait until the dataset is ready before the push, and submit the version that the push names"
    )
    console.print_result(
        f"a dataset that is there already: kaggle datasets version -p {shown}/dataset -m TEXT, instead of create"
    )


def show_budget(budget: Budget) -> None:
    """The table of a notebook's time: each part, what it takes, and whether it fits; what was dropped, in order, and why."""
    rows = [
        (
            one.name,
            one.checkpoints,
            one.views,
            f"{one.seconds:.0f}",
            {"own": "all views", "identity": "one view"}.get(budget.choice.get(one.name, ""), "dropped"),
        )
        for one in budget.members
    ]
    title = f"{budget.rows:,} hidden rows on {budget.device.title}"
    console.table(title, ("part", "checkpoints", "views", "seconds", "fits"), rows, drop=("checkpoints",))
    fits = f"{budget.seconds:.0f} s, with 30 % to spare {budget.seconds * SPARE:.0f}"
    console.print_result(f"  time: {fits} of {budget.limit:.0f} s; measured here, times {budget.factor:.3g}")
    console.print_result(f"  the factor: {budget.device.source}")
    for one in budget.dropped:
        console.print_result(
            f"  dropped, for {budget.whole * SPARE:.0f} s do not fit: {one.in_words(budget.metric)}"
        )
    if budget.dropped:
        scores = f"{budget.score_before:.4f} -> {budget.score:.4f}"
        console.print_result(f"  OOF {budget.metric}: {scores}; weights and decision are learned anew")


def show_rehearsal(ran: Rehearsed) -> None:
    """Shows what a rehearsal came to."""
    decoded = f" ({told(ran.decoded)} decoded)" if ran.decoded else ""
    console.print_result(
        f"rehearsed: {ran.rows:,} hidden rows{decoded} in {ran.seconds:.0f} s, the whole notebook; "
        f"at most {told(ran.memory)} of memory and {told(ran.disk)} of disk"
    )
    console.print_result(
        f"  its CSV is valid; {ran.prior} broken image has the class prior"
        if ran.prior
        else "  its CSV is valid; no image was broken: that is for files of a competition with hidden_test = true"
    )


def told(size: int) -> str:
    """Bytes as people say them."""
    return (
        f"{size / 1e9:.1f} GB"
        if size >= 1e9
        else f"{size / 1e6:.1f} MB"
        if size >= 1e5
        else f"{size / 1e3:.0f} kB"
    )
