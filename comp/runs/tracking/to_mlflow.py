"""MLflow: an experiment a competition, a run a run of comp, and below it a run a fold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comp.errors import Refusal
from comp.files import alone
from comp.runs.tracking.results import as_csv
from comp.runs.tracking.tracker import Part, Results, Tracker

_PART = "comp.part"
_BATCH = 100  # parameters that a store takes at once
_LONGEST = 5_000  # letters of one


class MlflowTracker(Tracker):
    """Writes to ``MLFLOW_TRACKING_URI``, else to ``tracking/mlflow.db`` (SQLite) of the workspace."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        named = os.environ.get("MLFLOW_TRACKING_URI")
        self._place = None if named else (self.folder / "mlflow").as_uri()
        with _once(self.folder / ".mlflow.lock"):  # two that make its tables at once break them
            self._client: Any = MlflowClient(named or f"sqlite:///{self.folder / 'mlflow.db'}")
            self._client.search_experiments(max_results=1)
        self._ids: dict[str, str] = {}
        self._experiment = ""

    def open(self, part: Part) -> None:
        self._experiment = self._experiment or self._experiment_of(part.slug)
        query = f"tags.`{_PART}` = '{part.name}'"
        known = self._client.search_runs([self._experiment], query, max_results=1)
        if known:
            self._ids[part.key] = known[0].info.run_id
            self._client.update_run(self._ids[part.key], status="RUNNING")
            return
        parent = {"mlflow.parentRunId": self._ids[""]} if part.key else {}
        tags = {_PART: part.name, "comp.run": part.run, **parent}
        made = self._client.create_run(self._experiment, tags=tags, run_name=part.name)
        self._ids[part.key] = made.info.run_id
        self._write_config(part)

    def _experiment_of(self, slug: str) -> str:
        with _once(self.folder / ".mlflow.lock"):
            known = self._client.get_experiment_by_name(slug)
            if known is not None:
                return str(known.experiment_id)
            return str(self._client.create_experiment(slug, artifact_location=self._place))

    def _write_config(self, part: Part) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_LONGEST]) for key, value in part.config.items()]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(self._ids[part.key], params=params[start : start + _BATCH])

    def log(self, part: Part, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._ids[part.key], metrics=metrics)

    def score(self, part: Part, values: dict[str, float]) -> None:
        self.log(part, values, 0)

    def results(self, part: Part, results: Results) -> None:
        run = self._ids[part.key]
        self._client.log_text(run, results.recipe, "recipe.toml")
        for name, table in (("oof.csv", results.oof), ("confusion.csv", results.confusion)):
            if table is not None:
                self._client.log_text(run, as_csv(table), name)

    def close(self, part: Part, failure: str) -> None:
        run = self._ids.pop(part.key) if part.key else self._ids[""]
        self._client.set_terminated(run, status="FAILED" if failure else "FINISHED")


@contextmanager
def _once(path: Path) -> Iterator[None]:
    """Waits until no other process holds ``path``."""
    while True:
        try:
            with alone(path, "one at a time", "", ""):
                yield
                return
        except Refusal:
            time.sleep(0.2)
