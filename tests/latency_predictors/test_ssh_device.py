"""Measuring over a real sshd on this machine: an ordinary process with keys and a home of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sshd_server import Server, key, ssh_server, wait

from latency_predictors import Calibration, Device, Failure, Measurement, calibrate, complete, measure
from latency_predictors.devices import quantities
from latency_predictors.devices.client import digest
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.sessions import DeviceSession, cost
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import DeviceError, SshTransport
from nas.testing.backends import every_operator, unknown_operator
from nas.testing.endless import endless
from search_spaces import SearchSpace

GOOD = timing_graph(every_operator())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ssh_server(tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("far home")) as running:
        yield running


def test_measuring_over_ssh_is_measuring(server: Server) -> None:
    told: list[int] = []
    models = [GOOD, unknown_operator(), timing_graph(every_operator(), 8)]
    found = measure(server.device, models, rounds=6, max_seconds=0, progress=lambda done, total: told.append(done))
    small, unknown, large = found
    assert isinstance(unknown, Failure)
    assert unknown.kind == "unsupported"
    assert "Frobnicate" in unknown.reason
    for one in (small, large):
        assert isinstance(one, Measurement)
        assert len(one.samples_ms) == 18
        assert 0 < one.latency_ms == min(one.samples_ms)
    assert told == [1, 2, 3, 4, 5, 6]
    wait(lambda: server.runners() == [])


def test_the_fingerprint_and_the_outputs_are_those_of_the_far_side(server: Server) -> None:
    far, near = fingerprint(server.device), fingerprint(Device("local"))
    moments = ("load_average", "time")
    assert {name: far[name] for name in far if name not in moments} == {
        name: near[name] for name in near if name not in moments
    }
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal((1, 4, 6, 6)).astype(np.float32) for name in ("input0", "input1")}
    with DeviceSession(server.device, GOOD) as session:
        outputs = session.run(inputs)
    np.testing.assert_array_equal(
        outputs["output0"], Device("local").make_backend().prepare(GOOD).run(inputs)["output0"]
    )


def test_the_runner_is_copied_once(server: Server) -> None:
    fingerprint(server.device)
    folder = server.home / ".cache" / "nasmyth"
    (copied,) = folder.glob("runner-*")
    before = copied.stat().st_mtime_ns
    fingerprint(server.device)
    assert list(folder.glob("runner-*")) == [copied]
    assert copied.stat().st_mtime_ns == before
    copied.write_text("damaged")
    assert fingerprint(server.device)["runtime"] == "onnxruntime"


def test_a_broken_connection_is_made_again_and_nothing_is_measured_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SshTransport, "retry_seconds", (0.0, 0.2, 0.5))
    broken: list[int] = []

    def break_it(done: int, total: int) -> None:
        if done in (2, 5):
            server.break_connections()
            broken.append(done)

    models = [timing_graph(every_operator(), batch) for batch in (1, 2, 4)]
    found = complete(measure(server.device, models, rounds=8, max_seconds=0, progress=break_it))
    assert broken == [2, 5]
    assert [len(one.samples_ms) for one in found] == [24, 24, 24]
    wait(lambda: server.runners() == [])


def test_a_connection_that_stays_broken_is_a_failure_that_keeps_the_samples(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SshTransport, "retry_seconds", (0.0, 0.1))
    known = Path(str(server.device.known_hosts)).read_text()
    device = replace(server.device, known_hosts=str(Path(str(server.device.known_hosts)).with_name("changing")))
    Path(str(device.known_hosts)).write_text(known)

    def cut(done: int, total: int) -> None:
        if done == 3:
            Path(str(device.known_hosts)).write_text("")  # nobody gets in any more
            server.break_connections()

    found = measure(device, [GOOD, GOOD], rounds=6, max_seconds=0, progress=cut)
    for one in found:
        assert isinstance(one, Failure)
        assert one.kind == "connection"
        assert len(one.samples_ms) == 9
        assert "\n" not in one.reason


def test_a_crash_at_the_far_side_is_told_from_a_broken_connection(server: Server) -> None:
    def crash(done: int, total: int) -> None:
        if done == 2:
            (runner,) = server.runners()
            os.kill(runner, signal.SIGSEGV)

    found = measure(server.device, [GOOD, GOOD, GOOD], rounds=4, max_seconds=0, progress=crash)
    failed = [one for one in found if isinstance(one, Failure)]
    assert [(one.kind, "SIGSEGV" in one.reason, len(one.samples_ms)) for one in failed] == [("crash", True, 6)]
    assert [len(one.samples_ms) for one in found if isinstance(one, Measurement)] == [12, 12]


def test_a_network_that_hangs_at_the_far_side_is_ended_there(server: Server) -> None:
    hung, good = measure(server.device, [endless(), GOOD], rounds=2, max_seconds=0, visit_seconds=1)
    assert isinstance(hung, Failure)
    assert hung.kind == "timeout"
    assert isinstance(good, Measurement)
    wait(lambda: server.runners() == [])


def test_a_far_device_is_calibrated_and_described(server: Server, tiny: SearchSpace, tmp_path: Path) -> None:
    found = calibrate(tiny, server.device, samples=6, holdout=3, rounds=2, max_seconds=0)
    found.save(tmp_path / "far.json")
    assert Calibration.load(tmp_path / "far.json").device == server.device
    needed = cost(server.device, GOOD)
    assert 0 < needed.added_mb < needed.peak_mb
    assert min(needed.load_ms, needed.first_ms) > 0


# ------------------------------------------------------------------ what is refused, and what one is told


def test_memory_load_and_energy_are_those_of_the_far_side(server: Server) -> None:
    """A connection that breaks meanwhile is made again, and no model stays there."""
    meter = server.home / "meter"
    meter.write_text("#!/bin/sh\nawk '{print 20 * $1}' /proc/uptime\n")
    meter.chmod(0o755)
    device, cuts = replace(server.device, energy_command=(str(meter),)), [1, 4, 7]

    def cut(done: int, total: int) -> None:
        if done in cuts:
            cuts.remove(done)
            server.break_connections()

    names = ["peak_memory_mb", "load_ms", "first_ms", "energy_mj"]
    quantities.check(device, names)
    found = quantities.measure(device, [GOOD, timing_graph(every_operator(), 8)], names, max_seconds=0, progress=cut)
    assert not cuts
    for row in found:
        assert all(row[name].value > 0 and len(row[name].samples) == quantities.CERTAIN_VISITS for name in names)
    assert not list((server.home / ".cache" / "nasmyth" / "models").glob("*.part"))
    stored = {path.stem for path in (server.home / ".cache" / "nasmyth" / "models").glob("*.onnx")}
    assert digest(GOOD) not in stored
    with pytest.raises(
        DeviceError, match="device 'far' cannot measure energy_mj: the energy_command '/no/meter' failed"
    ):
        quantities.check(replace(device, energy_command=("/no/meter",)), ["energy_mj"])


def test_an_unknown_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    with pytest.raises(DeviceError, match=r"host key of .* is not known: refused; connect once with `ssh -p \d+ "):
        measure(replace(server.device, known_hosts=str(tmp_path / "none")), [GOOD])


def test_a_changed_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    host = Path(str(server.device.known_hosts)).read_text().split()[0]
    (tmp_path / "old").write_text(f"{host} {key(tmp_path / 'other').with_suffix('.pub').read_text()}")
    with pytest.raises(DeviceError, match=r"is not the one that is known: refused.*ssh-keygen -R \[127.0.0.1\]:\d+"):
        measure(replace(server.device, known_hosts=str(tmp_path / "old")), [GOOD])


def test_a_login_that_is_refused_says_so(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"refuses the login: `ssh .*` must work without a password"):
        fingerprint(replace(server.device, identity=str(key(tmp_path / "stranger"))))


def test_a_machine_without_the_runtime_says_what_to_install_there(server: Server, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    advice = rf"onnxruntime is not installed on .*: ssh -p \d+ .*@127.0.0.1 {bare} -m pip install onnxruntime numpy"
    with pytest.raises(ModuleNotFoundError, match=advice):
        measure(replace(server.device, python=bare), [GOOD])


def test_a_machine_without_python_says_so(server: Server) -> None:
    with pytest.raises(DeviceError, match=r"no such Python on .*--python"):
        fingerprint(replace(server.device, python="/nowhere/python3"))


def test_a_machine_that_cannot_be_reached_says_so(server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        device = replace(server.device, ssh=f"nobody@127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(DeviceError, match=r"could not be made.*Connection refused"):
            fingerprint(device)
