"""From a torch module to an ONNX model, by torch's own exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

OPSET = 20


def to_onnx(network: nn.Module, inputs: dict[str, Tensor], output: str = "logits") -> bytes:
    """The network as a serialised ONNX model whose batch size is free.

    Args:
        network: static, in evaluation mode.
        inputs: example inputs by name, in the order of the network's arguments.
        output: name of the model's output.

    Raises:
        ValueError: when the network is in training mode.
        torch.onnx.OnnxExporterError: when torch cannot export it.
    """
    if network.training:
        raise ValueError("a network is exported in evaluation mode; call eval() on it first")
    # Two examples: with one the exporter would take the batch size for a constant.
    examples = tuple(tensor.repeat(2, *[1] * (tensor.dim() - 1)) for tensor in inputs.values())
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            network,
            examples,
            dynamo=True,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: batch} for _ in examples),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    _strip_notes(model)
    content: bytes = model.SerializeToString()
    return content


def _strip_notes(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces that hold the paths of this machine, several times the graph's size."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own internals away from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
