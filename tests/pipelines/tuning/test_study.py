"""The trials of a study: each once, once more where its process died; the same again where it went on."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

from comp.errors import InputError
from comp.pipelines.tuning import storage
from comp.pipelines.tuning.order import require_name, require_optuna
from comp.pipelines.tuning.sampling import SlotSampler
from comp.pipelines.tuning.search_space import SearchSpace, read_space
from comp.pipelines.tuning.storage import open_study
from comp.pipelines.tuning.study import Asked, PutBack, StudyStore

SEARCH = {
    "optimizer.lr": {"low": 1e-5, "high": 1e-1, "log": True},
    "optimizer.name": ["adamw", "sgd"],
    "optimizer.momentum": {"low": 0.1, "high": 0.9, "when": {"optimizer.name": "sgd"}},
    "epochs": {"low": 1, "high": 9},
    "tta": [["identity"], ["identity", "hflip"]],
}
BASELINE = {"optimizer.lr": 3e-4, "optimizer.name": "adamw", "epochs": 5, "tta": '["identity", "hflip"]'}


def space() -> SearchSpace:
    return read_space(SEARCH, {}, "finetune", "made")


@contextmanager
def opened(
    folder: Path, wanted: int, facts: Mapping[str, Any] | None = None, seed: int = 0, name: str = "made"
) -> Iterator[StudyStore]:
    require_optuna()
    url = f"sqlite:///{folder / 'study.db'}"
    sampler = SlotSampler(seed, BASELINE)
    with open_study(url, name, facts or {"recipe": {"lr": 1}}, space(), wanted, "max", sampler) as store:
        yield store


def tried(asked: Asked) -> float:
    """A score that a learning rate near 0.01 has most of."""
    values = asked.values({}, BASELINE)
    asked.tell(values=values)
    return 1 - abs(values["optimizer.lr"] - 1e-2)


def run_all(store: StudyStore, work: Callable[[Asked], float] = tried) -> None:
    while store.run_one(work):
        pass


def values_of(store: StudyStore) -> list[dict[str, Any]]:
    return [dict(one.values) for one in store.rows()]


def test_a_study_has_as_many_trials_as_are_wanted_and_more_when_more_are(tmp_path: Path) -> None:
    with opened(tmp_path, 4) as store:
        run_all(store)
        assert [(one.slot, one.state) for one in store.rows()] == [(n, "complete") for n in range(4)]
        assert not store.has_more()
    with opened(tmp_path, 6) as store:
        run_all(store)
        assert [one.slot for one in store.rows()] == list(range(6))


def test_the_first_trial_is_the_recipe_as_it_stands(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as store:
        run_all(store)
        first, second = values_of(store)
    assert first == {**BASELINE, "tta": ["identity", "hflip"]}
    assert first != second


def test_conditions_hold_in_every_trial(tmp_path: Path) -> None:
    with opened(tmp_path, 14) as store:
        run_all(store)
        found = values_of(store)
    assert {one["optimizer.name"] for one in found} == {"adamw", "sgd"}
    for one in found:
        assert ("optimizer.momentum" in one) == (one["optimizer.name"] == "sgd")
        assert 1 <= one["epochs"] <= 9
        assert one["tta"] in SEARCH["tta"]


def test_the_same_study_twice_has_the_same_trials_and_so_has_one_that_was_stopped(tmp_path: Path) -> None:
    found = []
    for folder, stops in ((tmp_path / "a", [13]), (tmp_path / "b", [3, 12, 13])):
        folder.mkdir()
        for wanted in stops:
            with opened(folder, wanted) as store:
                run_all(store)
                last = values_of(store)
        found.append(last)
    assert found[0] == found[1]
    (tmp_path / "c").mkdir()
    with opened(tmp_path / "c", 3, seed=1) as store:
        run_all(store)
        assert values_of(store)[1] != found[0][1]


def test_it_learns_from_what_was_tried(tmp_path: Path) -> None:
    with opened(tmp_path, 24) as store:
        run_all(store)
        rates = [one["optimizer.lr"] for one in values_of(store)]
    near = [1e-2 / 3 < rate < 3e-2 for rate in rates]
    assert sum(near[12:]) > sum(near[:12])


def test_a_trial_that_is_put_back_is_run_with_the_same_values_and_counts_once(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def stopped(asked: Asked) -> float:
        seen.append(asked.values({}, BASELINE))
        raise PutBack("the time limit")

    def interrupted(asked: Asked) -> float:
        seen.append(asked.values({}, BASELINE))
        raise KeyboardInterrupt

    with opened(tmp_path, 3) as store:
        store.run_one(tried)
        for work, error in ((stopped, PutBack), (interrupted, KeyboardInterrupt), (stopped, PutBack)):
            with pytest.raises(error):
                store.run_one(work)
        assert [(one.slot, one.state) for one in store.rows()] == [(0, "complete"), (1, "waiting")]
        run_all(store)
        assert [(one.slot, one.state) for one in store.rows()] == [(n, "complete") for n in range(3)]
        assert seen == [values_of(store)[1]] * 3


def test_an_error_ends_the_command_and_the_trial(tmp_path: Path) -> None:
    def broken(asked: Asked) -> float:
        raise ZeroDivisionError

    with opened(tmp_path, 2) as store:
        with pytest.raises(ZeroDivisionError):
            store.run_one(broken)
        run_all(store)
        assert [one.state for one in store.rows()] == ["failed", "complete"]


def test_a_dead_processes_trial_is_tried_once_more_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies where its trial runs and gives no sign of life; here it never ends its trial."""
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)

    def die(store: StudyStore) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "heartbeats are for optimize"
            trial = store.study.ask()
        store._claimed(trial).values({}, BASELINE)
        store.study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]

    with opened(tmp_path, 2) as store:
        for tries in (1, 2):
            die(store)
            assert store.running() == 1
            assert store.rows()[0].tries == tries
            threading.Event().wait(2.5)
            assert store.running() == 0
            assert store.rows()[0].state == ("waiting" if tries == 1 else "failed")
        run_all(store)
        assert [(one.slot, one.state) for one in store.rows()] == [(0, "failed"), (1, "complete")]


def test_a_trial_that_was_taken_for_dead_is_left_to_who_has_it_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process slept, as a laptop does."""
    with opened(tmp_path, 1) as store:

        def asleep(asked: Asked) -> float:
            own = store._frozen(asked.trial)
            store.study._storage.set_trial_state_values(own._trial_id, optuna.trial.TrialState.FAIL)
            store.retry(store._frozen(asked.trial))
            return 0.123

        assert store.run_one(asleep)
        assert store.rows()[0].state == "waiting"
        run_all(store)
        (only,) = store.rows()
        assert only.state == "complete"
        assert only.score != 0.123


def test_several_threads_with_connections_of_their_own_lose_and_double_nothing(tmp_path: Path) -> None:
    run: list[int] = []
    lock = threading.Lock()

    def work(asked: Asked) -> float:
        with lock:
            run.append(asked.slot)
        return tried(asked)

    def go() -> None:
        with opened(tmp_path, 12) as store:
            run_all(store, work)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with opened(tmp_path, 12) as store:
        assert [(one.slot, one.state) for one in store.rows()] == [(n, "complete") for n in range(12)]
    assert sorted(run) == list(range(12))


def test_a_study_with_other_facts_is_refused_and_says_which(tmp_path: Path) -> None:
    with opened(tmp_path, 1, {"recipe": {"optimizer": {"lr": 0.1}, "epochs": 3}, "folds": "ab"}):
        pass
    other = {"recipe": {"optimizer": {"lr": 0.2}, "epochs": 3}, "folds": "cd"}
    with pytest.raises(InputError) as caught, opened(tmp_path, 1, other):
        pass
    assert caught.value.rule == "a study keeps its recipe, search space, rows and folds"
    assert caught.value.value == "made: folds was ab, now cd; recipe.optimizer.lr was 0.1, now 0.2"
    assert "`study=NAME`" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "a b", "a.", "x" * 65])
def test_a_name_that_is_none_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="`study` is a name"):
        require_name(name)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "nonsense: "),
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("postgresql://me:geheim@127.0.0.1:1/none", "postgresql://me:***@127.0.0.1:1/none"),
    ],
)
def test_a_database_that_cannot_be_had_is_an_input_error_without_its_password(url: str, said: str) -> None:
    sampler = SlotSampler(0, {})
    with pytest.raises(InputError) as caught, open_study(url, "x", {}, space(), 1, "max", sampler):
        pass
    assert said in caught.value.value
    assert "geheim" not in str(caught.value)
    assert caught.value.rule == "`storage` is the URL of a database"
