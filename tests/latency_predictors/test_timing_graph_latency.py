"""Timing graphs are as fast as the networks that they stand for, once exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from latency_predictors import Device, measure
from latency_predictors.devices.timing_graph import timing_graph
from nas.export.onnx_model import to_onnx
from search_spaces import Architecture, SearchSpace

DEVICES: dict[str, tuple[str, dict[str, Any]]] = {
    "onnxruntime": ("onnxruntime", {}),
    "openvino": ("openvino", {}),
    "torch": ("torch", {"mode": "channels_last"}),
}


@pytest.fixture(scope="module")
def networks(convnet: SearchSpace) -> list[Architecture]:
    """Six of clearly different size: by MACs the smallest, the largest, and four of a sample between."""
    sampled = sorted(convnet.sample(40, seed=0), key=lambda architecture: convnet.workload(architecture).macs)
    return [convnet.smallest(), *(sampled[i] for i in (5, 15, 25, 35)), convnet.largest()]


@pytest.fixture(scope="module")
def graphs(convnet: SearchSpace, networks: list[Architecture]) -> list[bytes]:
    """The timing graphs of `networks`."""
    return [timing_graph(convnet.workload(architecture)) for architecture in networks]


@pytest.fixture(scope="module")
def exported(convnet: SearchSpace, networks: list[Architecture]) -> list[bytes]:
    """`networks` as torch's exporter writes them."""
    inputs = [
        {name: torch.randn(shape) for name, shape in convnet.input_shapes(architecture).items()}
        for architecture in networks
    ]
    return [
        to_onnx(convnet.build(architecture).eval(), example)
        for architecture, example in zip(networks, inputs, strict=True)
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_latency_is_that_of_the_exported_network(device: str, graphs: list[bytes], exported: list[bytes]) -> None:
    backend, options = DEVICES[device]
    pytest.importorskip(backend)
    # All in one call: their visits alternate, so that what else the machine does slows both kinds alike.
    measured = measure(Device(device, backend, options), [*graphs, *exported], rounds=12, repeats=2, max_seconds=15)
    latency_ms = np.array([measurement.latency_ms for measurement in measured])
    built_ms, exported_ms = latency_ms[: len(graphs)], latency_ms[len(graphs) :]
    assert spearmanr(built_ms, exported_ms).statistic >= 0.8
    assert 0.7 < np.median(built_ms / exported_ms) < 1.4
