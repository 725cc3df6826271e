"""Processes that train one fold together: each computes its part of every batch, and all take the same step."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from comp import events
from comp.errors import CompError, TrainingFailed
from comp.training.child_process import watch_parent
from comp.training.gradients import PeerFailed

GRACE_SECONDS = 10.0  # for a process to end after its work
PATIENCE = timedelta(hours=2)  # that one waits for another: rank 0 judges held-out rows and saves alone


class Peers:
    """This process among ``world`` of them that train a fold; ``rank`` 0 leads: it alone judges, saves and writes.

    Every process draws the same rows, transforms and mixes, as a single one would; of a batch (B, …) it computes rows
    B · rank / world to B · (rank + 1) / world, whose losses count by their share of the batch. The gradients are added up (Li et al. 2020, without the
    averaging of torch's wrapper, which would weigh a last uneven batch wrongly), and whatever comes after them, clipping, the optimizer's
    step and the moving average, is the same everywhere.
    """

    def __init__(self, rank: int, world: int, meeting: Path, device: Any) -> None:
        self.rank, self.world, self.device = rank, world, device
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=PATIENCE
        )

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def share(self, rows: int) -> slice:
        """The rows of a batch of so many that this process computes; there may be none."""
        return slice(rows * self.rank // self.world, rows * (self.rank + 1) // self.world)

    def all_reduce_max(self, said: int) -> int:
        """The highest that any process says."""
        there = torch.tensor([said], device=self.device)
        dist.all_reduce(there, op=dist.ReduceOp.MAX)
        return int(there)

    def broadcast(self, values: Iterable[float]) -> tuple[float, ...]:
        """The leader's numbers; what others give is of the same length, and not looked at."""
        there = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.broadcast(there, src=0)
        return tuple(there.tolist())

    def joined(self, net: Any, recipe: Any) -> Any:
        """The leader's network, in every process; BatchNorm that learns sees the whole batch."""
        self._share_weights(net)
        if self.device.type == "cuda" and not recipe.model.freeze_bn:
            return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return net

    def _share_weights(self, net: nn.Module) -> None:
        """Every process gets the leader's network."""
        for tensor in net.state_dict().values():
            there = tensor.to(self.device)
            dist.broadcast(there, src=0)
            with torch.no_grad():
                tensor.copy_(there)

    def all_reduce_gradients(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Adds the gradients of all processes up, in place, and returns the sum of their losses."""
        trained = [p for p in parameters if p.requires_grad]
        for p in trained:
            if p.grad is None:  # this process had no row, or its rows do not reach it
                p.grad = torch.zeros_like(p)
        flat = torch.cat([loss.reshape(1).float(), *(p.grad.reshape(-1).float() for p in trained)])  # type: ignore[union-attr]
        dist.all_reduce(flat)
        at = 1
        for p in trained:
            assert p.grad is not None
            p.grad.copy_(flat[at : at + p.numel()].view_as(p))
            at += p.numel()
        return flat[0].to(loss.dtype)


@contextmanager
def together(world: int, work: bytes, device: Any, threads: int) -> Iterator[Peers]:
    """This process leads ``world - 1`` new ones, each of which calls ``work``, a pickled function of its peers. However the block
    ends, none of them is left.

    Raises
    ------
    TrainingFailed
        Where one of them did not live to the end.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="comp-peers-") as folder:
        meeting = Path(folder) / "meeting"
        helpers = [
            context.Process(
                target=_help,
                args=(work, rank, world, meeting, str(device), threads, os.getpid()),
                daemon=True,
            )
            for rank in range(1, world)
        ]
        for helper in helpers:
            helper.start()
        peers: Peers | None = None
        try:
            peers = Peers(0, world, meeting, device)
            yield peers
            for helper in helpers:
                helper.join()
        except RuntimeError as error:
            for helper in helpers:
                helper.join(GRACE_SECONDS)
            gone = [helper.exitcode for helper in helpers if helper.exitcode]
            killed = any(code < 0 for code in gone)  # one that raised an error may have been told of ours
            if not gone or not (killed or isinstance(error, PeerFailed)):
                raise
            value = f"one of {world} ended with {gone[0]}"
            remedy = "look at what it said (memory?), then `resume`"
            raise TrainingFailed("the processes of a fold live to its end", value, remedy) from error
        finally:
            for helper in helpers:
                helper.kill()
                helper.join()
            if peers is not None:
                with suppress(RuntimeError):
                    peers.close()


def _help(work: bytes, rank: int, world: int, meeting: Path, device: str, threads: int, parent: int) -> None:
    """In a new process: the work of a rank that does not lead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leader's, which ends this one
    watch_parent(parent)
    events.relay_to(lambda event: None)
    torch.set_num_threads(threads)
    call: Callable[[Peers], object] = pickle.loads(work)
    here = torch.device(device)
    if here.type == "cuda":
        here = torch.device("cuda", rank)
        torch.cuda.set_device(here)
    peers = Peers(rank, world, meeting, here)
    try:
        call(peers)
    except CompError:  # the leader's too, which says it
        sys.exit(1)
    peers.close()
