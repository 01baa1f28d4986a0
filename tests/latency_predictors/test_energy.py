"""Energy: counters of the processor, programs that read a meter, and what a burst of runs makes of them."""

from __future__ import annotations

from pathlib import Path
from threading import Timer
from time import monotonic, sleep

import numpy as np
import pytest
from program_device import metered

from latency_predictors import Device
from latency_predictors.devices import quantities, runner
from latency_predictors.devices.client import Client, digest
from latency_predictors.devices.runner import MeterProgram, Rapl, Refused
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import DeviceError
from search_spaces import SearchSpace

RANGE_UJ = 262_143_328_850


def zone(root: Path, name: str, title: str, energy_uj: int) -> Path:
    """One zone of a powercap tree, as Linux lays it out."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{title}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return folder / "energy_uj"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages, one with cores and memory, and the zones that contain the others or repeat them."""
    root = tmp_path / "powercap"
    (root / "intel-rapl").mkdir(parents=True)
    zone(root, "intel-rapl:0", "package-0", 1_000_000)
    zone(root, "intel-rapl:0:0", "core", 500_000)
    zone(root, "intel-rapl:0:1", "dram", 2_000_000)
    zone(root, "intel-rapl:1", "package-1-die-0", RANGE_UJ - 1_000_000)
    zone(root, "intel-rapl:2", "psys", 9_000_000)
    zone(root, "intel-rapl-mmio:0", "package-0", 1_000_000)
    return root


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def counting(tmp_path: Path, joules: int) -> str:
    """A meter that went up by `joules` each time that it is read."""
    count = tmp_path / "count"
    count.write_text("0")
    return script(
        tmp_path / "meter", f"n=$(cat {count})", f"echo $((n + {joules})) > {count}", "echo joules so far:", "echo $n"
    )


def test_packages_and_memory_are_added_and_nothing_twice(tree: Path) -> None:
    rapl = Rapl(tree)
    assert rapl.joules() == 0
    for name, energy_uj in (
        ("intel-rapl:0", 4_000_000),
        ("intel-rapl:0:0", 3_000_000),
        ("intel-rapl:0:1", 2_500_000),
        ("intel-rapl:2", 99_000_000),
        ("intel-rapl-mmio:0", 4_000_000),
    ):
        (tree / name / "energy_uj").write_text(f"{energy_uj}\n")
    assert rapl.joules() == pytest.approx(3 + 0.5)
    assert rapl.joules() == pytest.approx(3 + 0.5)


def test_a_counter_that_goes_round_goes_on(tree: Path) -> None:
    rapl, counter = Rapl(tree), tree / "intel-rapl:1" / "energy_uj"
    counter.write_text("500000\n")
    assert rapl.joules() == pytest.approx(1.5)
    counter.write_text("2500000\n")
    assert rapl.joules() == pytest.approx(3.5)
    counter.write_text("0\n")
    assert rapl.joules() == pytest.approx(1 + RANGE_UJ / 1e6)


def test_a_machine_without_counters_says_so_in_one_sentence(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no energy counter \(RAPL\) in .*nowhere; add a device with an energy_command"):
        Rapl(tmp_path / "nowhere")
    (tree / "intel-rapl:1" / "energy_uj").write_text("broken")
    with pytest.raises(Refused, match=r"intel-rapl:1/energy_uj cannot be read"):
        Rapl(tree)


def test_a_program_prints_the_joules_so_far(tmp_path: Path) -> None:
    meter = MeterProgram([counting(tmp_path, 3)])
    assert [meter.joules() for _ in range(3)] == [0.0, 3.0, 6.0]
    echo = script(tmp_path / "echo meter", 'echo "$1" >> "$0.log"', "echo 1.5e2")
    assert MeterProgram([echo, "$(touch gone); 'a b'"]).joules() == 150.0  # no shell reads the arguments
    assert (tmp_path / "echo meter.log").read_text() == "$(touch gone); 'a b'\n"


@pytest.mark.parametrize("lines", [["exit 3"], ["echo much"], ["true"], ["echo 5; exit 1"], ["echo nan"], ["sleep 60"]])
def test_a_program_that_fails_is_one_sentence(
    tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "METER_SECONDS", 0.5)
    with pytest.raises(Refused, match=r"the energy_command '.*/bad' (failed|printed)"):
        MeterProgram([script(tmp_path / "bad", *lines)]).joules()
    with pytest.raises(Refused, match="No such file"):
        MeterProgram([str(tmp_path / "none")]).joules()


def test_a_burst_divides_the_energy_by_its_runs(tmp_path: Path, tiny: SearchSpace) -> None:
    session = runner.OnnxRuntime().prepare(timing_graph(tiny.workload(tiny.smallest())))
    inputs = {name: np.zeros(value.shape, np.float32) for name, value in session.inputs.items()}
    began = monotonic()
    energy_mj, runs = runner.energy(session, inputs, MeterProgram([counting(tmp_path, 3)]), 0.3, lambda: None)
    assert monotonic() - began >= 0.3
    assert energy_mj * runs == pytest.approx(3000)
    with pytest.raises(Refused, match=r"did not go up while a network ran for 0\.1 s"):
        runner.energy(session, inputs, Standing(0.0), 0.1, lambda: None)
    began = monotonic()  # a slow meter: ten times as long as it takes to be read
    with pytest.raises(Refused, match="did not go up"):
        runner.energy(session, inputs, Standing(0.05), 0.0, lambda: None)
    assert monotonic() - began >= 10 * 0.05 + 2 * 0.05


class Standing:
    """A meter that stands still."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def joules(self) -> float:
        sleep(self.seconds)
        return 7.0


def test_the_counters_are_read_where_the_network_runs(tree: Path, tmp_path: Path, tiny: SearchSpace) -> None:
    device, model = metered(tree, tmp_path), timing_graph(tiny.workload(tiny.smallest()))
    quantities.check(device, ["energy_mj"])
    with Client(device.transport(), device.backend, device.options) as client:
        client.upload({digest(model): model}, 10)
        prepared = client.prepare(0, digest(model), 10)
        client.run(0, {name: np.zeros(value.shape, np.float32) for name, value in prepared.inputs.items()}, 10)
        client.meter(())
        later = Timer(0.5, (tree / "intel-rapl:0" / "energy_uj").write_text, ["31000000"])  # 30 J in the burst
        later.start()
        answer = client._ask("energy", 10, slot=0, burst_s=1.5)
        later.join()
    assert answer["energy_mj"] * answer["runs"] == pytest.approx(30_000)


def test_energy_of_networks(tmp_path: Path, tiny: SearchSpace) -> None:
    """A meter of 20 W: the energies are to each other as the times of the networks are."""
    meter = script(tmp_path / "watts", "awk '{print 20 * $1}' /proc/uptime")
    device = metered(tmp_path / "none", tmp_path, (meter,))
    models = [timing_graph(tiny.workload(network)) for network in (tiny.smallest(), tiny.largest())]
    counts: list[tuple[int, int]] = []
    small, large = quantities.measure(
        device, models, ["energy_mj"], max_seconds=0, progress=lambda *now: counts.append(now)
    )
    assert 0 < small["energy_mj"].value < large["energy_mj"].value
    assert large["energy_mj"].value == min(large["energy_mj"].samples)
    assert len(large["energy_mj"].samples) == quantities.CERTAIN_VISITS
    assert counts[-1] == (4, 4)


def test_a_device_without_a_meter_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    device = metered(tmp_path / "none", tmp_path)
    quantities.check(device, ["peak_memory_mb"])
    with pytest.raises(DeviceError, match=r"^device 'metered' cannot measure energy_mj: there is no energy counter"):
        quantities.check(device, ["peak_memory_mb", "energy_mj"])


def test_the_command_is_part_of_the_device(tmp_path: Path) -> None:
    device = Device("board", energy_command=("/usr/bin/meter", "--channel", "2; rm x"))
    device.save()
    assert Device.load("board") == device
    assert Device(**device.document()) == device
    assert "energy_command" not in Device("plain").document()
    for wrong in ("/usr/bin/meter", ["", "x"], [1], {"a": "b"}, ["a\0"]):
        with pytest.raises(ValueError, match="energy_command is a list"):
            Device("board", energy_command=wrong)  # type: ignore[arg-type]
