"""Measuring on the node of a Ray cluster to which a device belongs.

A device is a custom resource of one node. Each measuring is a task that takes the whole resource, so that two never run
at the same time, whoever starts them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Any

from latency_predictors.devices import quantities
from latency_predictors.devices.device import Device
from latency_predictors.devices.engines import Engine
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.measuring import Progress, Protocol, measure_documents
from latency_predictors.devices.quantities import Reading
from latency_predictors.devices.ray_cluster import ATTEMPTS, connected, first_line, import_ray, told
from latency_predictors.devices.results import Failure, Measurement, from_document
from latency_predictors.devices.transports import DeviceError

#: How often the node tells how far it is: seldom, since telling takes time of the machine that is measured.
PROGRESS_SECONDS = 1.0
#: How often to look whether a task that says nothing can still be run.
LOOK_SECONDS = 5.0

#: What a task tells: how far it is (`done` and `planned`), again and again; at last what it `found`.
_Steps = Iterator[dict[str, Any]]
#: A task, as the node calls it: the document of the device, references to models, and options.
_Function = Callable[[Mapping[str, Any], Sequence[Any], Mapping[str, Any]], _Steps]

_GONE = "its node has left the Ray cluster"


def resource_name(device: str) -> str:
    """The custom resource that the node of `device` declares, with the amount 1."""
    return f"nasmyth_device_{device}"


@dataclass(frozen=True)
class RayEngine(Engine):
    """Measures as a Ray task on the node that declares the device.

    A process that is connected to Ray already stays so; else it is connected for the time of measuring.

    Attributes:
        address: of the cluster. `auto` is that in the environment variable RAY_ADDRESS, or the one of this machine.
    """

    address: str = "auto"

    def measure(
        self, device: Device, models: Sequence[bytes], *, progress: Progress | None = None, **protocol: Any
    ) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        """As for `Engine.measure`. A measuring whose worker is lost is begun anew, three times at most; what the lost
        one had timed is not used.

        Raises:
            DeviceError: also when there is no cluster, no node of it declares the device, or its node is lost.
        """
        Protocol(**protocol)  # wrong numbers are told here, before anything is sent
        found = self._run(_measure_here, device, models, protocol, progress)
        return found["fingerprint"], [from_document(result) for result in found["results"]]

    def check_quantities(self, device: Device, wanted: Iterable[str]) -> None:
        """As for `Engine.check_quantities`; waits for its turn. Lost workers and errors are as for `measure`."""
        self._run(_check_quantities_here, device, (), {"wanted": list(wanted)})

    def measure_quantities(
        self,
        device: Device,
        models: Sequence[bytes],
        wanted: Iterable[str],
        *,
        seed: int = 0,
        max_seconds: float = 60.0,
        progress: Progress | None = None,
    ) -> list[dict[str, Reading]]:
        """As for `Engine.measure_quantities`. Lost workers and errors are as for `measure`."""
        options = {"wanted": list(wanted), "seed": seed, "max_seconds": max_seconds}
        rows = self._run(_measure_quantities_here, device, models, options, progress)
        return [{name: Reading.from_document(found) for name, found in row.items()} for row in rows]

    def _run(
        self,
        function: _Function,
        device: Device,
        models: Sequence[bytes],
        options: Mapping[str, Any],
        progress: Progress | None = None,
    ) -> Any:
        """What `function` finds on the node of `device`."""
        ray = import_ray()
        with connected(ray, self.address):
            return _Task(ray, function, device, [ray.put(model) for model in models], options).found(progress)


class _Task:
    """One measuring, sent to the cluster as often as it takes.

    Args:
        ray: the module.
        function: what the node does.
        device: what to measure.
        models: references to the models in Ray's store: the node fetches each when it needs it.
        options: how to measure, and what.
    """

    def __init__(
        self, ray: Any, function: _Function, device: Device, models: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        self._ray, self._device = ray, device
        self._arguments = device.document(), models, options
        self._resource = resource_name(device.name)
        # Ray's own retries would join the progress of one attempt to the results of another.
        needs = {"num_cpus": 0, "resources": {self._resource: 1}, "max_retries": 0, "num_returns": "streaming"}
        self._remote = ray.remote(**needs)(function)

    def found(self, progress: Progress | None) -> Any:
        """What the first attempt finds that comes to its end."""
        errors, lost = self._ray.exceptions, ""
        self._check_declared("no node of the Ray cluster declares it")
        for _ in range(ATTEMPTS):
            try:
                return self._attempt(progress)
            except errors.RayTaskError as error:
                raise told(f"the Ray node of device {self._device.name!r}", error.cause) from error
            except errors.RayError as error:
                lost = first_line(error)
            self._check_declared(_GONE)
        raise DeviceError(
            f"device {self._device.name!r}: the Ray worker that measured it was lost {ATTEMPTS} times, see the logs of "
            f"Ray on its node ({lost})"
        )

    def _attempt(self, progress: Progress | None) -> Any:
        steps = self._remote.remote(*self._arguments)
        try:
            for step in self._steps(steps):
                if "found" in step:
                    return step["found"]
                if progress is not None:
                    progress(step["done"], step["planned"])
        except (
            self._ray.exceptions.RayTaskError
        ):  # it ends by itself; to cancel a task that just ends can abort this process
            raise
        except BaseException:
            self._ray.cancel(steps, force=True)  # else it would hold the device
            raise
        raise self._ray.exceptions.RaySystemError("the task ended without results")

    def _steps(self, steps: Any) -> _Steps:
        """What the node tells, as it comes."""
        while True:
            ready, _ = self._ray.wait([steps], timeout=LOOK_SECONDS)
            if ready:
                try:
                    yield self._ray.get(next(steps))
                except StopIteration:
                    return
            else:  # a task whose resource is gone would wait for ever
                self._check_declared(_GONE)

    def _check_declared(self, problem: str) -> None:
        amount = self._ray.cluster_resources().get(self._resource, 0)
        name, declared = self._device.name, json.dumps({self._resource: 1})
        if not amount:
            address = self._ray.get_runtime_context().gcs_address
            raise DeviceError(
                f"device {name!r}: {problem}; on the machine of the device run "
                f"`ray start --address={address} --resources='{declared}'`"
            )
        if amount != 1:
            raise DeviceError(
                f"device {name!r}: the nodes of the Ray cluster declare {amount:g} of it; a device is one, on one "
                f"node: --resources='{declared}'"
            )


class _Fetched(Sequence[bytes]):
    """Models in Ray's store, each fetched when it is asked for: a thousand do not fit into memory."""

    def __init__(self, references: Sequence[Any]) -> None:
        self._ray, self._references = import_ray(), references

    def __len__(self) -> int:
        return len(self._references)

    def __getitem__(self, number: Any) -> Any:
        return self._ray.get(self._references[number])


def _measure_here(device: Mapping[str, Any], models: Sequence[Any], protocol: Mapping[str, Any]) -> _Steps:
    """The task that finds `fingerprint` and `results`, see `measure_documents`."""

    def work(progress: Progress) -> dict[str, Any]:
        # Ray gives its workers a low priority (RAY_worker_niceness), which the device's runner inherits.
        mark = fingerprint(Device(**device)) | {"niceness": os.nice(0)}
        return {
            "fingerprint": mark,
            "results": measure_documents(device, _Fetched(models), progress=progress, **protocol),
        }

    yield from _told_of(work)


def _check_quantities_here(device: Mapping[str, Any], models: Sequence[Any], options: Mapping[str, Any]) -> _Steps:
    """The task that finds nothing wrong, or raises as `quantities.check`."""
    yield from _told_of(lambda _: quantities.check(Device(**device), **options))


def _measure_quantities_here(device: Mapping[str, Any], models: Sequence[Any], options: Mapping[str, Any]) -> _Steps:
    """The task that finds, for each model, the attributes of each `Reading` by the name of the quantity."""

    def work(progress: Progress) -> list[dict[str, Any]]:
        rows = quantities.measure(Device(**device), _Fetched(models), progress=progress, **options)
        return [{name: asdict(reading) for name, reading in row.items()} for row in rows]

    yield from _told_of(work)


def _told_of(work: Callable[[Progress], Any]) -> _Steps:
    """Do `work`, and tell how far it is."""
    reached = {"done": 0, "planned": 0}

    def progress(done: int, planned: int) -> None:
        reached.update(done=done, planned=planned)

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(work, progress)
        while not wait([found], PROGRESS_SECONDS).done:
            if reached["planned"]:
                yield dict(reached)
        yield {"found": found.result()}
