"""How the steps of a training are carried out: device, precision and layout of the tensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nas.config import TrainingConfig
from nas.errors import UsageError


@dataclass(frozen=True)
class Execution:
    """Where and in which form the steps are computed.

    Attributes:
        device: `cpu` or `cuda`.
        bfloat16: whether autocast computes matrix products and convolutions in bfloat16.
        channels_last: whether images are laid out with channels last; convolutions then lay out all that follows.
    """

    device: str = "cpu"
    bfloat16: bool = False
    channels_last: bool = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Compute like this within the context."""
        with ExitStack() as stack:
            if self.bfloat16:
                stack.enter_context(torch.autocast(self.device, dtype=torch.bfloat16))
                if self.device == "cpu":
                    stack.enter_context(_DepthwiseInFloat32())
            yield

    def place(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A batch where the network is; of images alone the layout is chosen."""
        inputs, target = inputs.to(self.device), target.to(self.device)
        if self.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, target


class _DepthwiseInFloat32(TorchFunctionMode):
    """Keeps depthwise convolutions out of autocast: on CPUs their backward pass in bfloat16 is many times slower."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.conv2d or not _is_depthwise(*args, **kwargs):
            return function(*args, **kwargs)
        images, weight, *rest = args
        with torch.autocast("cpu", enabled=False):
            return function(images.float(), weight.float(), *rest, **kwargs)


def _is_depthwise(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    return groups > 1 and groups == weight.shape[0]


def candidates(config: TrainingConfig) -> list[Execution]:
    """All ways of execution that a configuration allows; `auto` leaves a property open.

    Raises:
        UsageError: when the configuration asks for a GPU that is not there.
    """
    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise UsageError("training.device is 'cuda', but torch finds no GPU; install torch for CUDA, or set it to cpu")
    if config.compile and not (cuda and config.device != "cpu"):
        raise UsageError(
            "training.compile needs a GPU: on a CPU it takes minutes before the first step; set it to false"
        )
    device = "cuda" if cuda and config.device != "cpu" else "cpu"
    precisions = [config.precision == "bfloat16"]
    if config.precision == "auto" and computes_bfloat16(device):
        precisions.append(True)
    layouts = [config.channels_last] if config.channels_last != "auto" else [False, True]
    return [Execution(device, bfloat16, channels_last) for bfloat16, channels_last in product(precisions, layouts)]


def distinct(options: list[Execution], inputs: Tensor) -> list[Execution]:
    """Without those that differ from others only in the layout of images, when the inputs are none."""
    if inputs.dim() == 4:
        return options
    return [option for option in options if not option.channels_last] or options


def computes_bfloat16(device: str) -> bool:
    """Whether bfloat16 is worth a trial: processors without AVX512 imitate it, at many times the cost."""
    return device == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fastest(options: list[Execution], step: Callable[[Execution], None], repeats: int = 2) -> Execution:
    """The way of execution whose quickest step takes the least time.

    Args:
        options: to choose from; with one only, nothing is timed.
        step: carries out a step of training, without lasting effect.
        repeats: timed steps of each option, after one to warm up; they take turns, so that a disturbance hits all.
    """
    if len(options) == 1:
        return options[0]
    best = dict.fromkeys(options, float("inf"))
    for turn in range(repeats + 1):
        for option in options:
            started = time.perf_counter()
            step(option)
            _wait(option)
            if turn:
                best[option] = min(best[option], time.perf_counter() - started)
    return min(options, key=lambda option: best[option])


def _wait(execution: Execution) -> None:
    if execution.device == "cuda":
        torch.cuda.synchronize()
