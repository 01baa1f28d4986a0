from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_predictors.devices.backend import Array, Input, Session
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.parity import ParityError, check, check_outputs, relative_differences
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import every_operator, unknown_operator

MODEL = timing_graph(every_operator())


class Altered(Session):
    """ONNX Runtime whose outputs are changed: `factor` times what they are, with `added` to the first number."""

    def __init__(self, factor: float = 1.0, added: float = 0.0, name: str = "output0") -> None:
        self._session = OnnxRuntime().prepare(MODEL)
        self._factor, self._added, self._name = factor, added, name

    @property
    def inputs(self) -> dict[str, Input]:
        return self._session.inputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        output = self._session.run(inputs)["output0"] * np.float32(self._factor)
        output.flat[0] += self._added
        return {self._name: output}

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        raise AssertionError("timed before its outputs were checked")


@pytest.fixture
def inputs() -> Mapping[str, Array]:
    return random_inputs(OnnxRuntime().prepare(MODEL), np.random.default_rng(0))


def test_equal_outputs_pass(inputs: Mapping[str, Array], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    check(OnnxRuntime(), Altered(), MODEL, inputs)
    check(OnnxRuntime(), Altered(), path, inputs)


@pytest.mark.parametrize("factor", [1.01, 0.98, 1.5])
def test_the_difference_is_relative_to_the_largest_output(inputs: Mapping[str, Array], factor: float) -> None:
    differences = relative_differences(MODEL, inputs, Altered(factor).run(inputs))
    assert differences == {"output0": pytest.approx(abs(factor - 1), rel=0.01)}


def test_the_largest_difference_is_in_the_sentence(inputs: Mapping[str, Array]) -> None:
    with pytest.raises(
        ParityError, match=r"ONNX Runtime computes other outputs .* 'output0' differs by 0\.02.* 0\.0001 is allowed"
    ):
        check(OnnxRuntime(), Altered(1.02), MODEL, inputs)


@pytest.mark.parametrize("added", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_do_not_pass(inputs: Mapping[str, Array], added: float) -> None:
    with pytest.raises(ParityError, match="'output0' differs by inf"):
        check(OnnxRuntime(), Altered(added=added), MODEL, inputs)


def test_another_output_does_not_pass(inputs: Mapping[str, Array]) -> None:
    with pytest.raises(ParityError, match="'logits' differs by inf"):
        check(OnnxRuntime(), Altered(name="logits"), MODEL, inputs)

    class Flat(Altered):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"output0": super().run(inputs)["output0"].ravel()}

    with pytest.raises(ParityError, match="'output0' differs by inf"):
        check(OnnxRuntime(), Flat(), MODEL, inputs)


def test_a_lower_precision_may_differ_more(inputs: Mapping[str, Array]) -> None:
    backend = OnnxRuntime(provider="qnn")  # float16
    check(backend, Altered(1.01), MODEL, inputs)
    with pytest.raises(ParityError, match=r"0\.02 is allowed"):
        check(backend, Altered(1.03), MODEL, inputs)


def test_outputs_from_elsewhere_are_checked_alike(inputs: Mapping[str, Array]) -> None:
    check_outputs(MODEL, inputs, Altered().run(inputs))
    check_outputs(MODEL, inputs, Altered(1.01).run(inputs), tolerance=0.02)
    with pytest.raises(ParityError, match=r"the device computes other outputs than torch: 'output0' differs by 0\.01"):
        check_outputs(MODEL, inputs, Altered(1.01).run(inputs))


def test_a_parity_error_is_a_value_error() -> None:
    assert issubclass(ParityError, ValueError)


def test_what_torch_cannot_run_is_not_compared(inputs: Mapping[str, Array]) -> None:
    with pytest.raises(ValueError, match="torch cannot load the model: it does not know the operator Frobnicate"):
        check(OnnxRuntime(), Altered(), unknown_operator(), inputs)
