"""Weights that already exist, put into a supernet: nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from search_spaces.safetensors_directory import read_directory

if TYPE_CHECKING:
    from search_spaces.supernet import Supernet

#: Under these keys training scripts keep the weights beside other things.
_NESTS = ("state_dict", "model", "model_state_dict", "model_ema", "module")

#: Of batch normalisation; old checkpoints have none, and nothing here depends on it.
_COUNTER = "num_batches_tracked"

_KERNEL_MATRICES = ".kernel_matrices"


class Checkpoint:
    """The tensors of a file by their names, and which of them were taken.

    Args:
        tensors: by name.
        directory: that they are from, when it is more than one file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], directory: Path | None = None) -> None:
        self.tensors, self.directory = dict(tensors), directory
        self._taken: set[str] = set()

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a safetensors file, a directory of them, or a file that `torch.save` wrote; no code in it is run.

        Raises:
            ValueError: when the file cannot be read, or holds no weights by name.
        """
        path = Path(path)
        try:
            content = _content(path)
        except Exception as error:  # torch's reader fails in as many ways as a file may be damaged
            raise ValueError(f"{path}: no weights can be read from it: {error}") from error
        while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
            nest = next((key for key in _NESTS if isinstance(content.get(key), Mapping)), None)
            if nest is None:
                break
            content = content[nest]
        tensors = {}
        if isinstance(content, Mapping):
            tensors = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
        if not tensors:
            raise ValueError(f"{path}: expected weights by name (a state dictionary)")
        return cls(tensors, path if path.is_dir() else None)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str) -> Tensor:
        """The tensor of that name, which counts as used from now on.

        Raises:
            KeyError: when there is none.
        """
        tensor = self.tensors[name]
        self._taken.add(name)
        return tensor

    @property
    def unused(self) -> list[str]:
        """Names of the tensors that nobody took."""
        return sorted(self.tensors.keys() - self._taken)


def _content(path: Path) -> object:
    if path.is_dir():
        return read_directory(path)
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


#: Takes from a checkpoint what it knows, and gives tensors by their names in the supernet's state dictionary.
Converter = Callable[[Checkpoint, "Supernet"], Mapping[str, Tensor]]


def renamed(modules: Mapping[str, str]) -> Converter:
    """A converter for files whose modules only bear other names, and are of the largest architecture.

    The matrices that make a smaller kernel of a larger one, which no such file has, become identities again with the
    weight of their convolution.

    Args:
        modules: name in the file by name in the supernet, such as `slots.head.head.classifier`.
    """

    def convert(checkpoint: Checkpoint, supernet: Supernet) -> Mapping[str, Tensor]:
        given = {}
        for name, tensor in supernet.state_dict().items():
            module, _, kind = name.rpartition(".")
            source = modules.get(module.removesuffix(_KERNEL_MATRICES))
            if source is None:
                continue
            if module.endswith(_KERNEL_MATRICES):
                if f"{source}.weight" in checkpoint:
                    given[name] = torch.eye(len(tensor))
            elif f"{source}.{kind}" in checkpoint:
                given[name] = checkpoint.take(f"{source}.{kind}")
        return given

    return convert


@dataclass(frozen=True)
class Loaded:
    """What came of loading weights.

    Attributes:
        loaded: names in the supernet of the tensors that were replaced.
        missing: names in the supernet of those for which the checkpoint had nothing.
        unused: names in the checkpoint of those for which the supernet has no place.
        mismatched: names in the supernet, with the shape there and the one in the checkpoint.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether everything had its counterpart."""
        return not (self.missing or self.unused or self.mismatched)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded"]
        for title, names in (
            ("not in the checkpoint", self.missing),
            ("not in the supernet", self.unused),
            ("of another shape", self.mismatched),
        ):
            if names:
                lines.append(f"{len(names)} {title}: {', '.join(names)}")
        return "; ".join(lines)


def load(supernet: Supernet, converter: Converter, path: str | Path, partial: bool = False) -> Loaded:
    """Put the weights of a file into a supernet.

    Args:
        supernet: whose weights are replaced; untouched when this raises.
        converter: knows the names of the file.
        path: safetensors (a file, or a directory of transformers), or written by `torch.save`.
        partial: whether to load what matches when something does not, such as the classifier of other classes.

    Raises:
        ValueError: when the file cannot be read; without `partial` also when anything does not match, listing it.
    """
    checkpoint = Checkpoint.read(path)
    given = converter(checkpoint, supernet)
    state = supernet.state_dict()
    strange = given.keys() - state.keys()
    if strange:
        raise ValueError(f"the converter gives tensors that the supernet does not have: {sorted(strange)}")
    fitting = {name: tensor for name, tensor in given.items() if tensor.shape == state[name].shape}
    mismatched = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in given.items()
        if name not in fitting
    ]
    found = Loaded(
        loaded=tuple(sorted(fitting)),
        missing=tuple(sorted(name for name in state.keys() - given.keys() if not name.endswith(_COUNTER))),
        unused=tuple(checkpoint.unused),
        mismatched=tuple(sorted(mismatched)),
    )
    if not (partial or found.is_complete):
        raise ValueError(
            f"{path}: does not match the supernet, nothing was loaded: {found}. With partial=True what matches is loaded"
        )
    with torch.no_grad():
        for name, tensor in fitting.items():
            state[name].copy_(tensor)
    return found
