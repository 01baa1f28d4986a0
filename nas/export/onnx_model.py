"""From a torch module to an ONNX model, by torch's own exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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
    # Two examples: with one the exporter would take the batch size for a constant.
    examples = {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in inputs.items()}
    batch = torch.export.Dim("batch", min=1)
    content: bytes = exported(network, examples, [output], tuple({0: batch} for _ in examples)).SerializeToString()
    return content


def exported(
    network: nn.Module, examples: Mapping[str, Tensor], outputs: Sequence[str], dynamic_shapes: tuple[Any, ...]
) -> onnx.ModelProto:
    """The network as an ONNX model.

    Args:
        network: static, in evaluation mode.
        examples: inputs by name, in the order of the network's arguments; a free size is not to be 1 there, which the
            exporter would take for a constant.
        outputs: names of the model's outputs.
        dynamic_shapes: which sizes are free, as `torch.export.export` takes them.

    Raises:
        ValueError: when the network is in training mode.
        torch.onnx.OnnxExporterError: when torch cannot export it.
    """
    if network.training:
        raise ValueError("a network is exported in evaluation mode; call eval() on it first")
    with _quiet():
        program = torch.onnx.export(
            network,
            tuple(examples.values()),
            dynamo=True,
            input_names=list(examples),
            output_names=list(outputs),
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model: onnx.ModelProto = program.model_proto
    _strip_notes(model)
    return model


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
