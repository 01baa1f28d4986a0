"""Bringing a chosen network to another budget: fast compound scaling (Dollar, Singh and Girshick, CVPR 2021)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log, prod, sqrt
from pathlib import Path
from typing import Any

import yaml

import search_spaces
from nas.config import load
from nas.errors import CheckFailed, UsageError
from nas.files import write_text
from nas.runs import Run
from search_spaces import Architecture, SearchSpace
from search_spaces.scaling import Scale

#: What the authors recommend: nearly as accurate as uniform scaling with far fewer activations.
FAST = 0.8

#: The shares of width with which a scaling is compared.
OTHERS = (("uniform", 1 / 3), ("width only", 1.0))

#: Relative distances from the wanted operations: near enough, and too far.
_CLOSE, _MISSED = 0.005, 0.1
_STEPS = 10

#: Operators whose outputs count as activations.
_PRODUCTS = ("conv", "linear", "matmul")


@dataclass(frozen=True)
class Scaled:
    """A network, its space and what it costs.

    Attributes:
        space: made with the options that belong to the network.
        architecture: the network.
        scale: the factors that lead to it.
        macs: multiply-accumulate operations.
        parameters: trainable ones.
        activations: values that convolutions and matrix products give, which is what the authors of fast compound
            scaling count: on many devices latency follows them rather than the operations.
    """

    space: SearchSpace
    architecture: Architecture
    scale: Scale
    macs: int
    parameters: int
    activations: int


def factors(macs: float, alpha: float = FAST) -> Scale:
    """Factors of width, depth and resolution that multiply the operations by `macs`.

    With the factors w, d and r operations grow by d w^2 r^2, parameters by d w^2 and activations by d w r^2. Width gets
    the share `alpha` of the growth, and depth and resolution the rest in equal parts, so that activations grow by
    `macs ** (1 - alpha / 2)`: by the square root when only the width changes (`alpha=1`), and by `macs ** (5 / 6)` when
    all three change alike (`alpha=1/3`).

    Raises:
        UsageError: when `macs` is not above 0, or `alpha` is not from 0 to 1.
    """
    if not 0 < macs < float("inf"):
        raise UsageError(f"the factor of the MACs is above 0, not {macs}")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha, the share of the width, is from 0 to 1, not {alpha}")
    rest = (1 - alpha) / 2
    return Scale(width=macs ** (alpha / 2), depth=macs**rest, resolution=macs ** (rest / 2))


def costed(space: SearchSpace, architecture: Architecture, scale: Scale | None = None) -> Scaled:
    """A network with its costs, for the space's first phase."""
    workload = space.workload(architecture, space.phases[0])
    activations = sum(prod(op.output_shape) for op in workload.ops if op.kind in _PRODUCTS)
    unchanged = Scale(1.0, 1.0, 1.0)
    return Scaled(space, architecture, scale or unchanged, workload.macs, workload.parameters, activations)


def scale_network(space: SearchSpace, architecture: Architecture, macs: float, alpha: float = FAST) -> Scaled:
    """The network that `architecture` becomes when its operations are multiplied by `macs`.

    Numbers of blocks and pixels are rounded first; the width then makes up for what the rounding changed.

    Args:
        space: that knows how its networks are scaled (`SearchSpace.scaled`).
        architecture: of that space.
        macs: factor, below 1 for a smaller network.
        alpha: share of the width in the growth.

    Raises:
        CheckFailed: when the operations of the nearest network are more than a tenth beside the target.
        UsageError: when the space cannot be scaled, or a number is out of its range.
    """
    best, target = _nearest(space, architecture, macs, alpha), macs * costed(space, architecture).macs
    if abs(best.macs / target - 1) > _MISSED:
        raise CheckFailed(
            f"no width gives {target / 1e6:.4g} M MACs at this depth and resolution: the nearest network has "
            f"{best.macs / 1e6:.4g} M; try another alpha, or a factor nearer to 1"
        )
    return best


def _nearest(space: SearchSpace, architecture: Architecture, macs: float, alpha: float) -> Scaled:
    target = macs * costed(space, architecture).macs
    return min(_candidates(space, architecture, macs, alpha), key=lambda found: abs(log(found.macs / target)))


def _candidates(space: SearchSpace, architecture: Architecture, macs: float, alpha: float) -> Iterator[Scaled]:
    """Networks of more and more fitting width."""
    if space.scaled is None:
        raise UsageError(f"space {space.name!r} does not say how its networks are scaled")
    scale, target = factors(macs, alpha), macs * costed(space, architecture).macs
    too_little, too_much = 0.0, 0.0
    for _ in range(_STEPS):
        found = costed(*space.scaled(architecture, scale), scale)
        yield found
        if abs(found.macs / target - 1) < _CLOSE:
            return
        if found.macs < target:
            too_little = scale.width
        else:
            too_much = scale.width
        # Halves the interval that holds the width; until there is one, operations are taken to grow by its square.
        bracketed = too_little and too_much
        width = sqrt(too_little * too_much) if bracketed else scale.width * sqrt(target / found.macs)
        scale = replace(scale, width=width)


def compare(space: SearchSpace, architecture: Architecture, macs: float, alpha: float = FAST) -> dict[str, Scaled]:
    """The network before, scaled with `alpha`, and for comparison scaled uniformly and by width alone.

    The last two are the nearest networks, however far from the target.
    """
    scaled = scale_network(space, architecture, macs, alpha)
    others = {name: _nearest(space, architecture, macs, share) for name, share in OTHERS}
    return {"before": costed(space, architecture), f"alpha {alpha:g}": scaled, **others}


def load_space(source: str, overrides: Sequence[str] = ()) -> SearchSpace:
    """The space of a configuration, or of the run in a directory.

    Raises:
        UsageError: when there is none.
    """
    config = Run.existing(Path(source))[1] if Path(source).is_dir() else load(source, overrides)
    return search_spaces.get(config.space.name, **config.space.options)


def load_architecture(source: str, space: SearchSpace) -> Architecture:
    """The architecture in a JSON file, or the published one of that name.

    Raises:
        UsageError: when it is neither.
    """
    file = Path(source)
    if not file.is_file() and source not in space.named:
        known = ", ".join(space.named) or "none"
        raise UsageError(f"there is no file {source}, and no published network of that name; there are: {known}")
    try:
        found = Architecture.from_json(file.read_text()) if file.is_file() else space.architecture(source)
        space.codes([found])
    except (OSError, ValueError) as error:
        raise UsageError(f"--architecture {source}: {error}") from error
    return found


def space_section(network: Scaled) -> dict[str, Any]:
    """The section `space` of a configuration that holds the network."""
    return {"space": {"name": network.space.name, "options": json.loads(json.dumps(dict(network.space.options)))}}


def space_text(network: Scaled) -> str:
    """`space_section` as YAML."""
    text: str = yaml.safe_dump(space_section(network), sort_keys=False, default_flow_style=None)
    return text


def write(network: Scaled, folder: Path) -> None:
    """Write `space.yaml`, a section for a configuration, and `architecture.json`."""
    write_text(folder / "space.yaml", space_text(network))
    write_text(folder / "architecture.json", network.architecture.to_json() + "\n")
