from __future__ import annotations

import sys

import numpy as np
import pytest

from latency_predictors.devices import backend as backends
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import BackendContract, every_operator


class TestOnnxRuntime(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntime()


class TestOnnxRuntimeWithTwoThreadsUnoptimised(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntime(threads=2, graph_optimization="disabled")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_impossible_threads_raise(threads: object) -> None:
    with pytest.raises(ValueError, match="whole number from 1"):
        OnnxRuntime(threads=threads)  # type: ignore[arg-type]


def test_an_unknown_optimisation_level_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'extended'"):
        OnnxRuntime(graph_optimization="extend")


def test_options_reach_the_session() -> None:
    session = OnnxRuntime(threads=2, graph_optimization="basic").prepare(timing_graph(every_operator()))
    options = session._loaded.session.get_session_options()  # type: ignore[attr-defined]
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_inputs_that_are_not_contiguous_are_read_rightly() -> None:
    session = OnnxRuntime().prepare(timing_graph(every_operator()))
    inputs = random_inputs(session, np.random.default_rng(0))
    strided = {name: np.asfortranarray(value) for name, value in inputs.items()}
    assert not strided["input0"].flags.c_contiguous
    assert (session.time(strided, 2) > 0).all()
    np.testing.assert_array_equal(session.run(inputs)["output0"], session.run(strided)["output0"])


def test_a_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnxruntime"):
        OnnxRuntime().prepare(b"")


def test_unknown_backends_and_options_name_the_nearest() -> None:
    assert backends.names() == ["onnxruntime"]
    with pytest.raises(ValueError, match="did you mean 'onnxruntime'"):
        backends.make("onnx-runtime", {})
    with pytest.raises(ValueError, match="did you mean 'threads'"):
        backends.make("onnxruntime", {"thread": 2})
