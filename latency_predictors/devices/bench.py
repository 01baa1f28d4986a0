"""Networks loaded side by side in a runner, which is started anew whenever one of them ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import sleep

import numpy as np

from latency_predictors.devices.backend import Array, Model
from latency_predictors.devices.client import Client, RefusedError, content, digest
from latency_predictors.devices.device import Device
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.parity import ParityError, check_outputs
from latency_predictors.devices.results import Failure
from latency_predictors.devices.runner import sentence
from latency_predictors.devices.transports import Crashed, DeviceError, Lost, Overdue

#: A connection that breaks so often without anything done in between is given up.
ATTEMPTS = 3


@dataclass(eq=False)
class Network:
    """A network on the bench.

    Attributes:
        model: the ONNX model.
        seed: of its inputs.
        visits_ms: its samples, one list a visit.
        failure: why it is no longer timed.
    """

    model: bytes
    seed: int
    visits_ms: list[list[float]] = field(default_factory=list)
    failure: Failure | None = None
    inputs: Mapping[str, Array] | None = None
    checked: bool = False

    def __post_init__(self) -> None:
        self.digest = digest(self.model)

    @classmethod
    def of(cls, model: Model, seed: int) -> Network:
        """The network of a model; one whose file cannot be read has a failure."""
        try:
            return cls(content(model), seed)
        except OSError as error:
            network = cls(b"", seed)
            network.fail("corrupt", f"the model {model!s} cannot be read: {error.strerror}")
            return network

    def fail(self, kind: str, reason: str) -> None:
        """Take it off the bench."""
        self.failure = Failure(kind, reason, tuple(np.ravel(self.visits_ms).tolist()))


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds.

    Attributes:
        prepare: storing and loading one network.
        visit: one run, and one visit of a network.
    """

    prepare: float = 300.0
    visit: float = 60.0


class Bench:
    """Times networks on a device; a context manager.

    A network that ends the runner's process, or makes it hang, is taken off; the others are loaded again and go on where
    they were. A connection that breaks is made again.

    Args:
        device: where.
        limits: for networks that hang.

    Raises:
        DeviceError: when the device cannot be used or reached; the message says what to do.
        ModuleNotFoundError: when its runtime is not installed.
    """

    def __init__(self, device: Device, limits: Limits) -> None:
        self._device, self._limits = device, limits
        self._backend = device.make_backend()  # what it tolerates; nothing runs in this process
        self._transport = device.transport()
        self._networks: Sequence[Network] = ()
        self._loaded: set[int] = set()
        self._lost = 0
        try:
            self._client = self._connect()
        except Lost as error:
            self._transport.close()
            raise DeviceError(str(error)) from error
        except BaseException:
            self._transport.close()
            raise

    def _connect(self) -> Client:
        return Client(self._transport, self._device.backend, self._device.options)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._transport.close()

    def load(self, networks: Sequence[Network]) -> None:
        """Load networks in place of those before; each that cannot be loaded, or is wrong, has a `failure` then."""
        before = {network.digest for network in self._networks}
        gone = sorted(before - {network.digest for network in networks})
        self._networks = networks
        self._loaded.clear()
        for network in networks:
            _check_file(network)
        self._guarded(lambda: None, lambda: self._clear(gone))
        self._load_missing()

    def _clear(self, gone: Sequence[str]) -> None:
        self._client.release()
        self._client.forget(gone)

    def round(self, order: Sequence[int], repeats: int) -> None:
        """Visit the networks with these numbers, in this order; those with a failure are left out."""
        left = list(order)

        def visit() -> None:
            for slot, samples_ms in self._client.time(list(left), repeats, self._limits.visit):
                self._networks[slot].visits_ms.append(samples_ms)
                left.remove(slot)
                self._lost = 0

        while True:
            self._load_missing()
            left[:] = [slot for slot in left if self._networks[slot].failure is None]
            if not left:
                return
            # What stops the runner is the network whose samples would have come next.
            self._guarded(lambda: self._networks[left[0]] if left else None, visit)

    def _load_missing(self) -> None:
        while True:
            missing = (
                (slot, network)
                for slot, network in enumerate(self._networks)
                if network.failure is None and slot not in self._loaded
            )
            slot, network = next(missing, (-1, None))
            if network is None:
                return
            loading = network
            self._guarded(lambda: loading, lambda: self._load(slot, loading))  # noqa: B023

    def _load(self, slot: int, network: Network) -> None:
        self._client.upload({network.digest: network.model}, self._limits.prepare)
        prepared = self._client.prepare(slot, network.digest, self._limits.prepare)
        if network.inputs is None:
            network.inputs = random_inputs(prepared, np.random.default_rng(network.seed))
        ran = self._client.run(slot, network.inputs, self._limits.visit)
        if not network.checked:
            check_outputs(network.model, network.inputs, ran.outputs, self._backend.tolerance, self._backend.title)
            network.checked = True
        self._loaded.add(slot)
        self._lost = 0

    def _guarded(self, culprit: Callable[[], Network | None], action: Callable[[], None]) -> None:
        """Do `action`; what goes wrong is the fault of `culprit`, or of the connection."""
        try:
            action()
        except (DeviceError, Lost) as error:
            self._restart(error)
        except (Crashed, Overdue) as error:
            if network := culprit():
                kind = "crash" if isinstance(error, Crashed) else "timeout"
                network.fail(kind, f"the process of {self._device.backend} {error}")
            self._restart(error)
        except ValueError as error:
            network = culprit()
            if network is None:
                raise
            kind = error.kind if isinstance(error, RefusedError) else "parity" if isinstance(error, ParityError) else ""
            network.fail(_KINDS.get(kind, "unsupported"), str(error))

    def _restart(self, reason: Exception) -> None:
        """Another runner, with nothing loaded.

        Raises:
            Lost: when it cannot be reached after several attempts, or is lost again and again.
        """
        self._client.close()
        self._loaded.clear()
        self._lost += not isinstance(reason, Crashed | Overdue)
        if self._lost > ATTEMPTS:
            raise Lost(f"{reason}; it broke {self._lost} times in a row")
        last = reason
        for pause in self._transport.retry_seconds:
            sleep(pause)
            try:
                self._client = self._connect()
            except (Lost, DeviceError, ModuleNotFoundError) as error:
                last = error
            else:
                return
        raise Lost(str(last))


_KINDS = {"disk": "storage", "parity": "parity"}


def _check_file(network: Network) -> None:
    """Give `network` a failure when its bytes are not a whole ONNX model, before any runtime sees them."""
    from onnx import TensorProto, load_model_from_string

    if network.failure is not None:
        return
    try:
        model = load_model_from_string(network.model)
    except Exception as error:  # protobuf's own exceptions
        network.fail("corrupt", f"the model is not an ONNX file: {sentence(error)}")
        return
    if not model.graph.node or not model.opset_import:
        network.fail("corrupt", "the model is not an ONNX file: it has no operators")
    elif any(weight.data_location == TensorProto.EXTERNAL for weight in model.graph.initializer):
        network.fail("unsupported", "the model has weights in other files: save it as one file (onnx.save_model)")
