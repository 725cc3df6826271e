"""A fold under way, saved at any step, goes on with the same bits."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from comp.errors import InputError
from comp.files import sha256_of, write_json
from comp.models.checkpoint import hash_tensors
from comp.models.net import Net, build, init_head
from comp.recipe import Recipe
from comp.training.loop import train_step
from comp.training.state import FILE, NEVER, SIDECAR, Epoch, TrainState
from made import planned

STEPS = 3
RECIPE = Recipe.model_validate(
    {
        "mode": "finetune",
        "device": "cpu",
        "precision": "fp32",
        "channels_last": False,
        "threads": 1,
        "epochs": 4,
        "batch": 4,
        "model": {
            "name": "test_resnet",
            "size": 32,
            "freeze_bn": False,
            "head": {"dropout": 0.3},
            "weights": "none",
        },
        "optimizer": {"name": "adamw", "lr": 1e-3, "head_lr": 1e-2},
        "schedule": {"name": "plateau", "patience": 0, "factor": 0.5, "warmup": 0.3},
        "regularize": {"ema": 0.9, "mixup": 0.3},
        "stages": [{"epochs": 2, "train": "head"}, {"epochs": 2, "train": "all"}],
    }
)
PLAN = planned().__class__(**{**vars(planned()), "recipe": RECIPE})


def network(seed: int) -> Net:
    torch.manual_seed(seed)
    net = build(RECIPE.model, 3)
    init_head(net, seed)
    return net


def begun(seed: int = 0) -> TrainState:
    return TrainState.begin(network(seed), RECIPE, STEPS)


def steps(state: TrainState, count: int) -> None:
    """Some steps of training on batches that follow from the epoch and batch, into further epochs."""
    for _ in range(count):
        rng = np.random.default_rng([state.epoch, state.batch])
        images = torch.from_numpy(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
        state.net.train()
        train_step(state, PLAN, 0, images, torch.from_numpy(rng.integers(0, 3, 4)), None)
        if state.batch == STEPS:
            loss = 2.0 + len(state.history) % 2  # every other epoch is worse: a plateau
            state.history.append(Epoch(state.epoch + 1, 1.0, loss, 0.5, state.lr, 7.0))
            state.next_epoch()


def everything(state: TrainState) -> dict[str, object]:
    """All that decides how a fold goes on, as what can be compared."""
    assert state.average is not None
    assert state.schedule is not None
    moments = state.optimizer.state_dict()["state"]
    return {
        "net": hash_tensors(state.net.state_dict()),
        "average": hash_tensors(state.average.tensors),
        "average steps": state.average.steps,
        "moments": {n: hash_tensors(one) for n, one in moments.items()},
        "rates": [group["lr"] for group in state.optimizer.param_groups],
        "schedule": state.schedule.last_epoch,
        "rng": hash_tensors({"rng": torch.get_rng_state()}),
        "loss": float(state.loss_sum),
        "at": (state.epoch, state.batch, state.seen, state.accumulate),
        "history": list(state.history),
        "open": [name for name, p in state.net.named_parameters() if p.requires_grad],
    }


@pytest.mark.parametrize("before", [0, 1, STEPS, STEPS + 1, 2 * STEPS, 2 * STEPS + 2])
def test_a_state_comes_back_whole_and_goes_on_with_the_same_bits(before: int, tmp_path: Path) -> None:
    folder = tmp_path / "fold-0"
    folder.mkdir()
    state = begun()
    state.accumulate = 2
    steps(state, before)
    state.save(folder)
    expected = everything(state)
    steps(state, STEPS + 1)
    after = everything(state)
    other = begun(seed=9)
    torch.manual_seed(123)
    assert other.restore(folder)
    assert everything(other) == expected
    steps(other, STEPS + 1)
    assert everything(other) == after


def test_there_is_no_state_at_first(tmp_path: Path) -> None:
    state = begun()
    before = everything(state)
    assert not state.restore(tmp_path)
    assert everything(state) == before


def test_a_new_epoch_counts_from_zero_and_keeps_its_optimizer_within_a_stage() -> None:
    state = begun()
    steps(state, STEPS - 1)
    optimizer = state.optimizer
    assert (state.epoch, state.batch, state.seen) == (0, 2, 8)
    assert float(state.loss_sum) > 0
    steps(state, 1)
    assert (state.epoch, state.batch, state.seen, float(state.loss_sum)) == (1, 0, 0, 0.0)
    assert state.optimizer is optimizer
    assert not any(p.requires_grad for p in state.net.backbone.parameters())
    steps(state, STEPS)
    assert state.epoch == 2
    assert state.optimizer is not optimizer
    assert all(p.requires_grad for p in state.net.parameters())


def test_the_rate_is_the_highest_of_all_groups() -> None:
    state = begun()
    rates = {group["lr"] for group in state.optimizer.param_groups}
    assert state.lr == max(rates)
    steps(state, 2 * STEPS)
    rates = {group["lr"] for group in state.optimizer.param_groups}
    assert len(rates) == 2, "the backbone has a lower one"
    assert state.lr == max(rates)


def test_a_plateau_lowers_the_rate() -> None:
    state = begun()
    steps(state, 2 * STEPS - 1)
    assert state.lr == pytest.approx(1e-2)
    state.history += [Epoch(2, 1.0, 2.0, 0.5, 0.1, 7.0), Epoch(3, 1.0, 3.0, 0.5, 0.1, 7.0)]
    steps(state, 1)
    state.history.pop()
    assert state.schedule is not None
    assert state._left_by_plateaus() < 1.0


def test_the_first_loss_that_is_no_number_is_remembered() -> None:
    state = begun()
    steps(state, 1)
    assert int(state.first_bad) == NEVER
    for parameter in state.net.head.parameters():
        parameter.data.fill_(float("nan"))
    steps(state, 1)
    assert int(state.first_bad) == 1


def test_the_time_since_the_last_save(tmp_path: Path) -> None:
    state = begun()
    state.saved_at = time.monotonic() - 120
    assert state.minutes_since_save() == pytest.approx(2, abs=0.5)
    state.save(tmp_path)
    assert state.minutes_since_save() < 1


@pytest.mark.parametrize(
    ("took", "since", "minutes", "due"),
    [
        (0.0, 0.0, 5.0, True),  # the first epoch
        (0.01, 1.0, 5.0, True),  # small networks: after every epoch
        (2.0, 30.0, 5.0, False),
        (2.0, 41.0, 5.0, True),
        (20.0, 290.0, 5.0, False),
        (20.0, 310.0, 5.0, True),  # save_minutes have passed
        (2.0, 1.0, 0.0, True),
    ],
)
def test_epochs_save_where_that_costs_little(took: float, since: float, minutes: float, due: bool) -> None:
    state = begun()
    state.recipe = RECIPE.model_copy(update={"save_minutes": minutes})
    state.save_seconds, state.saved_at = took, time.monotonic() - since
    assert state.save_is_due() is due


def test_a_save_knows_what_it_took(tmp_path: Path) -> None:
    state = begun()
    assert state.save_seconds == 0.0
    before = time.monotonic()
    state.save(tmp_path)
    assert 0 < state.save_seconds <= time.monotonic() - before


def test_a_state_of_another_fold_or_no_state_is_refused(tmp_path: Path) -> None:
    for name in ("fold-0", "fold-1"):
        (tmp_path / name).mkdir()
    state = begun()
    state.save(tmp_path / "fold-0")
    (tmp_path / "fold-1" / FILE).write_bytes((tmp_path / "fold-0" / FILE).read_bytes())
    with pytest.raises(InputError, match="its fold's own") as error:
        state.restore(tmp_path / "fold-1")
    assert "is of fold-0" in error.value.value
    state.save(tmp_path / "fold-1")
    for name in (FILE, SIDECAR):
        (tmp_path / "fold-0" / name).write_bytes((tmp_path / "fold-1" / name).read_bytes())
    with pytest.raises(InputError, match="its fold's own") as error:
        state.restore(tmp_path / "fold-0")
    assert "is of fold-1" in error.value.value
    state.save(tmp_path / "fold-0")
    assert state.restore(tmp_path / "fold-0")
    whole = (tmp_path / "fold-0" / FILE).read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        (tmp_path / "fold-0" / FILE).write_bytes(content)
        with pytest.raises(InputError, match="must be whole"):
            state.restore(tmp_path / "fold-0")
    torch.save([1, 2], tmp_path / "fold-0" / FILE)
    with pytest.raises(InputError, match="must be whole"):
        state.restore(tmp_path / "fold-0")


def rewrite(folder: Path, table: dict[str, object]) -> None:
    """A state of other content, with the SHA-256 that belongs to it beside it."""
    torch.save(table, folder / FILE)
    write_json(folder / SIDECAR, {"sha256": [sha256_of(folder / FILE)]})


@pytest.mark.parametrize("lost", ["history", "net", "average", "optimizer", "schedule", "rng", "batch"])
def test_a_state_that_lacks_a_part_is_refused(lost: str, tmp_path: Path) -> None:
    begun().save(tmp_path)
    table = torch.load(tmp_path / FILE, weights_only=True)
    rewrite(tmp_path, {key: value for key, value in table.items() if key != lost})
    with pytest.raises(InputError, match="must be whole") as error:
        begun(1).restore(tmp_path)
    assert lost in error.value.value


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    begun().save(tmp_path)
    table = torch.load(tmp_path / FILE, weights_only=True)
    table["net"].pop("head.weight")
    rewrite(tmp_path, table)
    with pytest.raises(InputError, match="must be whole") as error:
        begun(1).restore(tmp_path)
    assert "head.weight" in error.value.value
