"""What a run takes of its machine: CPU, memory and, where there is one, the GPU."""

from __future__ import annotations

import subprocess
from shutil import which

import psutil

_GB = 1e9


def system_values(process: int) -> dict[str, float]:
    """The machine's load now, and the share of ``process`` and those it started: per cents, and gigabytes of memory.
    Empty once it has ended.
    """
    try:
        root = psutil.Process(process)
        family = [root, *root.children(recursive=True)]
        resident = 0
        for one in family:
            try:
                resident += one.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return {}
    memory = psutil.virtual_memory()
    return {
        "system/cpu_percent": float(psutil.cpu_percent(0.1)),
        "system/memory_percent": float(memory.percent),
        "system/run_memory_gb": resident / _GB,
        **_gpu_values(),
    }


def _gpu_values() -> dict[str, float]:
    """Of every NVIDIA GPU that the driver's own program shows; none where it is not there."""
    program = which("nvidia-smi")
    if program is None:
        return {}
    query = ["--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run([program, *query], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values: dict[str, float] = {}
    for line in done.stdout.splitlines():
        parts = [part.strip() for part in line.split(",")]
        try:
            number, load, used = int(parts[0]), float(parts[1]), float(parts[2]) * 2**20 / _GB
        except (ValueError, IndexError):  # "[N/A]" on some machines
            continue
        values |= {f"system/gpu{number}_percent": load, f"system/gpu{number}_memory_gb": used}
    return values
