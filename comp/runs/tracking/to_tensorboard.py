"""TensorBoard: event files in ``tracking/tensorboard/<slug>/<run>/``, below it a folder a fold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from comp.files import write_text
from comp.runs.tracking.results import as_csv
from comp.runs.tracking.tracker import Part, Results, Table, Tracker

_MOST_ROWS = 40  # of a table that is shown as text


class TensorboardTracker(Tracker):
    """Writes with TensorBoard's own writer: neither torch nor TensorFlow is needed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._writers: dict[str, Any] = {}

    def _place(self, part: Part) -> Path:
        return self.folder / "tensorboard" / part.slug / part.run / part.key

    def open(self, part: Part) -> None:
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        is_new = not any(self._place(part).glob("events.*"))
        self._writers[part.key] = EventFileWriter(str(self._place(part)))
        if is_new:
            self._add(part, summary_v2.hparams_pb(part.config, trial_id=part.id), 0)
            lines = [f"| {key} | {value} |" for key, value in part.config.items()]
            self._text(part, "config", "\n".join(["| key | value |", "| --- | --- |", *lines]))

    def _add(self, part: Part, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writers[part.key].add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def _text(self, part: Part, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.text import metadata

        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        about = metadata.create_summary_metadata(display_name=tag, description="")
        value = Summary.Value(tag=f"{tag}/text_summary", metadata=about, tensor=tensor)
        self._add(part, Summary(value=[value]), 0)

    def log(self, part: Part, values: dict[str, float], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(part, Summary(value=points), step)
        self._writers[part.key].flush()

    def forget_from(self, part: Part, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._writers[part.key].add_event(Event(wall_time=time.time(), step=step, session_log=start))

    def score(self, part: Part, values: dict[str, float]) -> None:
        self.log(part, {f"final/{name}": value for name, value in values.items()}, 0)

    def results(self, part: Part, results: Results) -> None:
        for name, table in (("oof", results.oof), ("confusion", results.confusion)):
            if table is None:
                continue
            write_text(self._place(part) / f"{name}.csv", as_csv(table))
            self._text(part, name, _markdown(table))

    def close(self, part: Part, failure: str) -> None:
        if failure:
            self._text(part, "failure", failure)
        self._writers.pop(part.key).close()


def _markdown(table: Table) -> str:
    """The first rows of a table, as TensorBoard shows text."""
    lines = [table.header, tuple("---" for _ in table.header), *table.rows[:_MOST_ROWS]]
    more = len(table.rows) - _MOST_ROWS
    told = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([*told, *(["", f"{more} more rows in the CSV beside this file"] if more > 0 else [])])
