from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from latency_predictors.devices import converter
from latency_predictors.devices.backend import Input
from latency_predictors.devices.converter import convert
from latency_predictors.devices.models import inputs_of, operators_named, output_shapes, read, with_batch
from latency_predictors.devices.native_output import on_standard_error
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.torch import Torch
from nas.testing.backends import every_image_operator, free_batch


def adder(*shapes: tuple[int | str, ...]) -> bytes:
    """A model that adds two inputs of these shapes; words stand for free sizes."""
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes[0])
    graph = helper.make_graph([helper.make_node("Add", ["x0", "x1"], ["y"])], "g", inputs, [output])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def test_a_batch_is_fixed_in_a_copy() -> None:
    model = read(free_batch(every_image_operator()), "torch")
    before = model.SerializeToString()
    fixed = with_batch(model, 5)
    assert model.SerializeToString() == before
    assert inputs_of(model) == dict.fromkeys(["input0", "input1"], Input((None, 4, 6, 6), "float32"))
    assert inputs_of(fixed) == dict.fromkeys(["input0", "input1"], Input((5, 4, 6, 6), "float32"))
    assert output_shapes(model) == {"output0": (None, 3)}
    assert output_shapes(fixed) == {"output0": (5, 3)}
    onnx.checker.check_model(fixed, full_check=True)


def test_only_the_first_dimension_may_be_free() -> None:
    with pytest.raises(ValueError, match=r"input 'x0' has free dimensions \(None, None\): export .* fixed sizes"):
        Torch().prepare(adder(("n", "m"), ("n", "m")))


def test_free_batches_of_several_inputs_are_equal() -> None:
    session = Torch().prepare(adder(("n", 2), ("n", 2)))
    ones = np.ones((3, 2), np.float32)
    assert (session.run({"x0": ones, "x1": ones})["y"] == 2).all()
    with pytest.raises(ValueError, match=r"input 'x1' is float32 of shape \(3, 2\), got float32 of shape \(1, 2\)"):
        session.run({"x0": ones, "x1": ones[:1]})


def test_operators_are_found_as_words_only() -> None:
    model = onnx.load_from_string(timing_graph(every_image_operator()))
    assert operators_named(model, "todo Conv of 'Relu'; no Multiply, Clipped or Det") == ["Conv", "Relu"]


def test_operators_of_functions_in_the_model_are_known() -> None:
    function = helper.make_function(
        "own", "Double", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 20)]
    )
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Double", ["x"], ["y"], domain="own")], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets)
    assert read(model.SerializeToString(), "torch") == model
    del model.functions[:]
    with pytest.raises(ValueError, match="torch cannot load the model: it does not know the operator Double"):
        read(model.SerializeToString(), "torch")


# ---------------------------------------------------------------- converters


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_what_a_converter_writes_is_kept_even_when_it_crashes(tmp_path: Path) -> None:
    program = "import os, signal, sys; print('read', flush=True); sys.stderr.write('todo Det'); sys.stderr.flush();"
    program += "open('made', 'w'); os.kill(os.getpid(), signal.SIGSEGV)"
    assert convert(python(program), tmp_path, "ncnn").split() == ["read", "todo", "Det"]
    assert (tmp_path / "made").exists()


def test_a_converter_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"ncnn cannot load the model: converting it took more than 0\.5 seconds"):
        convert(python("import time; time.sleep(60)"), tmp_path, "ncnn")


def test_a_converter_that_does_not_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ncnn cannot load the model: its converter does not start \(.*missing"):
        convert([str(tmp_path / "missing")], tmp_path, "ncnn")


def test_native_output_goes_to_standard_error_and_back(capfd: pytest.CaptureFixture[str]) -> None:
    with on_standard_error():
        os.write(1, b"native")
    os.write(1, b"result")
    with pytest.raises(FileNotFoundError), on_standard_error():
        os.stat("missing")
    os.write(1, b" and result")
    assert capfd.readouterr() == ("result and result", "native")
