"""The operators of a network while they are read off: what each tensor is, and which operators gave it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from search_spaces.workload import Attribute, Op, Shape


class UnknownOperator(RuntimeError):
    """An operator whose cost is not known; the message names it."""


class Recording:
    """Operators, and the tensors that they read and write.

    Args:
        module: whose parameters and buffers are constants.
        inputs: of the network.

    Attributes:
        ops: the operators so far.
        weights: constants by id: those of the module, and what is computed from them alone.
        number: of each activation by id.
        first: number of the first operator's result.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.ops: list[Op] = []
        self.weights: dict[int, Tensor] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        # Parameters that a constant is computed from, and how many values each has until an operator has read it.
        self.sources: dict[int, frozenset[int]] = {
            id(tensor): frozenset([id(tensor)]) for tensor in self.weights.values()
        }
        self.trainable: dict[int, int] = {id(tensor): tensor.numel() for tensor in module.parameters()}
        self.number: dict[int, int] = {id(tensor): index for index, tensor in enumerate(inputs)}
        # Keeps every tensor alive: a freed one would pass its id on to another.
        self.tensors: list[Tensor] = list(inputs)
        self.first = len(inputs)

    def is_constant(self, args: tuple[Any, ...]) -> bool:
        """Whether an operator reads constants only, or makes one of nothing, such as the numbers from 0 on."""
        return all(id(tensor) in self.weights for tensor in tensors_of(args))

    def fold(self, args: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        """Take what is computed from constants alone for a constant, as every runtime does."""
        sources = frozenset().union(*(self.sources.get(id(tensor), frozenset()) for tensor in tensors_of(args)))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            self.tensors.append(tensor)
            self.weights[id(tensor)] = tensor
            self.sources[id(tensor)] = sources

    def view(self, source: Tensor, view: Tensor) -> None:
        """The same values by another name, or in another shape."""
        self.tensors.append(view)
        if view.shape == source.shape:
            self.number[id(view)] = self.number_of(source)
        else:
            self.append("reshape", (source,), view)

    def number_of(self, tensor: Tensor) -> int:
        """The number of an activation.

        Raises:
            UnknownOperator: when it is none.
        """
        if id(tensor) not in self.number:
            raise UnknownOperator(
                "an operator reads a constant that was made on the way, or the network gives one, or an operator reads a "
                "convolution that is also read without its batch normalisation, or images that a convolution pads; "
                "the cost of none of them is known"
            )
        return self.number[id(tensor)]

    def append(
        self,
        kind: str,
        args: tuple[Any, ...],
        output: Tensor,
        attributes: tuple[tuple[str, Attribute], ...] = (),
        weights: tuple[Shape, ...] = (),
        parameters: int = 0,
    ) -> None:
        """An operator that reads the activations among `args`; the other arguments are as in `Op`."""
        read = [arg for arg in args if isinstance(arg, Tensor) and id(arg) not in self.weights]
        numbers = tuple(self.number_of(tensor) for tensor in read)
        self.tensors.append(output)
        result = self.number[id(output)] = self.first + len(self.ops)
        shapes = (*(tuple(tensor.shape) for tensor in read), tuple(output.shape))
        self.ops.append(Op(kind, numbers, (result,), shapes, weights, attributes, parameters))

    def trainable_values(self, *tensors: Tensor | None) -> int:
        """Trainable values that `tensors` were computed from, each counted for the first operator that reads it."""
        constants = [tensor for tensor in tensors if tensor is not None]
        sources = frozenset().union(*(self.sources.get(id(tensor), frozenset()) for tensor in constants))
        return sum(self.trainable.pop(source, 0) for source in sources)


def tensors_of(args: tuple[Any, ...]) -> list[Tensor]:
    """The tensors among arguments, some of which may be lists."""
    flat = [item for arg in args for item in (arg if isinstance(arg, tuple | list) else (arg,))]
    return [item for item in flat if isinstance(item, Tensor)]
