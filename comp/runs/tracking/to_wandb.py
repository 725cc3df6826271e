"""Weights & Biases: a project a competition, a group a run of comp, in it a run a fold and one for the whole."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any

from comp.files import make_folder, write_text
from comp.runs.tracking.results import as_csv
from comp.runs.tracking.tracker import Part, Results, Tracker

_MOST_ROWS = 10_000  # of a table that W&B shows; the whole one is among the run's files


class WandbTracker(Tracker):
    """Writes to the account that W&B knows (``WANDB_API_KEY`` or its login), else offline, to ``tracking/wandb``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb: Any = wandb
        self._runs: dict[str, Any] = {}
        self._mode = os.environ.get("WANDB_MODE") or ("online" if has_account() else "offline")

    def open(self, part: Part) -> None:
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=bool(part.key),
            x_stats_pid=os.getppid(),
        )
        run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or part.slug,
            id=part.id,
            name=part.key or part.run,
            group=part.run,
            job_type="fold" if part.key else "run",
            config=dict(part.config),
            dir=str(make_folder(self.folder)),
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )
        axis = "epoch" if part.key else "seconds"
        run.define_metric(axis)
        run.define_metric("*", step_metric=axis)
        self._runs[part.key] = run

    def log(self, part: Part, values: dict[str, float], step: int) -> None:
        self._runs[part.key].log({**values, ("epoch" if part.key else "seconds"): step})

    def score(self, part: Part, values: dict[str, float]) -> None:
        self._runs[part.key].summary.update(values)

    def results(self, part: Part, results: Results) -> None:
        run = self._runs[part.key]
        write_text(Path(run.dir) / "recipe.toml", results.recipe)
        for name, table in (("oof", results.oof), ("confusion", results.confusion)):
            if table is None:
                continue
            rows = [list(row) for row in table.rows[:_MOST_ROWS]]
            run.log({name: self._wandb.Table(columns=list(table.header), data=rows)})
            write_text(Path(run.dir) / f"{name}.csv", as_csv(table))

    def close(self, part: Part, failure: str) -> None:
        self._runs.pop(part.key).finish(exit_code=1 if failure else 0)


def has_account() -> bool:
    """Whether W&B knows who works here: a key in the environment, or one that its login wrote."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc(os.environ.get("NETRC") or None).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
