"""The contract of a device backend: right outputs, honest timings, plain sentences about models it cannot run."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from latency_predictors.devices.backend import Array, Backend
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.timing_graph import timing_graph
from search_spaces import Workload
from search_spaces.trace import trace


class EveryOperator(nn.Module):
    """A small network with every kind of operator that a workload may have, on two images of 6 x 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.dense_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.tokens = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        functional = nn.functional
        z = functional.hardswish(self.dense_norm(self.dense(functional.relu(self.norm(x)) + y)))
        z = functional.relu6(z) + functional.silu(self.depthwise(z))
        z = z * functional.hardsigmoid(z.mean((2, 3), keepdim=True))
        tokens = functional.gelu(self.tokens(z.mean(3).flatten(0).view(-1, 8)))
        logits: Tensor = self.classifier(torch.sigmoid(tokens) * 0.9)  # the constant of timing graphs
        return logits


def every_operator() -> Workload:
    """The workload of `EveryOperator`."""
    with torch.device("meta"):
        return trace(EveryOperator(), ((1, 4, 6, 6), (1, 4, 6, 6)))


def unknown_operator() -> bytes:
    """A well-formed model with one operator, `Frobnicate`, that no runtime has."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node("Frobnicate", ["input0"], ["output0"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


class BackendContract:
    """Subclass it as `TestMyBackend` and give the fixture `backend`.

    Attributes:
        relative_tolerance: between the outputs of the backend and of onnx's reference, of the largest output.
    """

    relative_tolerance: float = 1e-4

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError("give a fixture 'backend' that returns the backend to be tested")

    @pytest.fixture
    def inputs(self, backend: Backend) -> dict[str, Array]:
        """Inputs of `every_operator`, batch 1."""
        session = backend.prepare(timing_graph(every_operator()))
        return dict(random_inputs(session, np.random.default_rng(0)))

    @pytest.mark.parametrize("batch", [1, 3])
    def test_outputs_equal_the_reference(self, backend: Backend, batch: int) -> None:
        model = timing_graph(every_operator(), batch)
        session = backend.prepare(model)
        inputs = random_inputs(session, np.random.default_rng(batch))
        outputs = session.run(inputs)
        (result,) = ReferenceEvaluator(onnx.load_from_string(model)).run(None, dict(inputs))
        wanted = np.asarray(result)
        assert list(outputs) == ["output0"]
        assert outputs["output0"].shape == wanted.shape
        assert np.ptp(wanted) > 0
        tolerance = self.relative_tolerance * np.abs(wanted).max()
        np.testing.assert_allclose(outputs["output0"], wanted, rtol=0, atol=tolerance)

    def test_a_file_and_its_bytes_are_the_same_model(
        self, backend: Backend, inputs: dict[str, Array], tmp_path: Path
    ) -> None:
        model = timing_graph(every_operator())
        path = tmp_path / "model.onnx"
        path.write_bytes(model)
        from_bytes, from_file = backend.prepare(model).run(inputs), backend.prepare(path).run(inputs)
        np.testing.assert_array_equal(from_bytes["output0"], from_file["output0"])

    def test_inputs_are_described(self, backend: Backend) -> None:
        described = backend.prepare(timing_graph(every_operator(), batch=2)).inputs
        assert list(described) == ["input0", "input1"]
        assert {value.shape for value in described.values()} == {(2, 4, 6, 6)}
        assert {value.dtype for value in described.values()} == {"float32"}

    @pytest.mark.parametrize("repeats", [1, 7])
    def test_timing_gives_that_many_positive_samples(
        self, backend: Backend, inputs: dict[str, Array], repeats: int
    ) -> None:
        samples_ms = backend.prepare(timing_graph(every_operator())).time(inputs, repeats)
        assert samples_ms.shape == (repeats,)
        assert (samples_ms > 0).all()
        assert (samples_ms < 1000).all()

    def test_samples_are_milliseconds(self, backend: Backend, inputs: dict[str, Array]) -> None:
        session = backend.prepare(timing_graph(every_operator()))
        session.time(inputs, 10)
        started = perf_counter()
        samples_ms = session.time(inputs, 500)
        elapsed_ms = 1000 * (perf_counter() - started)
        assert 0.3 * elapsed_ms < samples_ms.sum() <= elapsed_ms

    def test_timing_does_not_change_outputs(self, backend: Backend, inputs: dict[str, Array]) -> None:
        session = backend.prepare(timing_graph(every_operator()))
        before = session.run(inputs)["output0"].copy()
        session.time(inputs, 3)
        np.testing.assert_array_equal(session.run(inputs)["output0"], before)

    def test_the_runtime_has_a_version(self, backend: Backend) -> None:
        assert backend.version()[0].isdigit()
        assert backend.threads >= 1

    # ---------------------------------------------------------------- wrong use

    def test_no_repeats_raise(self, backend: Backend, inputs: dict[str, Array]) -> None:
        with pytest.raises(ValueError, match="repeats"):
            backend.prepare(timing_graph(every_operator())).time(inputs, 0)

    @pytest.mark.parametrize("method", ["run", "time"])
    @pytest.mark.parametrize("fault", ["name", "missing", "shape", "dtype"])
    def test_wrong_inputs_raise(self, backend: Backend, inputs: dict[str, Array], method: str, fault: str) -> None:
        session = backend.prepare(timing_graph(every_operator()))
        last = inputs.pop("input1")
        inputs |= {
            "name": {"other": last},
            "missing": {},
            "shape": {"input1": last[..., :-1]},
            "dtype": {"input1": last.astype(np.float64)},
        }[fault]
        with pytest.raises(ValueError, match="input1"):
            session.run(inputs) if method == "run" else session.time(inputs, 1)

    def test_a_corrupt_model_raises(self, backend: Backend, tmp_path: Path) -> None:
        model = timing_graph(every_operator())
        for corrupt in (b"", b"not an onnx model", model[: len(model) // 2], tmp_path / "missing.onnx"):
            with pytest.raises(ValueError, match="model") as raised:
                backend.prepare(corrupt)
            assert "\n" not in str(raised.value)

    def test_an_unknown_operator_is_named(self, backend: Backend) -> None:
        with pytest.raises(ValueError, match="Frobnicate"):
            backend.prepare(unknown_operator())
