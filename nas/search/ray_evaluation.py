"""Evaluations in the processes of a Ray cluster, as many at a time as its nodes have room for."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from latency_predictors.devices.ray_cluster import ATTEMPTS, connected, first_line, import_ray, told
from latency_predictors.devices.transports import DeviceError
from nas.search.engines import Evaluate, EvaluationEngine, Interrupted, Outcome
from nas.search.fidelity import Bar
from nas.search.finding import Finding
from search_spaces import Architecture


@dataclass(frozen=True)
class Recipe:
    """How a process of a node comes to evaluate networks.

    Attributes:
        load: a function that the nodes can import; gives what evaluates a network.
        arguments: of `load`; they are sent to each node once. Arrays are read-only there, and shared by its processes.
    """

    load: Callable[..., Evaluate]
    arguments: Mapping[str, Any]


class RayEvaluation(EvaluationEngine):
    """Evaluates in processes (actors) of a Ray cluster, each of which loads the recipe once.

    The cluster is not needed before an evaluation is to begin. Nodes may come and go: a lost one's evaluations are
    `Interrupted`, and a new one's room is used.

    Args:
        recipe: what a process loads.
        cpus: of a node that one evaluation takes.
        address: of the cluster. `auto` is that in the environment variable RAY_ADDRESS, or the one of this machine.

    Raises:
        ModuleNotFoundError: when Ray is not installed; the message says what to install.
    """

    def __init__(self, recipe: Recipe, cpus: int = 1, address: str = "auto") -> None:
        self._ray = import_ray()
        self._recipe, self._cpus, self._address = recipe, cpus, address
        self._opened = ExitStack()
        self._pool: _Pool | None = None

    def room(self, left: int) -> bool:
        """Whether a process is ready and idle; sees to it that there are as many as the nodes have CPUs for.

        Raises:
            DeviceError: when there is no cluster, no node has enough CPUs, or Nasmyth cannot be used on a node.
        """
        if self._pool is None:
            self._opened.enter_context(connected(self._ray, self._address))
            self._pool = _Pool(self._ray, self._recipe, self._cpus)
            self._opened.callback(self._pool.close)
        self._pool.fit(left)
        return bool(self._pool.idle)

    def begin(self, number: int, architecture: Architecture, bar: Bar | None = None) -> None:
        """Send it to an idle process."""
        assert self._pool is not None, "there was no room"
        self._pool.begin(number, architecture, bar)

    def ended(self, seconds: float) -> Sequence[tuple[int, Outcome]]:
        """As for `EvaluationEngine.ended`; may come back early when a process became ready."""
        if self._pool is None:
            time.sleep(seconds)
            return []
        return self._pool.ended(seconds)

    def close(self) -> None:
        """End the processes, and the connection, unless it was there before."""
        self._pool = None
        self._opened.close()


class _Evaluating:
    """What runs in a process of a node."""

    def place(self) -> dict[str, str]:
        """Id of the node, and name of the machine."""
        return {"node": import_ray().get_runtime_context().get_node_id(), "host": socket.gethostname()}

    def load(self, load: Callable[..., Evaluate], arguments: Mapping[str, Any]) -> None:
        """Make it ready."""
        self._evaluate = load(**arguments)

    def score(self, architecture: str, bar: Bar | None) -> Finding:
        """What is found of one network, whose architecture is given as JSON."""
        return self._evaluate(Architecture.from_json(architecture), bar)


@dataclass(frozen=True)
class _Process:
    """A process that is ready.

    Attributes:
        actor: Ray's name for it.
        node: id of the node on which it is.
        host: name of that machine, for people.
    """

    actor: Any
    node: str
    host: str


class _Pool:
    """The processes of one search, in the states `loading`, `idle` and `busy`.

    Args:
        ray: the module, which is connected.
        recipe: what each process loads.
        cpus: that each one takes.
    """

    def __init__(self, ray: Any, recipe: Recipe, cpus: int) -> None:
        self._ray, self._cpus, self._load = ray, cpus, recipe.load
        self._arguments = ray.put(dict(recipe.arguments))
        # Nothing is done again by Ray itself: what is lost is told, and the study decides.
        self._actor = ray.remote(num_cpus=cpus, max_restarts=0, max_task_retries=0)(_Evaluating)
        self._loading: dict[Any, Any] = {}
        self.idle: list[_Process] = []
        self._busy: dict[Any, tuple[int, _Process]] = {}
        self._lost_starts = 0

    def fit(self, left: int) -> None:
        """Start processes, or give up those that wait for room, as nodes have come or gone."""
        nodes = self._nodes()
        room = sum(int(node["Resources"].get("CPU", 0) // self._cpus) for node in nodes)
        if not room:
            address = self._ray.get_runtime_context().gcs_address
            raise DeviceError(
                f"no node of the Ray cluster has the CPUs of an evaluation ({self._cpus}, as many as threads); on a "
                f"machine that is to evaluate run `ray start --address={address} --num-cpus={self._cpus}`"
            )
        wanted = min(room, len(self._busy) + left)
        size = len(self._loading) + len(self.idle) + len(self._busy)
        for _ in range(wanted - size):
            actor = self._actor.remote()
            self._loading[actor.load.remote(self._load, self._arguments)] = actor
        for reference in list(self._loading)[: max(0, size - wanted)]:
            self._ray.kill(self._loading.pop(reference))

    def begin(self, number: int, architecture: Architecture, bar: Bar | None) -> None:
        """Give a network to the process that is idle for the longest time, so that an error is tried again elsewhere."""
        process = self.idle.pop(0)
        self._busy[process.actor.score.remote(architecture.to_json(), bar)] = number, process

    def ended(self, seconds: float) -> list[tuple[int, Outcome]]:
        """See `EvaluationEngine.ended`."""
        references = [*self._loading, *self._busy]
        if not references:
            time.sleep(seconds)
            return []
        self._ray.wait(references, num_returns=1, timeout=seconds)
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            if reference in self._loading:
                self._loaded(reference, self._loading.pop(reference))
        return [self._outcome(reference, *self._busy.pop(reference)) for reference in ready if reference in self._busy]

    def close(self) -> None:
        """End all processes."""
        for actor in (
            *self._loading.values(),
            *(p.actor for p in self.idle),
            *(p.actor for _, p in self._busy.values()),
        ):
            self._ray.kill(actor)

    def _loaded(self, reference: Any, actor: Any) -> None:
        """Take in a process that is ready, unless it was lost on the way."""
        errors, node = self._ray.exceptions, "a node of the Ray cluster"
        try:
            process = _Process(actor, **self._ray.get(actor.place.remote()))
            node = f"the Ray node {process.host}"
            self._ray.get(reference)
            self.idle.append(process)
            self._lost_starts = 0
        except errors.RayTaskError as error:
            raise told(node, error.cause) from error
        except errors.RayError as error:
            self._lost_starts += 1
            if self._lost_starts >= ATTEMPTS:
                raise DeviceError(
                    f"{ATTEMPTS} Ray processes in a row were lost before they could evaluate: is Nasmyth of this release "
                    f"in the Python that runs Ray on each node (pip install 'nasmyth[ray]')? The last one: "
                    f"{_last_line(error)}"
                ) from error

    def _outcome(self, reference: Any, number: int, process: _Process) -> tuple[int, Outcome]:
        errors = self._ray.exceptions
        try:
            score = self._ray.get(reference)
        except errors.RayTaskError as error:
            self.idle.append(process)
            return number, partial(_fail, error.cause)
        except errors.RayError as error:
            return number, partial(_fail, self._loss(process, error))
        self.idle.append(process)
        return number, lambda: score

    def _loss(self, process: _Process, error: Exception) -> Exception:
        """Why a process is lost: through the network that it evaluated, as it seems, or with its node."""
        self._ray.kill(process.actor)  # it may live where it cannot be reached
        unreachable = isinstance(error, self._ray.exceptions.ActorUnavailableError)
        if unreachable or process.node not in {node["NodeID"] for node in self._nodes()}:
            return Interrupted(f"{process.host} has left the Ray cluster")
        return ChildProcessError(f"its Ray process on {process.host} died: {_last_line(error)}")

    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def _fail(error: Exception) -> Finding:
    raise error


def _last_line(error: Exception) -> str:
    """Ray's messages end with the cause."""
    return (str(error).strip() or first_line(error)).splitlines()[-1].strip()
