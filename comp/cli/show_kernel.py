"""What ``comp kernel`` says: what was written and how large it is, what goes along and what does not, what to do next."""

from __future__ import annotations

from comp import console
from comp.kaggle.kernel.build import KernelFolder
from comp.workspace import Workspace


def show_kernel(found: KernelFolder) -> None:
    """Shows a written kernel folder, with the commands to give next, in order."""
    shown = Workspace(found.folder).shown(found.folder)
    size = found.bytes
    wheels = ", ".join(f"{name} {version}" for name, version in found.wheels.items())
    compute = "with a GPU" if found.gpu else "on the CPU"
    console.answer(f"{shown}: notebook {found.id}, private, without internet, {compute}")
    if found.marks:
        console.answer(f"  run {found.run} is no full run ({', '.join(found.marks)})")
    console.answer(f"  dataset {found.id}: {found.files} files, {told(size['dataset'])}")
    console.answer(f"    {found.checkpoints} checkpoints of {found.run}, {told(size['checkpoints'])}")
    console.answer(f"    wheels of {wheels}, {told(size['wheels'])}")
    if found.own_competition:
        console.answer(
            f"    the folder of {found.slug}: competition.toml, adapter.py and what is beside them"
        )
    console.answer(
        f"    {found.control_rows} of the competition's train images, to prove the predictions: keep the dataset private"
    )
    console.answer(
        "  not in it: torch, pandas and whatever else Kaggle's image has; --wheels NAME adds what it lacks"
    )
    console.answer("next, in this order:")
    for command in found.next:
        console.answer(f"  {command}")
    console.answer(
        "wait until the dataset is ready before the push, and submit the version that the push names"
    )
    console.answer(
        f"a dataset that is there already: kaggle datasets version -p {shown}/dataset -m TEXT, instead of create"
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
