"""From a torch module to an ONNX model, by torch's own exporter."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from search_spaces.tied import untied

OPSET = 20


def to_onnx(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str] = ("logits",),
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """The network as a serialised ONNX model whose batch size is free.

    Args:
        network: static, in evaluation mode; its arguments have names, or are any number of tensors.
        inputs: example inputs by name, in the order of the network's arguments; those whose size is free have a size
            of 2 or more there.
        outputs: names of the model's first outputs; others get names from torch.
        free: for inputs with other free sizes than the batch, the axis of each and a name for it; sizes of one name are
            equal.

    Raises:
        ValueError: when the network is in training mode.
        torch.onnx.OnnxExporterError: when torch cannot export it.
    """
    if network.training:
        raise ValueError("a network is exported in evaluation mode; call eval() on it first")
    # Two examples: with one the exporter would take the batch size for a constant.
    examples = tuple(tensor.repeat(2, *[1] * (tensor.dim() - 1)) for tensor in inputs.values())
    names = {name for axes in (free or {}).values() for name in axes.values()}
    sizes = {name: torch.export.Dim(name, min=1) for name in sorted(names)}
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple(
        {0: batch, **{axis: sizes[size] for axis, size in (free or {}).get(name, {}).items()}} for name in inputs
    )
    with _quiet(), untied(network):
        program = torch.onnx.export(
            network,
            examples,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(shapes,) if _takes_any_number(network) else shapes,
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


def _takes_any_number(network: nn.Module) -> bool:
    """Whether the network's arguments are `*inputs`, whose shapes torch wants as one entry."""
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(network.forward).parameters.values())


def _strip_notes(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces that hold the paths of this machine, several times the graph's size."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own internals away from the user, and from handlers of all logs: writing the
    trace of torch takes longer than the export."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")]
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
