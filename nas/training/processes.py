"""Several processes that train one network together (synchronous data parallelism)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """The processes of a training; each sees a part of every batch, and all take the same steps.

    Attributes:
        rank: of this one, from 0.
        count: of all.
        device: where they exchange tensors.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    @contextmanager
    def joined(cls, cuda: bool = False) -> Iterator[Processes]:
        """This process among those that `torchrun` started.

        Args:
            cuda: whether each process computes on a GPU of its own, and exchanges tensors by NCCL in place of Gloo.

        Raises:
            UsageError: when the process was not started by `torchrun`.
        """
        if "LOCAL_RANK" not in os.environ:
            raise UsageError("this is one of several processes of a training: start it with torchrun")
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
        try:
            yield cls(dist.get_rank(), dist.get_world_size(), "cuda" if cuda else "cpu")
        finally:
            dist.destroy_process_group()

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch; all parts are equal in size, so that means over them are those over all."""
        return batch[self.rank : len(batch) // self.count * self.count : self.count]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give each process the mean of the gradients of all.

        Raises:
            RuntimeError: when the processes do not have gradients of the same parameters.
        """
        if self.count == 1:
            return
        parameters = list(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        present = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        if not torch.equal(self._sum(present), present * self.count):
            raise RuntimeError(
                "the processes trained different networks; a strategy must draw them with step.rng alone"
            )
        flat = self._sum(torch.cat([gradient.flatten() for gradient in gradients])).div_(self.count)
        for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def average(self, losses: dict[str, float]) -> dict[str, float]:
        """The means over all processes."""
        if self.count == 1:
            return losses
        total = self._sum(torch.tensor(list(losses.values()), dtype=torch.float64))
        return dict(zip(losses, (total / self.count).tolist(), strict=True))

    def first(self, number: int) -> int:
        """What the process of rank 0 gave."""
        return int(self._sum(torch.tensor([number if self.rank == 0 else 0])).item())

    def _sum(self, tensor: Tensor) -> Tensor:
        """Over all processes, the same bits in each; where `tensor` was."""
        if self.count == 1:
            return tensor
        total = tensor.detach().clone().to(self.device)
        dist.all_reduce(total)
        return total.to(tensor.device)


def check_divisible(batch_size: int, count: int) -> None:
    """Make sure that a batch can be divided among processes.

    Raises:
        UsageError: when it cannot.
    """
    if batch_size % count:
        raise UsageError(
            f"training.batch_size is {batch_size}, which {count} processes cannot divide among them; "
            f"set it to a multiple of {count}"
        )


def threads_each(threads: int | None, processes: int) -> int:
    """How many of `threads`, by default of the cores that this process may use, each of some processes has."""
    return max(1, (threads or len(os.sched_getaffinity(0))) // processes)
