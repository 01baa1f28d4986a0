"""Batch normalisation over the images of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class SyncBatchNorm(TorchFunctionMode):
    """Within this context, `F.batch_norm` in training uses mean and variance over the batches of all processes.

    Each process has as many images as the others, and calls it as often. It serves static and elastic layers alike, on
    CPUs and GPUs (`nn.SyncBatchNorm` is for GPUs alone).
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (_batch_norm if function is F.batch_norm else function)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    dims = [dim for dim in range(input.dim()) if dim != 1]
    shape = [-1 if dim == 1 else 1 for dim in range(input.dim())]
    x = input.float()
    own_var, own_mean = torch.var_mean(x, dims, correction=0)
    means, variances = _gather(torch.stack([own_mean, own_var])).unbind(1)
    mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
    _track(running_mean, running_var, mean.detach(), var.detach(), input.numel() // len(own_mean), momentum)
    scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    y = (x - mean.view(shape)) * scale.view(shape)
    return (y if bias is None else y + bias.view(shape)).to(input.dtype)


def _track(
    running_mean: Tensor | None, running_var: Tensor | None, mean: Tensor, var: Tensor, own: int, momentum: float
) -> None:
    count = own * dist.get_world_size()
    if running_mean is not None:
        running_mean.lerp_(mean, momentum)
    if running_var is not None:
        running_var.lerp_(var * (count / max(1, count - 1)), momentum)


def _gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, shape (processes, ...)."""
    rows = [torch.zeros_like(tensor) for _ in range(dist.get_world_size())]
    rows[dist.get_rank()] = tensor
    gathered: Tensor = _Sum.apply(torch.stack(rows))  # type: ignore[no-untyped-call]
    return gathered


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of the gradients that the processes have."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return total
