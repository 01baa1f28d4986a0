from __future__ import annotations

import sys

import pytest

from latency_predictors.devices.backend import Backend
from latency_predictors.devices.openvino import OpenVino
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import BackendContract, every_operator

pytest.importorskip("openvino")


def capabilities() -> list[str]:
    import openvino

    return list(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


class TestOpenVino(BackendContract):
    lacks = "Det"

    @staticmethod
    def make() -> Backend:
        return OpenVino()


class TestOpenVinoWithTwoThreadsInBfloat16(BackendContract):
    @staticmethod
    def make() -> Backend:
        if "BF16" not in capabilities():
            pytest.skip("this processor has no bfloat16")
        return OpenVino(threads=2, precision="bf16")


def test_options_reach_the_model() -> None:
    session = OpenVino(threads=2).prepare(timing_graph(every_operator()))
    compiled = session._request.get_compiled_model()  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_dtype() == "float32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("PERFORMANCE_HINT") == "LATENCY"


def test_a_precision_that_the_processor_lacks_is_an_error() -> None:
    if "FP16" in capabilities():
        pytest.skip("this processor has float16")
    with pytest.raises(ValueError, match="OpenVINO cannot compute in f16 on this processor; set precision to f32"):
        OpenVino(precision="f16").prepare(timing_graph(every_operator()))


def test_lower_precisions_have_a_wider_tolerance() -> None:
    assert OpenVino().tolerance < OpenVino(precision="f16").tolerance < OpenVino(precision="bf16").tolerance
    with pytest.raises(ValueError, match="did you mean 'bf16'"):
        OpenVino(precision="bfloat16")


def test_missing_openvino_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match="pip install openvino"):
        OpenVino().prepare(b"")
