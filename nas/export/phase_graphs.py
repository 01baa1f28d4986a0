"""The graphs of a language model: one for a prompt, one for the next token, with their state as inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx
import torch
from torch import Tensor, nn

from nas.errors import UsageError
from nas.export.onnx_model import to_onnx
from search_spaces import Architecture, SearchSpace
from search_spaces.phases import PhaseNetwork
from search_spaces.workload import Shape

PREFILL, DECODE = "prefill", "decode"
LOGITS, NEXT = "logits", "_next"
#: Tokens of the prompt that is traced, which costs no time. A model of which fewer chunks than two were traced (of a
#: mixer that cuts a prompt into chunks or windows) would hold for just as many.
TRACED_TOKENS = 8191


def graph_of(phase: str) -> str:
    """The graph that runs a phase: `prefill` or `decode`."""
    return phase.partition("_")[0]


def phases_of(space: SearchSpace) -> Mapping[str, tuple[str, ...]]:
    """The phases that each graph runs.

    Raises:
        UsageError: when the space has none for a prompt, or none for the next token.
    """
    found = {name: tuple(p for p in space.phases if graph_of(p) == name) for name in (PREFILL, DECODE)}
    for name, phases in found.items():
        if not phases:
            raise UsageError(f"a language model is exported with a phase {name}_...; space.options.{name} names none")
    return MappingProxyType(found)


class PhaseGraphs:
    """A language model in the two forms in which it runs: a prompt, and the next token.

    Args:
        space: of the network.
        architecture: of the network.
        network: as `SearchSpace.build` gives it, in evaluation mode.

    Attributes:
        states: names of the state, in the order of the inputs of `decode`; outputs have `_next` at the end.
        free: of each state, which of its sizes depend on how many tokens there were, with their names.

    Raises:
        UsageError: when the space lacks a phase for a prompt or the next token.
    """

    def __init__(self, space: SearchSpace, architecture: Architecture, network: nn.Module) -> None:
        phases = {name: first for name, (first, *_) in phases_of(space).items()}
        self._space, self._architecture = space, architecture
        self._variants = {name: space.variants(architecture, phase) for name, phase in phases.items()}
        self._networks = {name: PhaseNetwork(network, variants) for name, variants in self._variants.items()}
        (_, self._tokens) = self.sizes(phases[PREFILL])[space.input_name]
        self._state_shapes = self.sizes(phases[DECODE])
        self._token = self._state_shapes.pop(space.input_name)
        self.states = tuple(self._state_shapes)
        self.free = self._free()

    def network(self, name: str) -> nn.Module:
        """What the graph of that name computes: `(tokens, *states) -> (logits, *states)`."""
        return self._networks[name].eval()

    def export(self) -> dict[str, onnx.ModelProto]:
        """The graphs by name; batch and lengths are free."""
        return {PREFILL: self._export_prefill(), DECODE: self._export_decode()}

    def sizes(self, phase: str) -> dict[str, Shape]:
        """Shapes of the inputs of a phase, batch 1."""
        return dict(self._space.input_shapes(self._architecture, phase))

    def _export_prefill(self) -> onnx.ModelProto:
        name = self._space.input_name
        examples = {name: torch.zeros(1, TRACED_TOKENS, dtype=torch.int64)}
        return onnx.load_from_string(to_onnx(self.network(PREFILL), examples, self.outputs, {name: {1: "tokens"}}))

    def _export_decode(self) -> onnx.ModelProto:
        examples = {self._space.input_name: torch.zeros(self._token, dtype=torch.int64)}
        for name, shape in self._state_shapes.items():
            examples[name] = torch.zeros(
                [max(2, size) if axis in self.free[name] else size for axis, size in enumerate(shape)]
            )
        return onnx.load_from_string(to_onnx(self.network(DECODE), examples, self.outputs, self.free))

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of both graphs."""
        return [LOGITS, *(state + NEXT for state in self.states)]

    @property
    def longest_prompt(self) -> int | None:
        """Most tokens that the graph of a prompt reads correctly; `None` for any number."""
        return self._smallest("longest_prompt")

    @property
    def capacity(self) -> int | None:
        """Most tokens of a sequence for whose state there is room; `None` for any number."""
        return self._smallest("capacity")

    @property
    def vocabulary(self) -> int:
        """How many tokens the network tells apart."""
        return next(iter(self._variants[PREFILL].values())).indices

    def _smallest(self, name: str) -> int | None:
        """Of an attribute of mixers, without the tokens that the network puts before every sequence."""
        _, second, *_ = self._variants[PREFILL].values()
        before = second.input_shapes[0][1] - self._tokens
        modules = self._networks[PREFILL].modules()
        found = [getattr(module, name) for module in modules if getattr(module, name, None) is not None]
        return min(found) - before if found else None

    def _free(self) -> dict[str, dict[int, str]]:
        """By what prompts of two lengths leave: a state of fixed size has the same shape after both. Free sizes of one
        slot are taken to be equal, which torch checks."""
        short, long = (self._left(tokens) for tokens in (1, self._tokens))
        return {
            name: {
                axis: f"{_slot(name)}_tokens" for axis in range(1, one.dim()) if one.shape[axis] != other.shape[axis]
            }
            for name, one, other in zip(self.states, short, long, strict=True)
        }

    def _left(self, tokens: int) -> Iterable[Tensor]:
        with torch.inference_mode():
            outputs = self.network(PREFILL)(torch.zeros(1, tokens, dtype=torch.int64))
        return outputs[1:] if isinstance(outputs, tuple) else ()


def _slot(state: str) -> str:
    return state.rpartition("_state")[0]
