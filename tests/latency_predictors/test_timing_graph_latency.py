"""Timing graphs are as fast as the networks that they stand for, once exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import search_spaces
from latency_predictors import Device, measure
from latency_predictors.devices.timing_graph import timing_graph
from nas.export.onnx_model import to_onnx
from search_spaces import Architecture, SearchSpace

Models = tuple[list[bytes], list[bytes]]

DEVICES: dict[str, tuple[str, dict[str, Any]]] = {
    "onnxruntime": ("onnxruntime", {}),
    "openvino": ("openvino", {}),
    "torch": ("torch", {"mode": "channels_last"}),
}


@pytest.fixture(scope="module")
def vit() -> SearchSpace:
    """Small transformers with a class token."""
    return search_spaces.get(
        "vit",
        resolutions=(32,),
        classes=10,
        patches=(4, 8),
        widths=(64, 128),
        depths=(1, 3),
        heads=(2, 4),
        head_width=32,
        ratios=(1, 2, 4),
    )


def networks_of(space: SearchSpace) -> list[Architecture]:
    """Six of clearly different size: by MACs the smallest, the largest, and four of a sample between."""
    sampled = sorted(space.sample(40, seed=0), key=lambda architecture: space.workload(architecture).macs)
    return [space.smallest(), *(sampled[i] for i in (5, 15, 25, 35)), space.largest()]


@pytest.fixture(scope="module")
def exports() -> dict[str, Models]:
    """What was exported before, by the name of the space: it takes half a minute."""
    return {}


@pytest.fixture
def models(request: pytest.FixtureRequest, exports: dict[str, Models]) -> Models:
    """Timing graphs of networks of the space that a test names, and the same as torch's exporter writes them."""
    if request.param not in exports:
        exports[request.param] = models_of(request.getfixturevalue(request.param))
    return exports[request.param]


def models_of(space: SearchSpace) -> Models:
    networks = networks_of(space)
    graphs = [timing_graph(space.workload(architecture)) for architecture in networks]
    inputs = [
        {name: torch.randn(shape) for name, shape in space.input_shapes(architecture).items()}
        for architecture in networks
    ]
    exported = [
        to_onnx(space.build(architecture).eval(), example)
        for architecture, example in zip(networks, inputs, strict=True)
    ]
    return graphs, exported


@pytest.mark.parametrize(
    ("models", "device"), [*(("convnet", device) for device in DEVICES), ("vit", "onnxruntime")], indirect=["models"]
)
def test_latency_is_that_of_the_exported_network(device: str, models: Models) -> None:
    graphs, exported = models
    backend, options = DEVICES[device]
    pytest.importorskip(backend)
    # All in one call: their visits alternate, so that what else the machine does slows both kinds alike.
    measured = measure(Device(device, backend, options), [*graphs, *exported], rounds=12, repeats=2, max_seconds=15)
    latency_ms = np.array([measurement.latency_ms for measurement in measured])
    built_ms, exported_ms = latency_ms[: len(graphs)], latency_ms[len(graphs) :]
    assert spearmanr(built_ms, exported_ms).statistic >= 0.8
    assert 0.7 < np.median(built_ms / exported_ms) < 1.4
