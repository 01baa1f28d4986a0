"""Talking to a runner: one method for each of its requests."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from latency_predictors.devices import runner
from latency_predictors.devices.backend import Array, Input, Model
from latency_predictors.devices.transports import (
    Connection,
    Crashed,
    DeviceError,
    Overdue,
    Transport,
    decode,
    ending,
)

_CHUNK = 1 << 20
#: The time limit for what depends on no model: starting Python and importing a runtime, on a slow machine too.
START_SECONDS = 120.0
#: How much longer than the runner itself this side waits, so that the runner ends by itself.
GRACE_SECONDS = 5.0


class RefusedError(ValueError):
    """The runner could not do what it was asked for.

    Attributes:
        kind: `model` when the runtime cannot load or run the model, `disk` when the model cannot be stored, `energy`
            when nothing tells the energy.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Prepared:
    """A model that a runner has loaded.

    Attributes:
        inputs: of the model, by name.
        load_ms: time of loading.
        memory_mb: resident memory of the runner's process before.
        peak_mb: its peak while loading.
    """

    inputs: Mapping[str, Input]
    load_ms: float
    memory_mb: float
    peak_mb: float


@dataclass(frozen=True)
class Ran:
    """One run of a model.

    Attributes:
        outputs: by name.
        run_ms: time of the run.
        peak_mb: peak of the runner's resident memory since the model was prepared.
    """

    outputs: Mapping[str, Array]
    run_ms: float
    peak_mb: float


class Client:
    """A connected runner; a context manager that ends it.

    Every method may raise `Crashed`, `Overdue` or `Lost`: then the runner is gone.

    Args:
        transport: how to reach it.
        backend: name of the runtime.
        options: of the runtime.

    Raises:
        DeviceError: when the device cannot be used; the message says what to do.
        ModuleNotFoundError: when the runtime is not installed there; the message says what to install.
        Lost: when the connection cannot be made now.
    """

    def __init__(self, transport: Transport, backend: str, options: Mapping[str, Any]) -> None:
        self._transport, self._ids = transport, count()
        self._connection: Connection = transport.connect()
        try:
            hello = self._hello(backend, options)
        except BaseException:
            self._connection.close()
            raise
        #: What the device is, see `runner.fingerprint`.
        self.fingerprint: dict[str, Any] = hello["fingerprint"]

    def _hello(self, backend: str, options: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._ask("hello", START_SECONDS, protocol=runner.PROTOCOL, backend=backend, options=dict(options))
        except (Crashed, Overdue) as error:
            raise DeviceError(f"{backend} does not start on {self._transport.where}: its process {error}") from error
        except RefusedError as error:
            raise DeviceError(f"{backend} does not start on {self._transport.where}: {error}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the runner."""
        self._connection.close()

    # ------------------------------------------------------------------ requests

    def look(self) -> dict[str, Any]:
        """The fingerprint at this moment."""
        found: dict[str, Any] = self._ask("fingerprint", START_SECONDS)["fingerprint"]
        return found

    def upload(self, models: Mapping[str, bytes], seconds: float) -> None:
        """Store the models, by hash, that are not there yet.

        Raises:
            RefusedError: when one cannot be stored.
        """
        for digest in self._ask("offer", seconds, hashes=list(models))["missing"]:
            self._upload(digest, models[digest], seconds)

    def _upload(self, digest: str, content: bytes, seconds: float) -> None:
        starts = range(0, max(len(content), 1), _CHUNK)
        for start in starts:
            data = base64.b64encode(content[start : start + _CHUNK]).decode("ascii")
            self._ask("upload", seconds, hash=digest, data=data, first=start == 0, last=start == starts[-1])

    def forget(self, digests: Sequence[str]) -> None:
        """Remove stored models."""
        self._ask("forget", START_SECONDS, hashes=list(digests))

    def prepare(self, slot: int, digest: str, seconds: float) -> Prepared:
        """Load a stored model into `slot`.

        Raises:
            RefusedError: when the runtime cannot load it.
        """
        answer = self._ask("prepare", seconds, slot=slot, hash=digest)
        inputs = {name: Input(tuple(shape), dtype) for name, (shape, dtype) in answer["inputs"].items()}
        return Prepared(inputs, answer["load_ms"], answer["memory_mb"], answer["peak_mb"])

    def run(self, slot: int, inputs: Mapping[str, Array], seconds: float) -> Ran:
        """Run the model in `slot`; it is timed with these inputs from now on.

        Raises:
            RefusedError: when the runtime cannot run it.
        """
        packed = {name: runner.pack(value) for name, value in inputs.items()}
        answer = self._ask("run", seconds, slot=slot, inputs=packed)
        outputs = {name: runner.unpack(value) for name, value in answer["outputs"].items()}
        return Ran(outputs, answer["run_ms"], answer["peak_mb"])

    def time(self, order: Sequence[int], repeats: int, seconds: float) -> Iterator[tuple[int, list[float]]]:
        """Visit the slots of `order`: each one's number with its `repeats` samples in milliseconds, at once.

        Args:
            order: slots of models that have run.
            repeats: samples of a visit.
            seconds: time limit of a visit.

        Raises:
            RefusedError: when the runtime cannot run the next one.
        """
        number = self._send("time", seconds, order=list(order), repeats=repeats)
        while "done" not in (answer := self._receive(number, seconds)):
            yield answer["visit"], answer["samples_ms"]

    def meter(self, command: Sequence[str]) -> None:
        """Choose what tells energy: a program with its arguments, or the processor's own counters when it is empty.

        Raises:
            RefusedError: when it cannot be read.
        """
        self._ask("meter", START_SECONDS, command=list(command))

    def energy(self, slot: int, burst_seconds: float, seconds: float) -> float:
        """Millijoule of one run of the model in `slot`, which has run before, from a burst of runs.

        Raises:
            RefusedError: when the meter cannot be read, or the runtime cannot run the model.
        """
        answer = self._ask("energy", seconds, slot=slot, burst_s=burst_seconds)
        return float(answer["energy_mj"])

    def release(self) -> None:
        """Unload all models."""
        self._ask("release", START_SECONDS)

    # ------------------------------------------------------------------ lines

    def _ask(self, what: str, seconds: float, **arguments: Any) -> dict[str, Any]:
        return self._receive(self._send(what, seconds, **arguments), seconds)

    def _send(self, what: str, seconds: float, **arguments: Any) -> int:
        number = next(self._ids)
        request = {"id": number, "do": what, "limit_s": seconds, **arguments}
        self._connection.send(json.dumps(request).encode("ascii") + b"\n")
        return number

    def _receive(self, number: int, seconds: float) -> dict[str, Any]:
        started = monotonic()
        try:
            return self._answer(number, 1.25 * seconds + GRACE_SECONDS)
        except Crashed as error:
            if monotonic() - started < 0.95 * seconds:
                raise
            raise Overdue(f"gave no answer for {seconds:.4g} s") from error  # it ended itself

    def _answer(self, number: int, seconds: float) -> dict[str, Any]:
        while True:
            answer = decode(self._connection.receive(seconds))
            if answer is None:  # the greeting of a login shell, or the rest of a broken line
                continue
            if "ended" in answer:
                raise Crashed(ending(int(str(answer["ended"]))))
            if "error" in answer:
                raise self._error(answer)
            if answer.get("id") == number:
                return answer

    def _error(self, answer: Mapping[str, Any]) -> Exception:
        kind, reason = answer["error"], answer["reason"]
        if kind == "missing":
            return self._missing(str(answer["module"]), reason)
        if kind == "device":
            return DeviceError(f"{self._transport.where} cannot be used: {reason}")
        return RefusedError(kind, reason)

    def _missing(self, module: str, reason: str) -> Exception:
        if self._transport.where == "this machine":
            return ModuleNotFoundError(reason, name=module)
        advice = self._transport.install(module)
        return ModuleNotFoundError(f"{module} is not installed on {self._transport.where}: {advice}", name=module)


def content(model: Model) -> bytes:
    """The bytes of a model.

    Raises:
        OSError: when its file cannot be read.
    """
    return model if isinstance(model, bytes) else Path(model).read_bytes()


def digest(model: bytes) -> str:
    """The name of a model on the runner's side."""
    return hashlib.sha256(model).hexdigest()
