from __future__ import annotations

import getpass
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import nas
import search_spaces
from nas.export.onnx_model import OPSET, to_onnx

INPUT = {"images": torch.zeros(1, 1, 8, 8)}


def network() -> nn.Module:
    """With statistics of BatchNorm that are not those of an untrained one."""
    torch.manual_seed(0)
    space = search_spaces.get(
        "convnet",
        resolutions=(8,),
        in_channels=1,
        classes=10,
        stem=8,
        widths=((8, 16),),
        strides=(1,),
        depths=((1, 2),),
        group_width=4,
        head=16,
    )
    built = space.build(space.largest())
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return built.eval()


@pytest.fixture(scope="module")
def exported() -> tuple[nn.Module, bytes]:
    built = network()
    return built, to_onnx(built, INPUT)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_batch_size_is_free(exported: tuple[nn.Module, bytes], batch: int) -> None:
    built, model = exported
    images = torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    with torch.inference_mode():
        expected = built(images).numpy()
    assert logits.shape == (batch, 10)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_graph_is_valid_and_has_no_batchnorm(exported: tuple[nn.Module, bytes]) -> None:
    built, content = exported
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["BatchNormalization"] == 0
    assert kinds["Conv"] == sum(isinstance(module, nn.Conv2d) for module in built.modules())
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET


def test_model_tells_nothing_of_the_machine(exported: tuple[nn.Module, bytes]) -> None:
    _, content = exported
    folders = [Path(nas.__file__).parents[1], Path(torch.__file__).parents[1], Path.home(), Path(tempfile.gettempdir())]
    for text in (*map(str, folders), ".py", "site-packages", f"/{getpass.getuser()}"):
        assert text.encode() not in content
    model = onnx.load_from_string(content)
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]


def test_model_is_little_more_than_its_weights(exported: tuple[nn.Module, bytes]) -> None:
    built, content = exported
    assert len(content) < 4 * sum(parameter.numel() for parameter in built.parameters()) + 10_000


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="call eval"):
        to_onnx(network().train(), INPUT)
