"""Peak memory, load time and first run, each of a fresh process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from program_device import misbehaving

from latency_predictors import Device
from latency_predictors.devices import quantities
from latency_predictors.devices.quantities import CERTAIN_VISITS, VISITS
from latency_predictors.devices.results import MeasuringError

#: What another program would do: the peak of the resident size, less the size before the model is loaded.
ALONE = """
import sys, json, time, numpy, onnxruntime

def status(name):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines[name].split()[0]) * 1024 / 1e6

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
before = status("VmRSS")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"input0": numpy.zeros(1, numpy.float32)})
print(json.dumps(status("VmHWM") - before))
"""


def with_weights(size: int, name: str = "g") -> bytes:
    """A model of about `size` bytes."""
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [size // 4], np.zeros(size // 4, np.float32).tobytes(), raw=True
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["input0", "w"], ["output0"])],
        name,
        [value("input0", TensorProto.FLOAT, [1])],
        [value("output0", TensorProto.FLOAT, [size // 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_memory_load_and_first_run(tmp_path: Path) -> None:
    models = [with_weights(4000), with_weights(30_000_000)]
    counts: list[tuple[int, int]] = []
    found = quantities.measure(
        Device("local"), models, ["first_ms", "peak_memory_mb", "load_ms"], progress=lambda *now: counts.append(now)
    )
    assert counts == [(done, VISITS * 2) for done in range(1, VISITS * 2 + 1)]  # three quantities of each process
    small, large = found
    for name, score in (("peak_memory_mb", statistics.median), ("load_ms", min), ("first_ms", min)):
        assert 0 < small[name].value < large[name].value
        assert len(large[name].samples) == VISITS
        assert large[name].value == score(large[name].samples)
    path = tmp_path / "model.onnx"
    path.write_bytes(models[1])
    done = subprocess.run([sys.executable, "-c", ALONE, path], check=True, stdout=subprocess.PIPE)
    assert large["peak_memory_mb"].value > 2 * 30  # weights and output
    assert large["peak_memory_mb"].value == pytest.approx(json.loads(done.stdout), rel=0.2)


def test_time_bounds_the_visits() -> None:
    counts: list[tuple[int, int]] = []
    (found,) = quantities.measure(
        Device("local"), [with_weights(400)], ["load_ms"], max_seconds=0, progress=lambda *now: counts.append(now)
    )
    assert set(found) == {"load_ms"}
    assert len(found["load_ms"].samples) == CERTAIN_VISITS
    assert counts[-1] == (CERTAIN_VISITS, CERTAIN_VISITS)


@pytest.mark.parametrize(
    ("name", "message"),
    [("abort load", "ended by SIGABRT"), ("error run", "RuntimeError: the runtime"), ("exit run", "exit code 7")],
)
def test_a_network_that_ends_its_process_is_named(tmp_path: Path, name: str, message: str) -> None:
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, 3]) for value in ("input0", "output0")]
    good, bad = (
        helper.make_model(
            helper.make_graph([helper.make_node("Identity", ["input0"], ["output0"])], title, values[:1], values[1:])
        ).SerializeToString()
        for title in ("good", name)
    )
    with pytest.raises(MeasuringError, match=rf"^device 'strange' could not measure network 2: .*{message}") as caught:
        quantities.measure(misbehaving(tmp_path), [good, bad], ["load_ms"], max_seconds=0)
    assert "\n" not in str(caught.value)


def test_unknown_quantities_name_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'peak_memory_mb'"):
        quantities.measure(Device("local"), [], ["peak_memory"])
    with pytest.raises(ValueError, match="latency_ms is measured by"):
        quantities.check(Device("local"), ["latency_ms"])
    assert quantities.names()[0] == "latency_ms"
    units = {"ms": "ms", "mb": "MB", "mj": "mJ"}
    assert all(quantities.get(name).unit == units[name.split("_")[-1]] for name in quantities.names())


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, 3]) for value in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node("Identity", ["input0"], ["output0"])], "good", values[:1], values[1:])
    model = helper.make_model(graph).SerializeToString()
    quantities.measure(misbehaving(tmp_path), [model], ["load_ms"], max_seconds=0)
    assert (tmp_path / "models").is_dir()
    assert not list((tmp_path / "models").iterdir())
