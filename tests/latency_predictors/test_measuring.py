from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, field
from math import nan
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from latency_predictors import Device, Failure, Measurement, complete, measure, measure_architectures
from latency_predictors.devices import measuring
from latency_predictors.devices.backend import Array, Input, Session
from latency_predictors.devices.measuring import MeasuringError, Protocol, measure_documents, random_inputs
from latency_predictors.devices.results import from_document
from latency_predictors.devices.runner import Runner, Store
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import Connection, Lost, Transport
from nas.testing.backends import every_operator, unknown_operator
from search_spaces import SearchSpace


def identity(name: str) -> bytes:
    """A model that returns its input, called `name`."""
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, 3]) for value in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node("Identity", ["input0"], ["output0"])], name, values[:1], values[1:])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )


@dataclass
class FakeRuntime(Transport):
    """A device, a runtime and the way to it: its models are their own latencies: "2.5" takes 2.5 ms, times
    `factor(number of the run)`. The runner is the real one, in this process."""

    factor: Callable[[int], float] = lambda run: 1.0
    runs: list[str] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    inputs: dict[str, Input] = field(default_factory=lambda: {"input0": Input((None, 3), "float32")})
    store: Path = Path()
    wrong: str = ""
    lines: int = 0
    breaks: Container[int] = ()
    connections: int = 0

    name = backend = where = "fake"
    threads, tolerance, title = 1, 1e-4, "the fake"

    def make_backend(self) -> FakeRuntime:
        return self

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def version(self) -> str:
        return "1"

    def transport(self) -> FakeRuntime:
        return self

    def connect(self) -> Loopback:
        self.connections += 1
        return Loopback(self)

    def prepare(self, path: Path) -> FakeSession:
        name = onnx.load(path).graph.name
        self.loaded.append(name)
        return FakeSession(self, name)

    def results(self, models: list[str], **options: Any) -> list[Measurement | Failure]:
        reference = [identity(model) for model in options.pop("reference", ())]
        return measure(cast(Device, self), [identity(model) for model in models], reference=reference, **options)

    def measure(self, models: list[str], **options: Any) -> list[Measurement]:
        return complete(self.results(models, **options))


class Loopback(Connection):
    def __init__(self, runtime: FakeRuntime) -> None:
        self.answers, self.runtime = deque[bytes](), runtime
        self.runner = Runner(lambda name, options: runtime, Store(runtime.store), self.reply)

    def reply(self, answer: dict[str, Any]) -> None:
        self.answers.append(json.dumps(answer).encode())

    def send(self, line: bytes) -> None:
        self.runner.handle(json.loads(line))

    def receive(self, seconds: float) -> bytes:
        self.runtime.lines += 1
        if self.runtime.lines in self.runtime.breaks:
            raise Lost("a cable was pulled")
        return self.answers.popleft()

    def close(self) -> None:
        pass


class FakeSession(Session):
    def __init__(self, runtime: FakeRuntime, model: str) -> None:
        self.runtime, self.model = runtime, model

    @property
    def inputs(self) -> dict[str, Input]:
        return self.runtime.inputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"output0": inputs["input0"] * (2 if self.model == self.runtime.wrong else 1)}

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        self._check(inputs)
        self.runtime.calls.append((self.model, repeats))
        samples_ms = []
        for _ in range(repeats):
            samples_ms.append(float(self.model) * self.runtime.factor(len(self.runtime.runs)))
            self.runtime.runs.append(self.model)
        return np.array(samples_ms)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRuntime, "store", property(lambda self: tmp_path, lambda self, path: None))


def test_all_networks_take_turns() -> None:
    runtime = FakeRuntime()
    models = ["1", "2", "3", "4", "5"]
    found = runtime.measure(models, rounds=12, repeats=3)
    assert [measurement.latency_ms for measurement in found] == [1, 2, 3, 4, 5]
    assert runtime.loaded == models
    # A visit is one warm-up and one call for all samples; a round holds every network once.
    visits = [model for model, repeats in runtime.calls if repeats == 1]
    rounds = [visits[start : start + 5] for start in range(0, len(visits), 5)]
    assert len(rounds) == 12
    assert all(sorted(visited) == models for visited in rounds)
    assert len({tuple(visited) for visited in rounds}) > 6  # shuffled anew
    assert runtime.calls[1::2] == [(model, 3) for model in visits]


def test_the_fastest_run_counts_and_all_samples_are_kept() -> None:
    factors = np.random.default_rng(0).uniform(1, 2, 1000)
    runtime = FakeRuntime(factor=lambda run: float(factors[run]))
    (found,) = runtime.measure(["2"], rounds=4, repeats=3, max_seconds=0)
    # Every fourth run warms up.
    kept = 2 * factors[:16].reshape(4, 4)[:, 1:]
    np.testing.assert_allclose(found.samples_ms, kept.ravel())
    assert found.latency_ms == pytest.approx(kept.min())
    assert found.median_ms == pytest.approx(np.median(kept))
    odd, even = kept[0::2].min(), kept[1::2].min()
    assert found.repeat_error == pytest.approx(abs(odd - even) / min(odd, even))


def test_the_repeat_error_is_the_median_over_networks() -> None:
    drifting = FakeRuntime(factor=lambda run: 1.0)
    # In even rounds the slow network is 50 % slower, the others are steady.
    visits: dict[str, int] = {}

    class Session(FakeSession):
        def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
            if repeats == 1:
                visits[self.model] = visits.get(self.model, 0) + 1
            slower = 1.5 if self.model == "9" and visits[self.model] % 2 == 0 else 1.0
            return super().time(inputs, repeats) * slower

    def prepare(path: Path) -> Session:
        return Session(drifting, onnx.load(path).graph.name)

    drifting.prepare = prepare  # type: ignore[method-assign,assignment]
    found = drifting.measure(["1", "2", "9"], max_seconds=0)
    assert {measurement.repeat_error for measurement in found} == {0}
    (alone,) = drifting.measure(["9"], max_seconds=0)
    assert alone.repeat_error == pytest.approx(0.5)
    assert not alone.stable


def test_rounds_are_added_until_halves_agree() -> None:
    # The machine is 10 % slower for the first 12 rounds but one, then steady.
    runtime = FakeRuntime(factor=lambda run: 1.0 if run < 4 or run >= 52 else 1.1)
    (found,) = runtime.measure(["2"], rounds=12, repeats=3)
    assert found.stable
    assert found.repeat_error == 0
    assert len(found.samples_ms) == 3 * 16


def test_unstable_measurements_say_so() -> None:
    noise = np.random.default_rng(0).uniform(1, 3, 100_000)
    runtime = FakeRuntime(factor=lambda run: float(noise[run % len(noise)]))
    found = runtime.measure(["1", "2", "3"], max_seconds=0.5, target_error=1e-12)
    assert not any(measurement.stable for measurement in found)
    assert all(len(measurement.samples_ms) > 36 for measurement in found)
    assert all(measurement.repeat_error > 1e-12 for measurement in found)


def test_tiny_networks_are_run_for_a_millisecond() -> None:
    runtime = FakeRuntime()
    (tiny, small, large) = runtime.measure(["0.01", "0.2", "5"], rounds=12, repeats=3)
    assert [len(found.samples_ms) for found in (tiny, small, large)] == [36, 36, 36]
    runs = {model: {repeats for name, repeats in runtime.calls if name == model} for model in ("0.01", "0.2", "5")}
    assert runs == {"0.01": {1, 102}, "0.2": {1, 6}, "5": {1, 3}}
    assert tiny.latency_ms == pytest.approx(0.01)


def test_a_sample_of_a_tiny_network_is_the_fastest_of_its_burst() -> None:
    factors = np.random.default_rng(0).uniform(1, 2, 1000)
    factors[0] = factors[22] = 1  # the warm-up runs, which decide how many runs follow
    (found,) = FakeRuntime(factor=lambda run: float(factors[run])).measure(["0.05"], rounds=2, repeats=3, max_seconds=0)
    bursts = 0.05 * np.stack([factors[1:22], factors[23:44]]).reshape(2, 3, 7)
    np.testing.assert_allclose(found.samples_ms, bursts.min(axis=2).ravel())


def test_many_networks_are_loaded_in_chunks() -> None:
    runtime = FakeRuntime()
    models = [str(1 + number) for number in range(130)]
    found = runtime.measure(models, rounds=2, repeats=1, reference=["500", "501"])
    assert [measurement.latency_ms for measurement in found] == [1 + number for number in range(130)]
    chunks = [runtime.loaded[start : start + 60] for start in range(0, len(runtime.loaded), 60)]
    assert [len(chunk) for chunk in chunks] == [60, 60, 16]
    assert all(chunk[:2] == ["500", "501"] for chunk in chunks)


def test_reference_networks_take_out_drift_between_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 3)
    runs_of_a_chunk = 3 * 2 * 2  # networks, rounds, warm-up and sample

    def runtime() -> FakeRuntime:
        return FakeRuntime(factor=lambda run: 1.0 if run < runs_of_a_chunk else 1.25)

    options: dict[str, Any] = {"rounds": 2, "repeats": 1}
    corrected = runtime().measure(["10", "11", "12", "13"], reference=["20"], **options)
    assert [measurement.latency_ms for measurement in corrected] == pytest.approx([10, 11, 12, 13])
    assert corrected[3].samples_ms == pytest.approx((16.25, 16.25))  # as they were timed


def test_the_first_networks_are_the_references_when_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 5)
    runs_of_a_chunk = 5 * 2 * 2
    runtime = FakeRuntime(factor=lambda run: 1.0 if run < runs_of_a_chunk else 1.25)
    found = runtime.measure(["10", "11", "12", "13", "14", "15"], rounds=2, repeats=1)
    assert [measurement.latency_ms for measurement in found] == pytest.approx([10, 11, 12, 13, 14, 15])
    chunks = [runtime.loaded[start : start + 5] for start in (0, 5, 10)]
    assert chunks == [["10", "11", "12", *own] for own in (["10", "11"], ["12", "13"], ["14", "15"])]
    alone = FakeRuntime()
    alone.measure(["10", "11", "12", "13", "14"], rounds=2)
    assert len(alone.loaded) == 5


def test_progress_counts_rounds() -> None:
    told: list[tuple[int, int]] = []
    FakeRuntime().measure(["1", "2"], rounds=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    runtime = FakeRuntime(factor=lambda run: 1.0 if run < 2 or run >= 6 else 1.1)
    runtime.measure(["1"], rounds=3, repeats=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3), (4, 7), (5, 7), (6, 7), (7, 7)]


def test_the_seed_decides_the_order() -> None:
    orders = []
    for seed in (0, 0, 1):
        runtime = FakeRuntime()
        runtime.measure(["1", "2", "3", "4"], seed=seed)
        orders.append(runtime.calls)
    assert orders[0] == orders[1] != orders[2]


def test_no_networks_take_no_time() -> None:
    assert FakeRuntime().measure([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 1}, "rounds is 2 or more"),
        ({"repeats": 0}, "repeats is 1 or more"),
        ({"target_error": 0}, "above 0"),
        ({"target_error": nan}, "above 0"),
        ({"max_seconds": -1}, "not below 0"),
    ],
)
def test_impossible_protocols_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FakeRuntime().measure(["1"], **options)
    with pytest.raises(ValueError, match=message):
        Protocol(**options)


def test_inputs_are_made_for_the_model() -> None:
    runtime = FakeRuntime(
        inputs={"images": Input((None, 3, 8), "float32"), "tokens": Input((2, 5), "int64"), "x": Input((1,), "float16")}
    )
    made = random_inputs(FakeSession(runtime, "1"), np.random.default_rng(0))
    assert {name: (value.shape, value.dtype.name) for name, value in made.items()} == {
        "images": ((1, 3, 8), "float32"),
        "tokens": ((2, 5), "int64"),
        "x": ((1,), "float16"),
    }
    assert made["images"].std() > 0.5
    assert not made["tokens"].any()
    runtime.inputs = {"images": Input((1, 3, None), "float32")}
    with pytest.raises(ValueError, match="free dimensions"):
        random_inputs(FakeSession(runtime, "1"), np.random.default_rng(0))


def test_a_network_with_wrong_outputs_is_never_timed() -> None:
    runtime = FakeRuntime(wrong="2")
    first, wrong, last = runtime.results(["1", "2", "3"], rounds=2)
    assert isinstance(first, Measurement)
    assert isinstance(last, Measurement)
    assert isinstance(wrong, Failure)
    assert wrong.kind == "parity"
    assert "output0" in wrong.reason
    assert {model for model, _ in runtime.calls} == {"1", "3"}
    with pytest.raises(MeasuringError, match=r"^1 of 3 networks could not be measured; network 2: .*'output0'"):
        runtime.measure(["1", "2", "3"], rounds=2)


def test_a_wrong_reference_raises_before_anything_is_timed() -> None:
    runtime = FakeRuntime(wrong="2")
    with pytest.raises(MeasuringError, match="a reference network"):
        runtime.results(["1"], reference=["2"], rounds=2)
    assert not runtime.calls


def test_bad_models_are_failures_and_the_others_are_measured(tmp_path: Path) -> None:
    good = timing_graph(every_operator())
    path = tmp_path / "good.onnx"
    path.write_bytes(good)
    models = [good, b"nothing", unknown_operator(), good[: len(good) // 2], b"", tmp_path / "none.onnx", path]
    found = measure(Device("local"), models, rounds=2, max_seconds=0)
    assert [result.kind if isinstance(result, Failure) else "" for result in found] == [
        "", "corrupt", "unsupported", "corrupt", "corrupt", "corrupt", "",
    ]  # fmt: skip
    reasons = [result.reason for result in found if isinstance(result, Failure)]
    assert "Frobnicate" in reasons[1]
    assert "none.onnx" in reasons[4]
    assert not any("\n" in reason for reason in reasons)


@pytest.mark.parametrize("start", range(3, 11))
def test_a_connection_that_breaks_loses_nothing(start: int) -> None:
    """It breaks at every eighth line of the conversation; all cases together, at every line after the first."""
    steady, broken = FakeRuntime(), FakeRuntime(breaks=range(start, 1000, 8))
    options: dict[str, Any] = {"rounds": 6, "repeats": 2}
    found = broken.measure(["1", "2"], **options)
    # What was under way when it broke is done anew; what had arrived is not.
    assert found == steady.measure(["1", "2"], **options)
    assert [len(one.samples_ms) for one in found] == [12, 12]
    assert broken.connections > 3


def test_a_connection_that_breaks_every_time_is_a_failure() -> None:
    class Always:
        def __contains__(self, line: object) -> bool:
            return isinstance(line, int) and line > 30

    runtime = FakeRuntime(breaks=Always())
    found = runtime.results(["1", "2", "3"], rounds=12, repeats=1)
    assert [one.kind if isinstance(one, Failure) else "" for one in found] == ["connection"] * 3
    assert all(isinstance(one, Failure) and "a cable was pulled" in one.reason for one in found)
    assert sum(len(one.samples_ms) for one in found) > 0
    assert runtime.connections < 10


def test_a_connection_that_breaks_later_keeps_the_chunks_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 3)
    steady = FakeRuntime()
    steady.measure(["1", "2"], reference=["9"], rounds=2)

    class Later:
        def __contains__(self, line: object) -> bool:
            return isinstance(line, int) and line > steady.lines

    found = FakeRuntime(breaks=Later()).results(["1", "2", "3", "4", "5"], reference=["9"], rounds=2)
    kinds = [one.kind if isinstance(one, Failure) else one.latency_ms for one in found]
    assert kinds == [1, 2, "connection", "connection", "connection"]


def test_weights_in_other_files_are_told() -> None:
    model = onnx.load_model_from_string(timing_graph(every_operator()))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    (found,) = measure(Device("local"), [model.SerializeToString()], rounds=2)
    assert isinstance(found, Failure)
    assert found.kind == "unsupported"
    assert "other files" in found.reason


def test_plain_values_in_and_out() -> None:
    models = [timing_graph(every_operator()), b"nothing"]
    device = Device("board", options={"threads": 1}).document()
    found = measure_documents(json.loads(json.dumps(device)), models, rounds=2, max_seconds=0)
    good, bad = map(from_document, json.loads(json.dumps(found)))
    assert isinstance(good, Measurement)
    assert isinstance(bad, Failure)
    assert len(good.samples_ms) == 6
    assert bad.kind == "corrupt"
    assert [json.loads(json.dumps(asdict(result))) for result in (good, bad)] == json.loads(json.dumps(found))


def test_bigger_networks_are_slower_on_this_machine(convnet: SearchSpace) -> None:
    smallest = convnet.smallest()
    # Steps of several times the MACs, far larger than any noise.
    ladder = [smallest, changed(convnet, smallest, "fused", 2), changed(convnet, convnet.largest(), "fused", 4)]
    macs = convnet.macs(convnet.codes(ladder))
    assert (macs[1:] > 2 * macs[:-1]).all()
    for _ in range(3):  # another program may have had the machine
        found = complete(measure_architectures(Device("local"), convnet, [*ladder, *ladder], max_seconds=5))
        latencies_ms = np.array([measurement.latency_ms for measurement in found])
        assert all(measurement.latency_ms <= measurement.median_ms for measurement in found)
        # The same network twice takes the same time, give or take noise.
        if np.allclose(latencies_ms[:3], latencies_ms[3:], rtol=0.25):
            break
    else:
        pytest.fail(f"three times the same networks took other times: {latencies_ms}")
    assert (np.diff(latencies_ms[:3]) > 0).all()
    assert latencies_ms[2] > 2 * latencies_ms[0]


def changed(space: SearchSpace, architecture: Any, kind: str, expansion: int) -> Any:
    """`architecture` with blocks of one kind and one expansion."""
    items = []
    for name, value in architecture.items:
        new = kind if name.endswith("_kind") else expansion if name.endswith("_expansion") else value
        items.append((name, new))
    return type(architecture)(space.name, tuple(items))
