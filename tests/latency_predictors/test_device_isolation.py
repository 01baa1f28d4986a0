"""What a network does to its process costs nothing but itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from latency_predictors import Device, Failure, Measurement, measure
from latency_predictors.devices.sessions import DeviceSession, cost
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import Connection, LocalTransport, ProcessConnection, Transport
from nas.testing.backends import every_operator
from nas.testing.endless import endless

PROGRAM = Path(__file__).with_name("misbehaving_runner.py")


@dataclass(frozen=True)
class Misbehaving(Device):
    """A device whose runner is `PROGRAM`."""

    store: Path = Path()

    def transport(self) -> Transport:
        return MisbehavingTransport(self.store)


class MisbehavingTransport(Transport):
    where = "this machine"

    def __init__(self, store: Path) -> None:
        self.store = store

    def connect(self) -> Connection:
        with (self.store / "starts").open("a") as file:
            file.write("start\n")
        return ProcessConnection([sys.executable, str(PROGRAM), str(self.store / "models")])


@pytest.fixture
def device(tmp_path: Path) -> Misbehaving:
    return Misbehaving("strange", store=tmp_path)


def identity(name: str) -> bytes:
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, 3]) for value in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node("Identity", ["input0"], ["output0"])], name, values[:1], values[1:])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )


def starts(device: Misbehaving) -> int:
    return len((device.store / "starts").read_text().splitlines())


def test_networks_that_end_their_process_are_failures_and_the_others_go_on(device: Misbehaving) -> None:
    names = ["good a", "abort load", "exit run", "abort visit 2", "good b", "error visit 2", "error load"]
    found = measure(device, [identity(name) for name in names], rounds=4, max_seconds=0)
    kinds = [result.kind if isinstance(result, Failure) else "" for result in found]
    assert kinds == ["", "crash", "crash", "crash", "", "unsupported", "unsupported"]
    reasons = {name: result.reason for name, result in zip(names, found, strict=True) if isinstance(result, Failure)}
    assert "SIGABRT" in reasons["abort load"]
    assert "exit code 7" in reasons["exit run"]
    assert reasons["error visit 2"] == "RuntimeError: the runtime"
    assert all(reason.count("\n") == 0 for reason in reasons.values())
    # Each crash is one new process, nothing is visited twice, nothing that was timed is lost.
    assert starts(device) == 1 + 3
    good = [result for result in found if isinstance(result, Measurement)]
    assert [len(result.samples_ms) for result in good] == [12, 12]
    lost = [result for result in found if isinstance(result, Failure)]
    assert [len(result.samples_ms) for result in lost] in ([0, 0, 3, 3, 0], [0, 0, 3, 6, 0])  # each process counts anew


@pytest.mark.parametrize("moment", ["load", "run", "visit 2"])
def test_a_network_that_hangs_is_given_up_in_time(device: Misbehaving, moment: str) -> None:
    started = monotonic()
    models = [identity("good a"), identity(f"hang {moment}"), identity("good b")]
    first, hung, last = measure(device, models, rounds=2, max_seconds=0, prepare_seconds=1, visit_seconds=1)
    assert isinstance(first, Measurement)
    assert isinstance(last, Measurement)
    assert isinstance(hung, Failure)
    assert hung.kind == "timeout"
    assert "gave no answer for 1 s" in hung.reason
    assert monotonic() - started < 60  # not an hour
    assert (len(first.samples_ms), len(last.samples_ms)) == (6, 6)


def test_a_model_without_end_on_the_real_runtime() -> None:
    good = timing_graph(every_operator())
    hung, fine = measure(Device("local"), [endless(), good], rounds=2, max_seconds=0, visit_seconds=1)
    assert isinstance(hung, Failure)
    assert hung.kind == "timeout"
    assert isinstance(fine, Measurement)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    try:
        made = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_says_so_and_loses_nothing(small_disk: Path) -> None:
    class OnSmallDisk(Device):
        def transport(self) -> Transport:
            return LocalTransport("onnxruntime", small_disk)

    small = timing_graph(every_operator())
    models = [small, with_weights(300_000), with_weights(400_000), small]
    found = measure(OnSmallDisk("small"), models, rounds=2, max_seconds=0)
    assert [result.kind if isinstance(result, Failure) else "" for result in found] == ["", "", "storage", ""]
    assert isinstance(found[2], Failure)
    assert "the disk is full" in found[2].reason
    assert str(small_disk) in found[2].reason
    assert not list(small_disk.glob("*.part"))


def with_weights(size: int) -> bytes:
    """A model of about `size` bytes."""
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [size // 4], np.zeros(size // 4, np.float32).tobytes(), raw=True
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["input0", "w"], ["output0"])],
        "g",
        [value("input0", TensorProto.FLOAT, [1])],
        [value("output0", TensorProto.FLOAT, [size // 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_a_killed_program_leaves_no_models_and_no_runner(tmp_path: Path) -> None:
    program = (
        "from latency_predictors.devices.client import Client\n"
        "from latency_predictors.devices.transports import LocalTransport\n"
        "client = Client(LocalTransport('onnxruntime'), 'onnxruntime', {})\n"
        "print(client._connection.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout
        runner = int(process.stdout.readline())
        assert list(tmp_path.glob("nasmyth-models-*"))
        process.kill()
    for _ in range(300):
        if not list(tmp_path.glob("nasmyth-models-*")) and not runs(runner):
            return
        sleep(0.1)
    raise AssertionError("the runner or its models are still there")


def runs(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty when it only waits to be reaped
    except OSError:
        return False


# ------------------------------------------------------------------ one model in a fresh process


def test_memory_is_that_of_the_model() -> None:
    """A model with 40 MB of weights takes 40 MB at least, and a tiny one next to nothing."""
    small, large = cost(Device("local"), with_weights(4000)), cost(Device("local"), with_weights(40_000_000))
    assert large.size_mb == pytest.approx(40, rel=0.01)
    assert small.added_mb < 20
    assert 40 < large.added_mb - small.added_mb < 250
    assert large.peak_mb > large.added_mb
    assert all(found.load_ms > 0 and found.first_ms > 0 for found in (small, large))
    assert large.load_ms > small.load_ms


def test_outputs_of_a_session_are_those_of_the_backend() -> None:
    model, rng = timing_graph(every_operator()), np.random.default_rng(0)
    inputs = {name: rng.standard_normal((1, 4, 6, 6)).astype(np.float32) for name in ("input0", "input1")}
    here = Device("local").make_backend().prepare(model).run(inputs)
    with DeviceSession(Device("local"), model) as session:
        there = session.run(inputs)
        with pytest.raises(ValueError, match="cannot run the model"):
            session.run({"input0": inputs["input0"]})
        np.testing.assert_array_equal(session.run(inputs)["output0"], there["output0"])
    np.testing.assert_array_equal(here["output0"], there["output0"])


def test_a_session_that_ends_is_one_sentence(device: Misbehaving) -> None:
    inputs: dict[str, Any] = {"input0": np.zeros((1, 3), np.float32)}
    with DeviceSession(device, identity("abort run")) as session, pytest.raises(ValueError, match="SIGABRT"):
        session.run(inputs)
    with pytest.raises(ValueError, match=r"device 'strange'.*exit code 7"):
        DeviceSession(device, identity("exit load"))
