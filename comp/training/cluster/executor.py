"""Deals folds to the workers of a Ray cluster, writes what they send, and has a lost worker's fold go on elsewhere."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from comp import events
from comp.data.images.pixel_cache import DecodedSource
from comp.errors import InputError, TrainingFailed, counted
from comp.files import make_folder
from comp.runs.contents import home_of
from comp.runs.run import STARTED
from comp.training.cluster import worker
from comp.training.cluster.connection import connected
from comp.training.cluster.images import StoreList, chunks_to_send, controls_of, list_store, plan_for_workers
from comp.training.cluster.memory import fold_memory
from comp.training.cluster.parcel import fold_under_way, unpack
from comp.training.plan import TrainPlan
from comp.training.time_limit import OutOfTime
from comp.training.train_fold import Ended, FoldJob
from comp.workspace import cache_folder

TRIES = 4  # workers that a fold may lose before it counts as failed
WAIT = 0.5  # seconds between two looks at the clock
_AGAIN = "look at that machine (memory, disk), then `resume`"


@dataclass(frozen=True)
class OnRay:
    """An executor: every fold is a task of a Ray cluster, with ``cpus`` and ``gpus`` for each (by default as many CPUs as the
    recipe has threads, and a GPU where it trains on one).

    ``address`` is what ``ray.init`` takes; without one it is RAY_ADDRESS, or a cluster of this machine alone that ends with the
    run. ``contents`` is the SHA-256 by path of the files that were checked: what a worker reads must be the same.
    """

    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    contents: Mapping[str, str] = field(default_factory=dict)

    def at_once(self, plan: TrainPlan) -> int:
        """How many folds of a plan the cluster holds at once; InputError where it holds none."""
        with connected(self.address) as ray:
            return require_room(ray, needs_of(plan, self))

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        """The folds as they end; see ``Executor``.

        Raises
        ------
        InputError
            Where there is no cluster, or no machine of it has what a fold asks for.
        """
        if not todo:
            return
        if (together := job(todo[0]).plan.recipe.processes or 1) > 1:
            value = f"`engine='ray'` with processes = {together}"
            raise InputError("a worker of a cluster trains a fold by itself", value, "drop one of them")
        with connected(self.address) as ray:
            dealt = _Dealt(ray, self, job)
            try:
                yield from dealt.all(todo)
            finally:
                dealt.cancel()


@dataclass(eq=False)
class _Task:
    """A fold at a worker: ``items`` is what it yields; ``lost`` how many workers it had before."""

    number: int
    job: FoldJob
    items: Any
    lost: int
    node: str = ""
    open_tasks: dict[str, events.TaskEnded] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the fold is called, with the folder of its model where there are several."""
        plan = self.job.plan
        model = home_of(plan.fold_folder(self.job.k))[1].rpartition("/")[0]
        return f"{plan.name(self.job.k)} of {model}" if model else plan.name(self.job.k)

    @property
    def folder(self) -> Path:
        """Where the run keeps it."""
        return self.job.plan.fold_folder(self.job.k)

    def hear(self, news: worker.News) -> None:
        for event in news.events:
            if isinstance(event, events.TaskStarted | events.TaskAdvanced | events.TaskEnded):
                event = replace(event, task=f"{self.node} {event.task}")  # other machines count alike
            if isinstance(event, events.TaskStarted):
                self.open_tasks[event.task] = events.TaskEnded(event.task, event.title)
            elif isinstance(event, events.TaskEnded):
                self.open_tasks.pop(event.task, None)
            events.emit(event)

    def close(self) -> None:
        """Ends the progress of what it had begun."""
        for ended in self.open_tasks.values():
            events.emit(ended)
        self.open_tasks = {}


class _Dealt:
    """The folds of one plan or several, dealt to workers."""

    def __init__(self, ray: Any, asked: OnRay, job: Callable[[int], FoldJob]) -> None:
        self._ray, self._asked, self._job = ray, asked, job
        self._running: list[_Task] = []
        self._sent: dict[str, Any] = {}  # what lies in Ray's store, by its SHA-256 or name
        self._with_images: StoreList | None = None
        self._chunks: Sequence[Any] = ()
        self._needs: dict[Path, Needs] = {}  # of a fold, by the folder of its model
        self._out_of_time = False

    def all(self, todo: Sequence[int]) -> Iterator[Ended]:
        for number in todo:  # what no machine holds is refused before any begins
            self._needs_of(self._job(number))
        for number in todo:
            self._begin(number)
        while self._running:
            ready, _ = self._ray.wait([task.items for task in self._running], timeout=WAIT)
            for task in [one for one in self._running if one.items in ready]:
                ended = self._next(task) if task in self._running else None
                if ended is not None:
                    yield ended
                    if isinstance(ended.failure, OutOfTime):
                        self._let_none_begin()

    def cancel(self) -> None:
        """Nothing goes on at any worker."""
        for task in self._running:
            self._stop(task)
        self._running = []

    def _begin(self, number: int, lost: int = 0) -> None:
        job = self._job(number)
        k = job.k
        plan, images, arrays = plan_for_workers(job.plan, self._asked.contents)
        folder = job.plan.fold_folder(k)
        run, inside = home_of(folder)  # a trial of a study lies in no run
        fold_task = worker.FoldTask(
            k=k,
            run=run,
            inside=inside.rpartition("/")[0],
            started=_started(job.plan, inside) if run else "",
            images=images,
            versions=worker.VERSIONS,
            given={} if arrays else controls_of(job.plan, k),
            under_way=fold_under_way(folder),
        )
        job_bytes = self._put(pickle.dumps(replace(job, plan=plan, k=-1)))
        held = self._put_arrays(arrays)
        task = self._remote(job).remote(job_bytes, fold_task, held, self._with_images, list(self._chunks))
        self._running.append(_Task(number, job, task, lost))

    def _remote(self, job: FoldJob) -> Any:
        needs = self._needs_of(job)
        require_room(self._ray, needs)  # one that was there may be gone
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        options |= {"memory": needs.memory} if needs.memory else {}
        return self._ray.remote(**options, num_returns="streaming", max_retries=0)(worker.train_fold)

    def _needs_of(self, job: FoldJob) -> Needs:
        """What a fold asks for, its memory measured once a model; refused where no machine has it."""
        folder = job.plan.folder
        if folder not in self._needs:
            needs = needs_of(job.plan, self._asked)
            require_room(self._ray, needs)
            memory = fold_memory(job, cache_folder()) or 0
            if memory:
                events.log(f"  a fold asks for {memory / 1e9:.1f} GB of memory, measured")
            self._needs[folder] = replace(needs, memory=memory)
            require_room(self._ray, self._needs[folder])
        return self._needs[folder]

    def _put(self, content: bytes) -> Any:
        key = hashlib.sha256(content).hexdigest()
        if key not in self._sent:
            self._sent[key] = self._ray.put(content)
        return self._sent[key]

    def _put_arrays(self, arrays: dict[str, Any]) -> Any:
        key = f"arrays {sorted(arrays)}"
        if key not in self._sent:
            self._sent[key] = self._ray.put(arrays)
        return self._sent[key]

    def _next(self, task: _Task) -> Ended | None:
        """Takes in one item of a task; what the fold came to, where it is over."""
        try:
            item = self._ray.get(next(task.items))
        except StopIteration:  # it always says how it ended
            return self._lost(task, "it ended without a word")
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            return self._lost(task, f"{type(error).__name__}")
        if isinstance(item, worker.Started):
            task.node = item.node
            events.log(f"  {task.name} at {item.node}, process {item.pid}")
        elif isinstance(item, worker.News):
            task.hear(item)
        elif isinstance(item, worker.GotImages):
            events.log(f"  {task.node} got {item.size:,} bytes of decoded images")
        elif isinstance(item, worker.UnderWay):
            unpack(item.parcel.opened(task.node), make_folder(task.folder))
        elif isinstance(item, worker.NeedsImages):
            self._over(task)
            self._send_images(task)
            self._begin(task.number, task.lost)
        elif isinstance(item, worker.Finished):
            self._over(task)
            unpack(item.parcel.opened(task.node), make_folder(task.folder))
            return Ended(task.number)
        elif isinstance(item, worker.Failed):
            self._over(task)
            return Ended(task.number, item.failure)
        return None

    def _over(self, task: _Task) -> None:
        task.close()
        self._running.remove(task)

    def _lost(self, task: _Task, how: str) -> Ended | None:
        """A worker is gone: its fold goes on at another from what was sent last."""
        self._over(task)
        where = task.node or "a machine"
        if task.lost + 1 >= TRIES:
            value = f"{task.name} lost {TRIES} workers, the last at {where}: {how}"
            return Ended(task.number, TrainingFailed("a fold's worker has to live to its end", value, _AGAIN))
        if self._out_of_time:
            return Ended(task.number, OutOfTime("the time limit was reached", task.name, "`resume` goes on"))
        events.log(f"  {task.name}: the worker at {where} is gone ({how}); it goes on elsewhere")
        self._begin(task.number, task.lost + 1)
        return None

    def _send_images(self, task: _Task) -> None:
        if self._with_images is not None:
            return
        decoded = task.job.plan.decoded
        assert isinstance(decoded, DecodedSource), "only those are asked for"
        self._with_images = list_store(decoded.store.folder)
        self._chunks = chunks_to_send(decoded.store.folder, self._with_images, self._ray.put)

    def _let_none_begin(self) -> None:
        """The time is over: folds that no worker has begun are not trained."""
        self._out_of_time = True
        for task in [one for one in self._running if not one.node]:
            self._stop(task)
            self._over(task)

    def _stop(self, task: _Task) -> None:
        task.close()
        with suppress(self._ray.exceptions.RayError, ValueError, TypeError):
            self._ray.cancel(task.items, force=True)


@dataclass(frozen=True)
class Needs:
    """What a fold asks a machine for; ``memory`` is in bytes, 0 where it is not known."""

    cpus: float
    gpus: float
    memory: int = 0

    def fit(self, node: Mapping[str, float]) -> int:
        """How many such folds a machine holds, by its resources as Ray has them."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min(int(node.get(name, 0) / much + 1e-4) for name, much in wanted.items() if much)


def require_room(ray: Any, needs: Needs) -> int:
    """How many such folds the machines of the cluster hold.

    Raises
    ------
    InputError
        Where none holds one: Ray would wait for such a machine.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if room := sum(map(needs.fit, nodes)):
        return room
    able = [one for one in nodes if replace(needs, memory=0).fit(one)]  # but for their memory
    most = {name: max(one.get(name, 0) for one in able or nodes) for name in ("CPU", "GPU", "memory")}
    value = f"{_listed(needs.cpus, needs.gpus, needs.memory)}; of {counted(len(nodes), 'machine')} the largest have "
    value += _listed(most["CPU"], most["GPU"], most["memory"] if needs.memory else 0)
    remedy = "`cpus_per_fold` and `gpus_per_fold` ask for less"
    if able:
        remedy = "a smaller batch, or accumulate; or begin Ray on that machine with more memory"
    raise InputError("a machine of the cluster has what a fold asks for", value, remedy)


def _listed(cpus: float, gpus: float, memory: float) -> str:
    """Resources in words."""
    return f"{cpus:g} CPUs, {gpus:g} GPUs" + (f", {memory / 1e9:.2g} GB of memory" if memory else "")


def needs_of(plan: TrainPlan, asked: OnRay) -> Needs:
    """What a fold of a plan asks for."""
    on_gpu = plan.recipe.device == "cuda"
    gpus = asked.gpus if asked.gpus is not None else float(on_gpu)
    cpus = asked.cpus if asked.cpus is not None else float(1 if on_gpu else plan.recipe.threads or 1)
    return Needs(cpus, gpus)


def _started(plan: TrainPlan, inside: str) -> str:
    """The run's started.json, by which a fold's folder knows whose it is."""
    folder = plan.folder.parent if "/" in inside else plan.folder
    return (folder / STARTED).read_text(encoding="utf-8")
