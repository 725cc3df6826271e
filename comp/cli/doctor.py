"""What `comp doctor` finds out about this machine."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from comp import console
from comp._version import __version__
from comp.cli.options import AsJson, WorkspaceDir
from comp.data.competitions.competition import Competition, find_competitions
from comp.data.competitions.raw_folder import raw_or_usual
from comp.errors import CompError
from comp.kaggle.credentials import SETTINGS, Credential, find_credential, readable_by_others
from comp.workspace import Workspace

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "albumentations",
    "kaggle",
    "opencv-python-headless",
    "pandas",
    "scikit-learn",
    "safetensors",
)
LOW_DISK = 5e9


@dataclass(frozen=True)
class Diagnosis:
    """Facts by name, the same as lines, and what does not work."""

    facts: dict[str, Any]
    lines: list[str]
    problems: list[str]


def diagnose(workspace: Workspace) -> Diagnosis:
    """Looks at versions, imports, devices, disk, weights, data and credentials; changes nothing."""
    problems: list[str] = []
    versions = {name: _version(name) for name in PACKAGES}
    problems += [
        f"{name} is not installed: pip install imgcomp" for name, found in versions.items() if found is None
    ]
    problems += _import_problems()
    devices = _devices()
    free = shutil.disk_usage(workspace.root).free
    if free < LOW_DISK:
        problems.append(f"only {free / 1e9:.1f} GB free in {workspace.root}")
    if not os.access(workspace.root, os.W_OK):
        problems.append(f"{workspace.root} is not writable")
    weights = [str(folder) for folder in workspace.weight_folders() if folder.is_dir()]
    known = find_competitions(workspace)
    data = [slug for slug, one in known.competitions.items() if _has_data(one, workspace)]
    credential = find_credential()
    loose = [str(path) for path in readable_by_others()]
    problems += [f"{path} can be read by other users of this machine: chmod 600 {path}" for path in loose]
    facts: dict[str, Any] = {
        "comp": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
        "devices": devices,
        "workspace": str(workspace.root),
        "free_gb": round(free / 1e9, 1),
        "weight_folders": weights,
        "competitions_with_data": data,
        "broken_competitions": [str(one) for one in known.broken],
        "kaggle": {
            "credential": credential.kind if credential else None,
            "source": credential.source if credential else None,
            "passed_over": list(credential.passed_over) if credential else [],
            "readable_by_others": loose,
        },
    }
    lines = [
        f"comp {__version__}, Python {facts['python']}, {facts['system']}, {facts['cores']} cores",
        "packages: " + ", ".join(f"{name} {found or 'MISSING'}" for name, found in versions.items()),
        "devices: " + ", ".join(devices),
        f"workspace: {workspace.root}, {free / 1e9:.1f} GB free",
        "weights: " + (", ".join(weights) or "from timm's hub when they are first needed"),
        "data: " + (", ".join(data) or "none yet"),
        "kaggle: " + _told(credential),
        *(f"not usable: {one}" for one in known.broken),
    ]
    return Diagnosis(facts, lines, problems)


def _has_data(one: Competition, workspace: Workspace) -> bool:
    try:
        return one.has_data(raw_or_usual(one, workspace))
    except CompError:  # a damaged archive: `comp data SLUG` says so
        return False


def _told(credential: Credential | None) -> str:
    """Which credential would be used, and what it goes before; never the secret itself."""
    if credential is None:
        return f"no credential; only `comp submit` and downloads from Kaggle need one ({SETTINGS})"
    over = f"; it goes before {', '.join(credential.passed_over)}" if credential.passed_over else ""
    return f"{credential.described} would be used{over}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _import_problems() -> list[str]:
    problems = []
    for name in ("torch", "torchvision", "timm", "cv2"):
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            hint = (
                "; torch and torchvision come from different builds: reinstall both together with pip"
                if "nms" in reason
                else ""
            )
            problems.append(f"{name} does not import: {reason}{hint}")
    return problems


def _devices() -> list[str]:
    try:
        import torch
    except Exception:  # said among the problems
        return ["cpu"]
    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def doctor(workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """Look for what this machine lacks.

    It shows devices, versions and free disk. The exit code is 1 if something that is needed does not work.
    """
    found = diagnose(Workspace.find(workspace))
    for line in found.lines:
        console.print_result(line)
    for problem in found.problems:
        console.print_result(f"problem: {problem}")
    if json:
        console.print_json({**found.facts, "problems": found.problems})
    if found.problems:
        raise typer.Exit(1)
