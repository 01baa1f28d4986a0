"""Names of the weights of once-for-all's official supernets (Cai et al., ICLR 2020; its package is `ofa`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from search_spaces.pretrained import Checkpoint, Converter
from search_spaces.space import Slot
from search_spaces.supernet import Supernet

#: Modules of an inverted residual: there and here.
_MBCONV = {
    "inverted_bottleneck.conv": "expand",
    "inverted_bottleneck.bn": "expand_norm",
    "depth_conv.conv": "depthwise",
    "depth_conv.bn": "depthwise_norm",
    "depth_conv.se.fc.reduce": "squeeze_excite.reduce",
    "depth_conv.se.fc.expand": "squeeze_excite.expand",
    "point_linear.conv": "project",
    "point_linear.bn": "project_norm",
}

_KERNEL_MATRIX = "_matrix"


def converter(modules: Mapping[str, str]) -> Converter:
    """Converts a checkpoint of the official project.

    Args:
        modules: names there, without the elastic layers around torch's own, and names in the supernet.

    Returns:
        A function that raises `ValueError` when the checkpoint is of another largest depth: blocks are numbered through
        all units there, so a block's number would stand for another one.
    """

    def convert(checkpoint: Checkpoint, supernet: Supernet) -> dict[str, Tensor]:
        there, here = _blocks(checkpoint.tensors), _blocks(modules)
        if there != here:
            raise ValueError(
                f"the checkpoint has {there} blocks and the space {supernet.space.name!r} has {here}: "
                "the largest depths must be the same"
            )
        wanted = supernet.state_dict().keys()
        given: dict[str, Tensor] = {}
        for name in checkpoint.tensors:
            module, _, tensor = _plain(name).rpartition(".")
            if tensor.endswith(_KERNEL_MATRIX):
                tensor = f"kernel_matrices.{tensor.removesuffix(_KERNEL_MATRIX)}"
            ours = f"{modules.get(module)}.{tensor}"
            if ours in wanted and ours not in given:
                given[ours] = checkpoint.take(name)
        return given

    return convert


def _blocks(names: Iterable[str]) -> int:
    """How many numbered blocks there are."""
    numbers = (re.match(r"blocks\.(\d+)\.", name) for name in names)
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)


def _plain(name: str) -> str:
    """The official name as in networks without elastic layers, which repeat a module's name (`bn.bn.weight`), and as in
    releases since 2020 (blocks were called `mobile_inverted_conv` before)."""
    return re.sub(r"\.(conv|bn|linear)(\.\1)+\.", r".\1.", name.replace(".mobile_inverted_conv.", ".conv."))


def normalised(there: str, here: str) -> dict[str, str]:
    """Modules of a convolution with its normalisation."""
    return {f"{there}.conv": f"{here}.conv", f"{there}.bn": f"{here}.norm"}


def inverted_residuals(slots: Sequence[Slot]) -> dict[str, str]:
    """Modules that the mobile networks have in common: all but the head.

    Args:
        slots: of the space: stem, first block, blocks, head.
    """
    modules = normalised("first_conv", "slots.stem.convnormact")
    for number, slot in enumerate(slots[1:-1]):
        modules |= {f"blocks.{number}.conv.{a}": f"slots.{slot.name}.mbconv.{b}" for a, b in _MBCONV.items()}
    return modules
