"""One phase of a network, such as the next token of a language model, as a module by itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from search_spaces.space import Variant


class PhaseNetwork(nn.Module):
    """Runs the methods that a phase has of the slots of a network, and passes their state in and out.

    Args:
        network: a static network, by the names of its slots.
        variants: of the slots in that phase, see `SearchSpace.variants`.
    """

    def __init__(self, network: nn.Module, variants: Mapping[str, Variant]) -> None:
        super().__init__()
        self.network = network
        self.variants = dict(variants)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of the last slot, then the new state of all slots in their order.

        Args:
            inputs: of the first slot, then the state of all slots in their order, as `SearchSpace.input_shapes` names
                them.
        """
        first = next(iter(self.variants.values()))
        taken = len(first.input_shapes) - first.state_inputs
        passed, waiting = inputs[:taken], list(inputs[taken:])
        left: list[Tensor] = []
        for name, variant in self.variants.items():
            state, waiting = waiting[: variant.state_inputs], waiting[variant.state_inputs :]
            found = getattr(self.network.get_submodule(name), variant.method)(*passed, *state)
            results = found if isinstance(found, tuple) else (found,)
            kept = len(results) - variant.state_outputs
            passed = results[:kept]
            left += results[kept:]
        outputs = (*passed, *left)
        return outputs[0] if len(outputs) == 1 else outputs
