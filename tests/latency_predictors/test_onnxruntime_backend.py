from __future__ import annotations

import sys

import pytest

from latency_predictors.devices import backend as backends
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import BackendContract, every_operator


class TestOnnxRuntime(BackendContract):
    @staticmethod
    def make() -> Backend:
        return OnnxRuntime()


class TestOnnxRuntimeWithTwoThreadsUnoptimised(BackendContract):
    @staticmethod
    def make() -> Backend:
        return OnnxRuntime(threads=2, graph_optimization="disabled")


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("name", backends.names())
def test_impossible_threads_raise(name: str, threads: object) -> None:
    with pytest.raises(ValueError, match=f"'threads' of backend '{name}' is a whole number from 1"):
        backends.make(name, {"threads": threads})


def test_an_unknown_optimisation_level_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'extended'"):
        OnnxRuntime(graph_optimization="extend")


@pytest.mark.parametrize(("spinning", "entry"), [(False, "0"), (True, "1")])
def test_options_reach_the_session(spinning: bool, entry: str) -> None:
    backend = OnnxRuntime(threads=2, graph_optimization="basic", spinning=spinning)
    session = backend.prepare(timing_graph(every_operator()))
    options = session._session.get_session_options()  # type: ignore[attr-defined]
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == entry


def test_spinning_is_true_or_false() -> None:
    with pytest.raises(ValueError, match="'spinning' of backend 'onnxruntime' is true or false"):
        OnnxRuntime(spinning="no")  # type: ignore[arg-type]


def test_an_unknown_provider_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'tensorrt'"):
        OnnxRuntime(provider="tensor-rt")


def test_a_provider_that_the_build_lacks_is_never_replaced_by_the_processor() -> None:
    lacking = OnnxRuntime(provider="qnn")
    with pytest.raises(ValueError, match=r"lacks the provider 'qnn' \(it has cpu\): pip install onnxruntime-qnn"):
        lacking.prepare(timing_graph(every_operator()))


def test_a_provider_that_runs_nothing_is_never_replaced_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Azure provider, which is in every build, has no operator of its own; ONNX Runtime would use the CPU's."""
    from latency_predictors.devices import onnxruntime

    azure = ("AzureExecutionProvider", "onnxruntime")
    monkeypatch.setitem(onnxruntime._PROVIDERS, "azure", azure)
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot load the model: .*CPU"):
        OnnxRuntime(provider="azure").prepare(timing_graph(every_operator()))


def test_a_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="pip install onnxruntime"):
        OnnxRuntime().prepare(b"")


def test_unknown_backends_and_options_name_the_nearest() -> None:
    assert backends.names() == ["executorch", "mnn", "ncnn", "onnxruntime", "openvino", "torch", "tract"]
    with pytest.raises(ValueError, match="did you mean 'onnxruntime'"):
        backends.make("onnx-runtime", {})
    with pytest.raises(ValueError, match="did you mean 'threads'"):
        backends.make("onnxruntime", {"thread": 2})
