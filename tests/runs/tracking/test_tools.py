"""What each tracker wrote, read back with its own reader: the curves of history.csv, the config, the scores, the tables."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import comp
from comp.pipelines.run_result import RunResult
from comp.recipe import load
from comp.runs.tracking.follower import flattened
from comp.runs.tracking.to_wandb import has_account
from made import write_shapes
from made_trackers import SET, all_written, history

NAMES = ("mlflow", "tensorboard", "wandb")
FOLDS = ("fold-0", "fold-1")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A run of shapes: its first fold by one command, its second by another that goes on, both tracked by all."""
    for module in ("mlflow", "sqlalchemy", "alembic", "tensorboard", "wandb"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    workspace = tmp_path_factory.mktemp("tracked")
    write_shapes(workspace)
    common: dict[str, Any] = {"workspace": workspace, "report": False, "track": NAMES}
    comp.run("shapes", 2, overrides=[*SET, "optimizer.lr=2e-3"], only=[0], **common)
    all_written()
    result = comp.run("shapes", resume="latest", **common)
    all_written()
    return workspace, result


def config_of(result: RunResult) -> dict[str, Any]:
    return flattened(load(result.folder / "recipe.toml").as_table())


def test_tensorboard_reads_it(tracked: tuple[Path, RunResult]) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import plugin_data_pb2

    workspace, result = tracked
    place = workspace / "tracking" / "tensorboard" / "shapes" / result.run
    for fold, score in zip(FOLDS, result.per_fold, strict=True):
        read = loader.EventAccumulator(str(place / fold)).Reload()
        for name in ("loss", "valid_loss", "valid_accuracy", "lr", "images_per_second"):
            points = [(point.step, point.value) for point in read.Scalars(name)]
            wanted = [(epoch, values[name]) for epoch, values in history(result, fold)]
            assert [step for step, _ in points] == [epoch for epoch, _ in wanted]
            assert [value for _, value in points] == pytest.approx([value for _, value in wanted], rel=1e-6)
        assert read.Scalars("final/accuracy")[0].value == pytest.approx(score)
        content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert told["optimizer.lr"].number_value == 2e-3
        assert set(config_of(result)) <= set(told)
    whole = loader.EventAccumulator(str(place)).Reload()
    assert whole.Scalars("final/oof_accuracy")[-1].value == pytest.approx(result.score)
    assert whole.Scalars("system/cpu_percent")
    assert "| truth |" in whole.Tensors("confusion/text_summary")[0].tensor_proto.string_val[0].decode()
    assert len((place / "oof.csv").read_text().splitlines()) == 19


def test_mlflow_reads_it(tracked: tuple[Path, RunResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("sqlalchemy")
    workspace, result = tracked
    with _quiet():
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{workspace / 'tracking' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("shapes")
        assert experiment is not None
        runs = {run.data.tags["comp.part"]: run for run in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {result.run, *(f"{result.run}/{fold}" for fold in FOLDS)}, "the same runs went on"
        for fold, score in zip(FOLDS, result.per_fold, strict=True):
            one = runs[f"{result.run}/{fold}"]
            assert one.data.tags["mlflow.parentRunId"] == runs[result.run].info.run_id
            assert one.info.status == "FINISHED"
            for name in ("loss", "valid_loss", "valid_accuracy", "lr", "images_per_second"):
                points = [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, name)]
                assert sorted(points) == [(epoch, values[name]) for epoch, values in history(result, fold)]
            assert one.data.metrics["accuracy"] == score
            for key, value in config_of(result).items():
                assert one.data.params[key] == str(value)
        whole = runs[result.run]
        assert whole.data.metrics["oof_accuracy"] == result.score
        assert client.get_metric_history(whole.info.run_id, "system/cpu_percent")
        names = {file.path for file in client.list_artifacts(whole.info.run_id)}
        assert names == {"recipe.toml", "oof.csv", "confusion.csv"}


def test_wandb_reads_it(tracked: tuple[Path, RunResult]) -> None:
    pytest.importorskip("wandb")
    workspace, result = tracked
    logs = {fold: list(_wandb_records(workspace, f"{result.run}-{fold}")) for fold in FOLDS}
    for fold, score in zip(FOLDS, result.per_fold, strict=True):
        (begun,) = [one.run for one in logs[fold] if one.WhichOneof("record_type") == "run"]
        assert (begun.run_group, begun.job_type, begun.project) == (result.run, "fold", "shapes")
        config = {item.key: json.loads(item.value_json) for item in begun.config.update}
        assert {key: config[key] for key in config_of(result)} == config_of(result)
        rows = []
        for one in logs[fold]:
            if one.WhichOneof("record_type") == "history":
                rows.append(
                    {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in one.history.item}
                )
        for (epoch, values), row in zip(history(result, fold), rows, strict=True):
            assert row["epoch"] == epoch
            assert {name: row[name] for name in values} == values
        assert _summary(logs[fold])["accuracy"] == score
    whole = list(_wandb_records(workspace, result.run))
    assert _summary(whole)["oof_accuracy"] == result.score
    told = {i.key or i.nested_key[0] for one in whole for i in one.history.item}
    assert {"oof", "confusion", "system/cpu_percent"} <= told


def _summary(records: list[Any]) -> dict[str, Any]:
    items = [i for one in records if one.WhichOneof("record_type") == "summary" for i in one.summary.update]
    return {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in items}


def _wandb_records(workspace: Path, name: str) -> Iterator[Any]:
    """The records of every file of this id, by W&B's own messages (its reader is no longer in Python)."""
    from wandb.proto import wandb_internal_pb2

    files = sorted((workspace / "tracking" / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert files
    for file in files:
        for data in _leveldb_log(file.read_bytes()):
            yield wandb_internal_pb2.Record.FromString(data)


def _leveldb_log(content: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format, in which W&B writes: blocks of 32 KiB, records whole or in parts."""
    assert content[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


class _quiet:  # noqa: N801
    """sqlalchemy warns of what mlflow does."""

    def __enter__(self) -> None:
        import warnings

        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *left: object) -> None:
        self._caught.__exit__(*left)  # type: ignore[arg-type]


def test_wandb_is_offline_without_an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_account()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password 0123\n")
    assert has_account()
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert has_account()
