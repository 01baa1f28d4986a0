"""Measuring on a real Ray cluster of two nodes: a head that has no device, and a node that declares two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import Nodes

from latency_predictors import Device, Failure, Measurement, calibrate, complete, measure
from latency_predictors.devices import engines, quantities
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.measuring import TimingGraphs
from latency_predictors.devices.quantities import Reading
from latency_predictors.devices.ray_engine import RayEngine, resource_name
from latency_predictors.devices.transports import DeviceError
from nas.cli import main
from nas.testing.backends import unknown_operator
from search_spaces import SearchSpace

ray = pytest.importorskip("ray", reason="pip install 'nasmyth[ray]'")

#: What Ray adds to the priority of the processes of either node: it tells them apart, on one machine.
HEAD, BOARD = 1, 2
QUICK: dict[str, Any] = {"rounds": 3, "repeats": 2, "max_seconds": 0}


class Boards(Nodes):
    """A head, and a node with devices."""

    def __init__(self) -> None:
        super().__init__(HEAD, num_cpus=1)
        self.board = self.add(BOARD, num_cpus=0, resources={resource_name("board"): 1, resource_name("twins"): 2})


@pytest.fixture(scope="module")
def nodes() -> Iterator[Boards]:
    found = Boards()
    try:
        yield found
    finally:
        found.shut_down()


@pytest.fixture
def connected(nodes: Boards) -> RayEngine:
    """An engine whose driver keeps its connection."""
    ray.init(address=nodes.address, log_to_driver=False, ignore_reinit_error=True)
    return RayEngine(nodes.address)


@pytest.fixture(scope="module")
def models(tiny: SearchSpace) -> list[bytes]:
    return list(TimingGraphs(tiny, [tiny.smallest(), tiny.largest()], "inference"))


def workers(node: Any) -> list[int]:
    """Ids of the processes that measure on a node."""
    raylet = node.all_processes["raylet"][0].process.pid
    lines = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in lines[1:]]
    return [int(pid) for pid, parent, args in rows if int(parent) == raylet and "_measure_here" in args]


def test_a_device_is_measured_on_the_node_that_declares_it(nodes: Boards, models: list[bytes]) -> None:
    assert not ray.is_initialized()
    steps: list[tuple[int, int]] = []
    mark, found = RayEngine(nodes.address).measure(
        Device("board", options={"threads": 2}),
        [models[0], unknown_operator(), models[1]],
        progress=lambda done, planned: steps.append((done, planned)),
        rounds=900, repeats=3, max_seconds=0,
    )  # fmt: skip
    assert not ray.is_initialized()
    assert (mark["niceness"], mark["threads"], mark["runtime"]) == (os.nice(0) + BOARD, 2, "onnxruntime")
    smallest, unknown, largest = found
    assert isinstance(smallest, Measurement)
    assert isinstance(largest, Measurement)
    assert len(smallest.samples_ms) == len(largest.samples_ms) == 2700
    assert smallest.latency_ms == min(smallest.samples_ms) < largest.latency_ms
    assert isinstance(unknown, Failure)
    assert unknown.kind == "unsupported"
    assert steps == sorted(steps)
    assert steps
    assert {planned for _, planned in steps} == {900}


def test_two_measurings_of_a_device_never_overlap(connected: RayEngine, convnet: SearchSpace) -> None:
    graphs = list(TimingGraphs(convnet, convnet.sample(4, seed=0), "inference"))

    def once(_: int) -> tuple[float, float]:
        """When the measuring began, and the seconds that its timed runs took at least."""
        mark, found = connected.measure(Device("board"), graphs, rounds=60, repeats=6, max_seconds=0)
        timed_ms = sum(sum(measurement.samples_ms) for measurement in complete(found))
        return datetime.fromisoformat(mark["time"]).astimezone(UTC).timestamp(), timed_ms / 1000

    asked = time.time()
    with ThreadPoolExecutor(2) as pool:
        (first, seconds), (second, _) = sorted(pool.map(once, range(2)))
    assert seconds > 0.2  # else the next line would say nothing
    assert second - first > seconds
    assert asked < first


def test_a_device_that_no_node_declares(connected: RayEngine, models: list[bytes]) -> None:
    with pytest.raises(DeviceError, match="device 'drone': no node of the Ray cluster declares it") as caught:
        connected.measure(Device("drone"), models, **QUICK)
    assert f"`ray start --address={connected.address} --resources='{{\"nasmyth_device_drone\": 1}}'`" in str(
        caught.value
    )


def test_a_device_that_is_declared_twice(nodes: Boards, connected: RayEngine, models: list[bytes]) -> None:
    with pytest.raises(DeviceError, match="declare 2 of it; a device is one, on one node"):
        connected.measure(Device("twins"), models, **QUICK)


def test_wrong_numbers_are_told_before_there_is_a_cluster(models: list[bytes]) -> None:
    with pytest.raises(ValueError, match="rounds is 2 or more"):
        RayEngine("127.0.0.1:1").measure(Device("board"), models, rounds=1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1"])
def test_without_a_cluster(models: list[bytes], address: str, nodes: Boards) -> None:
    ray.shutdown()
    with pytest.raises(DeviceError, match="no Ray cluster can be reached: start one here with `ray start --head`"):
        RayEngine(address).measure(Device("board"), models, **QUICK)


def test_errors_of_the_node_say_so(connected: RayEngine, models: list[bytes]) -> None:
    """The node, not the driver, goes on by ssh, and finds nobody."""
    with pytest.raises(DeviceError, match=r"^on the Ray node of device 'board': "):
        connected.measure(Device("board", ssh="nobody@127.0.0.1:1"), models, **QUICK)


def test_a_lost_worker_is_replaced_and_nothing_counts_twice(
    nodes: Boards, connected: RayEngine, models: list[bytes]
) -> None:
    killed: list[int] = []

    def kill(done: int, planned: int) -> None:
        if not killed:
            killed.extend(workers(nodes.board))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    _, found = connected.measure(Device("board"), models, progress=kill, rounds=900, repeats=3, max_seconds=0)
    assert len(killed) == 1
    assert [len(measurement.samples_ms) for measurement in complete(found)] == [2700, 2700]


def test_a_worker_that_is_always_lost(nodes: Boards, connected: RayEngine, models: list[bytes]) -> None:
    killed: list[int] = []

    def kill(done: int, planned: int) -> None:
        for pid in workers(nodes.board):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(DeviceError, match="device 'board': the Ray worker that measured it was lost 3 times"):
        connected.measure(Device("board"), models, progress=kill, rounds=20_000, repeats=3, max_seconds=0)
    assert len(set(killed)) == 3


def test_an_interrupted_measuring_frees_the_device(connected: RayEngine, models: list[bytes]) -> None:
    def interrupt(done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connected.measure(Device("board"), models, progress=interrupt, rounds=100_000, repeats=3, max_seconds=0)
    _, found = connected.measure(Device("board"), models, **QUICK)
    assert len(complete(found)) == 2


def test_a_lost_node(nodes: Boards, connected: RayEngine, models: list[bytes]) -> None:
    board = nodes.add(BOARD, num_cpus=0, resources={resource_name("pi"): 1})
    gone: list[bool] = []

    def remove(done: int, planned: int) -> None:
        if not gone:
            gone.append(True)
            nodes.remove(board)

    with pytest.raises(DeviceError, match=r"device 'pi': its node has left the Ray cluster; on the machine .* run"):
        connected.measure(Device("pi"), models, progress=remove, rounds=20_000, repeats=3, max_seconds=0)
    assert gone


def test_a_calibration_has_the_fingerprint_of_the_node(connected: RayEngine, tiny: SearchSpace) -> None:
    found = calibrate(tiny, Device("board"), samples=4, holdout=3, engine=connected, **QUICK)
    assert found.fingerprint["niceness"] == os.nice(0) + BOARD
    assert all(len(measurement.samples_ms) == 6 for measurement in (*found.reference, *found.holdout))
    assert {record.fingerprint["niceness"] for record in found.records()} == {os.nice(0) + BOARD}


def refuse_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures quantities in this process fails; the processes of the nodes know nothing of it."""
    for name in ("check", "measure"):
        monkeypatch.setattr(quantities, name, lambda *_, **__: pytest.fail("measured from the driver"))


def test_quantities_are_measured_on_the_node(
    connected: RayEngine, models: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_here(monkeypatch)
    file = tmp_path / "niceness"
    meter = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.nice(0))); print(time.time())"
    device = Device("board", energy_command=[sys.executable, "-c", meter])
    names = ["peak_memory_mb", "load_ms", "energy_mj"]
    steps: list[tuple[int, int]] = []
    connected.check_quantities(device, names)
    assert int(file.read_text()) == os.nice(0) + BOARD
    found = connected.measure_quantities(
        device, models, names, seed=1, max_seconds=0, progress=lambda *now: steps.append(now)
    )
    assert [set(row) for row in found] == [set(names)] * 2
    for reading in (reading for row in found for reading in row.values()):
        assert isinstance(reading, Reading)
        assert len(reading.samples) == quantities.CERTAIN_VISITS
        assert min(reading.samples) <= reading.value <= max(reading.samples)
        assert min(reading.samples) > 0
    assert steps  # energy takes seconds
    assert steps == sorted(steps, key=lambda step: step[0])
    assert all(0 < done <= planned <= 4 * quantities.VISITS for done, planned in steps)


def test_what_the_node_cannot_measure_is_one_sentence(
    connected: RayEngine, models: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_here(monkeypatch)
    # A task that fails ends by itself. Ray aborts the driver when one is cancelled in the moment in which it ends.
    monkeypatch.setattr(ray, "cancel", lambda *_, **__: pytest.fail("a task was cancelled that had failed"))
    broken = Device("board", energy_command=["/no/such/meter"])
    message = r"^on the Ray node of device 'board': device 'board' cannot measure energy_mj: .*'/no/such/meter' failed"
    with pytest.raises(DeviceError, match=message) as caught:
        connected.check_quantities(broken, ["energy_mj"])
    assert "\n" not in str(caught.value)
    message = r"^on the Ray node of device 'board': device 'board' could not measure network 1: "
    with pytest.raises(DeviceError, match=message):
        connected.measure_quantities(Device("board"), [unknown_operator()], ["load_ms"])
    with pytest.raises(DeviceError, match="device 'drone': no node of the Ray cluster declares it"):
        connected.check_quantities(Device("drone"), ["load_ms"])


def test_nas_calibrate_with_ray(
    nodes: Boards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.chdir(tmp_path)
    refuse_here(monkeypatch)
    settings = ["engine=ray", "calibration.max_seconds=0.1", "calibration.samples=3", "calibration.holdout=2"]
    options = [part for setting in settings for part in ("--set", setting)]

    def nas(device: str) -> None:
        Device(device).save()
        more = ["--set", f"devices=[{device}]", "--set", f"search.objectives=[accuracy, load_ms.{device}]"]
        more += ["--set", "search.limits=[]"]
        monkeypatch.setattr("sys.argv", ["nas", "calibrate", "quickstart", "--device", device, *options, *more])
        main()

    with pytest.raises(SystemExit) as end:
        nas("drone")
    assert end.value.code == 2
    assert "error: device 'drone': no node of the Ray cluster declares it" in capfd.readouterr().err
    with pytest.raises(SystemExit) as end:
        nas("board")
    assert not end.value.code
    found = json.loads((tmp_path / "runs/quickstart/calibration/board.json").read_text())
    assert found["fingerprint"]["niceness"] == os.nice(0) + BOARD
    assert len(found["quantities"]["load_ms"]["reference"]) == 3


def test_the_local_engine_measures_here(models: list[bytes]) -> None:
    steps: list[tuple[int, int]] = []
    mark, found = LocalEngine().measure(
        Device("local"), models, progress=lambda done, planned: steps.append((done, planned)), **QUICK
    )
    assert "niceness" not in mark
    assert steps == [(1, 3), (2, 3), (3, 3)]
    expected = complete(measure(Device("local"), models, **QUICK))
    assert [len(m.samples_ms) for m in complete(found)] == [len(m.samples_ms) for m in expected] == [6, 6]


def test_engines_by_name() -> None:
    assert isinstance(engines.make("local"), LocalEngine)
    assert isinstance(engines.make("ray"), RayEngine)
    assert engines.names() == ["local", "ray"]
    with pytest.raises(ValueError, match=r"no engine 'rai' .did you mean 'ray'"):
        engines.make("rai")


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, models: list[bytes]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"ray is not installed: pip install 'nasmyth\[ray\]'"):
        RayEngine().measure(Device("board"), models, **QUICK)
