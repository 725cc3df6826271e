"""What `comp run --preset` promises against what it does: the time of its dry run, its limit, its first submission, its score.

    python benchmarks/presets.py SLUG [--data DIR] [--preset fast] [--limit 4m ...] [--set KEY=VALUE ...] [--json]

Each limit (none, if it is left out) is a dry run and a run, one after the other, in a workspace of their own; the dry run has looked at the images, so
the run finds what it kept. `over` is by how much a run took longer than its limit; `first` when its first submission was there.
Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comp.training.time_limit import parse_seconds


def command(
    workspace: Path, asked: argparse.Namespace, limit: str | None, *more: str
) -> tuple[dict[str, Any], float]:
    """The document of a command, and the seconds that it took, the start of its process among them."""
    words = [
        sys.executable,
        "-m",
        "comp.cli.main",
        "run",
        asked.slug,
        "--preset",
        asked.preset,
        "--workspace",
        str(workspace),
    ]
    words += ["--data", str(Path(asked.data).absolute())] if asked.data else []
    words += ["--time-limit", limit] if limit else []
    words += [text for one in asked.set for text in ("--set", one)]
    started = time.monotonic()
    done = subprocess.run([*words, "--json", *more], capture_output=True, text=True, check=False)
    took = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), took


def measured(asked: argparse.Namespace, limit: str | None) -> dict[str, Any]:
    """A dry run and a run."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        plan, _ = command(workspace, asked, limit, "--dry-run")
        found, took = command(workspace, asked, limit)
        lines = next(workspace.glob("presets/*/decisions.jsonl")).read_text().splitlines()
    decisions = [json.loads(line) for line in lines]
    first = next((one["elapsed"] for one in decisions if one["what"] == "done"), None)
    return {
        "limit": limit,
        "score": found["oof"]["score"],
        "seconds": round(took, 1),
        "over": None if limit is None else round(took - parse_seconds(limit), 1),
        "first": first,
        "planned": plan["seconds"],
        "planned_by_took": round(plan["seconds"] / took, 3),
        "candidates": found["preset"]["candidates"] if "preset" in found else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("slug")
    parser.add_argument("--data")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--limit", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = []
    for limit in asked.limit or [None]:
        rows.append(measured(asked, limit))
        if not asked.json:
            shown = {key: value for key, value in rows[-1].items() if key != "candidates"}
            print(f"{asked.slug} {asked.preset}: {shown}", flush=True)
    if asked.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
