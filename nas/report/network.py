"""One network, slot by slot, as a report shows it."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces import Architecture, SearchSpace, Variant
from search_spaces.workload import Shape, Workload

#: Arguments of modules: how details name them, and what that stands for.
_SHORT = {
    "kernel": ("k", "kernel"),
    "hidden": ("h", "hidden channels"),
    "groups": ("g", "groups"),
    "squeeze": ("se", "squeeze-excite"),
    "stride": ("s", "stride"),
    "kv_heads": ("kv", "heads of keys and values"),
    "window": ("w", "window"),
    "state": ("n", "features of a key"),
}
_NEUTRAL = {"groups": 1, "squeeze": 0, "stride": 1}


@dataclass(frozen=True)
class Stage:
    """One slot of a network.

    Attributes:
        name: of the slot.
        kind: name of its module class.
        details: its main arguments, channels in and out, and the size of its output: `k3 h64 16→24 s2 16x16`.
        arguments: all arguments of the module, as text.
        channels: of the output.
        macs: multiply-accumulate operations.
        parameters: trainable ones.
        macs_share: of the network's MACs.
        parameters_share: of the network's parameters.
    """

    name: str
    kind: str
    details: str
    arguments: str
    channels: int
    macs: int
    parameters: int
    macs_share: float
    parameters_share: float


def stages(space: SearchSpace, architecture: Architecture, phase: str | None = None) -> list[Stage]:
    """The slots that the network uses, in running order; costs are of `phase`, by default the space's first."""
    variants = space.variants(architecture, phase or space.phases[0])
    workloads = {name: space.variant_workload(variant) for name, variant in variants.items()}
    macs = sum(workload.macs for workload in workloads.values()) or 1
    parameters = sum(workload.parameters for workload in workloads.values()) or 1
    found = []
    following = [variant.input_shapes[0] for variant in list(variants.values())[1:]]
    outputs = [*following, _last_output(list(workloads.values())[-1], list(variants.values())[-1])]
    for (name, variant), output in zip(variants.items(), outputs, strict=True):
        workload = workloads[name]
        found.append(
            Stage(
                name,
                _kind(variant),
                _details(variant, output),
                ", ".join(f"{argument}={value}" for argument, value in variant.spec.arguments),
                _channels(output),
                workload.macs,
                workload.parameters,
                workload.macs / macs,
                workload.parameters / parameters,
            )
        )
    return found


def legend(space: SearchSpace, architecture: Architecture) -> str:
    """What the letters in the details of its stages stand for, such as `k kernel, s stride`."""
    used = {name for variant in space.variants(architecture).values() for name, _ in variant.spec.arguments}
    return ", ".join(f"{short} {words}" for name, (short, words) in _SHORT.items() if name in used)


def _last_output(workload: Workload, variant: Variant) -> Shape:
    return workload.ops[-1].output_shape if workload.ops else variant.input_shapes[0]


def _kind(variant: Variant) -> str:
    return str(getattr(variant.spec.module, "__name__", variant.spec.module))


def _details(variant: Variant, output: Shape) -> str:
    arguments = dict(variant.spec.arguments)
    shown = [
        f"{short}{arguments[name]}"
        for name, (short, _) in _SHORT.items()
        if name in arguments and arguments[name] != _NEUTRAL.get(name)
    ]
    size = "x".join(map(str, output[2:] if len(output) == 4 else output[1:-1]))
    return " ".join([*shown, f"{_channels(variant.input_shapes[0])}→{_channels(output)}", size]).strip()


def _channels(shape: Shape) -> int:
    """The second dimension of images (batch, channels, height, width), the last one of anything else."""
    return shape[1] if len(shape) == 4 else shape[-1]
