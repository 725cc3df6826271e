"""The machine and the versions that a run is computed with, in words."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from comp._version import __version__


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
