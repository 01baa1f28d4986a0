"""Search spaces: named choices, the slots that they decide, and architectures as integer codes."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.connectivity import Connectivity
from search_spaces.pretrained import Converter
from search_spaces.scaling import Scale
from search_spaces.slot_table import (
    COLUMNS,
    IDLE_WEIGHT_BYTES,
    PARAMETERS,
    PEAK_BYTES,
    STATE_INPUT_BYTES,
    STATE_OUTPUT_BYTES,
    SlotTable,
)
from search_spaces.slot_workloads import SlotWorkloads
from search_spaces.spec import ModuleSpec
from search_spaces.tied import tie
from search_spaces.trace import trace
from search_spaces.workload import COSTS, Shape, Workload, chain

if TYPE_CHECKING:
    from search_spaces.supernet import Supernet

Value = int | float | str
Codes = NDArray[np.int64]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Choice:
    """A dimension of the search.

    Attributes:
        name: unique in its space.
        options: what can be chosen, from the cheapest to the most expensive.
        requires: the name of another choice and those of its values under which this one has an effect.
        ordered: whether neighbouring options are alike (numbers) or not (kinds of block).
    """

    name: str
    options: tuple[Value, ...]
    requires: tuple[str, tuple[Value, ...]] | None = None
    ordered: bool = True

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise ValueError(f"choice {self.name!r} needs at least one option and no repeats, not {self.options}")

    def index(self, value: Value) -> int:
        """Position of `value` among the options.

        Raises:
            ValueError: naming the options when `value` is none of them.
        """
        for index, option in enumerate(self.options):
            if option == value and isinstance(option, str) == isinstance(value, str):
                return index
        raise ValueError(f"choice {self.name!r} has no option {value!r}; it takes {', '.join(map(repr, self.options))}")


@dataclass(frozen=True)
class Variant:
    """What a slot is for one combination of its choices: a module and the shapes of its inputs (batch 1).

    Attributes:
        spec: of the module.
        input_shapes: shape of each input.
        indices: when the inputs are indices (64-bit integers), such as the numbers of tokens: how many there are.
        state_inputs: how many of the inputs, the last ones, do not come from the slot before but from outside the
            network: state, such as the keys of earlier tokens.
        state_outputs: how many of the outputs, the last ones, are such state and leave the network.
        method: of the module: what runs in this phase. `forward` is what is trained.
    """

    spec: ModuleSpec
    input_shapes: tuple[Shape, ...]
    indices: int = 0
    state_inputs: int = 0
    state_outputs: int = 0
    method: str = "forward"


@dataclass(frozen=True)
class Slot:
    """A place in the network whose operators are decided by a few choices.

    Attributes:
        name: unique in its space, and a valid name of a submodule.
        choices: names of the choices that it depends on.
        variant: maps their values and a phase to the variant, or to `None` when the slot is left out.
    """

    name: str
    choices: tuple[str, ...]
    variant: Callable[[Mapping[str, Value], str], Variant | None]


@dataclass(frozen=True)
class Architecture:
    """One network of a space: frozen, hashable, JSON.

    Attributes:
        space: name of the space.
        items: pairs of choice and value, in the order of the space's choices.
    """

    space: str
    items: tuple[tuple[str, Value], ...]

    @property
    def values(self) -> dict[str, Value]:
        """Value of every choice by its name (a new dictionary)."""
        return dict(self.items)

    @cached_property
    def key(self) -> str:
        """A short digest: equal for equal architectures, whatever process made them."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads."""
        return json.dumps({"version": FORMAT_VERSION, "space": self.space, "values": self.values})

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote. Whether the values exist is checked by the space that uses them.

        Raises:
            ValueError: when the text is not JSON, of another version, or not an architecture.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not an architecture: the text is not JSON ({error})") from error
        if not isinstance(data, dict) or "version" not in data:
            raise ValueError("not an architecture: expected a JSON object with version, space and values")
        if data["version"] != FORMAT_VERSION:
            raise ValueError(
                f"the architecture is of version {data['version']!r}, this release reads version {FORMAT_VERSION}"
            )
        space, values = data.get("space"), data.get("values")
        if not isinstance(space, str) or not isinstance(values, dict):
            raise ValueError("not an architecture: 'space' must be a name and 'values' an object")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, Value):
                raise ValueError(f"not an architecture: the value of {name!r} is {value!r}, neither number nor text")
        return cls(space, tuple(values.items()))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'depth'?)`, or nothing when no known name is near."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


@dataclass(eq=False, repr=False)
class SearchSpace:
    """All networks that the choices can describe. Slots run one after the other.

    Attributes:
        name: as given to `search_spaces.get`.
        choices: the dimensions, each after the one that it requires.
        slots: the places of the network, in the order in which they run.
        options: what the space was made with (JSON values); part of its fingerprint.
        phases: the workloads that a network has; vision has `inference` only. Methods take the first one by default.
        input_name: name of the network's input.
        named: published architectures by the names that their papers give them, as values of the choices.
        pretrained: what converts weights that already exist, by their source (see `Supernet.load_pretrained`).
        scaled: gives a space of the same family that is wider, deeper and of higher resolution by the factors of a
            scale, and the architecture in it that corresponds to one of this space; `None` where that has no meaning.
        ties: layers that read the weight of another one, and that one: names of slots, then of layers in them
            (see `search_spaces.tied`).
    """

    name: str
    choices: tuple[Choice, ...]
    slots: tuple[Slot, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    phases: tuple[str, ...] = ("inference",)
    input_name: str = "images"
    named: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    pretrained: Mapping[str, Converter] = field(default_factory=dict)
    scaled: Callable[[Architecture, Scale], tuple[SearchSpace, Architecture]] | None = None
    ties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._column = {choice.name: column for column, choice in enumerate(self.choices)}
        if len(self._column) != len(self.choices):
            raise ValueError(f"space {self.name!r} has two choices of the same name")
        for column, choice in enumerate(self.choices):
            if choice.requires is not None and self._column.get(choice.requires[0], column) >= column:
                raise ValueError(f"choice {choice.name!r} must come after {choice.requires[0]!r}, which it requires")
        if len({slot.name for slot in self.slots}) != len(self.slots):
            raise ValueError(f"space {self.name!r} has two slots of the same name")
        for slot in self.slots:
            for name in slot.choices:
                if name not in self._column:
                    raise ValueError(f"slot {slot.name!r} depends on an unknown choice {name!r}")
        self._requirements = [self._requirement(choice) for choice in self.choices if choice.requires is not None]
        self._radices = np.array([len(choice.options) for choice in self.choices], dtype=np.int64)
        self._skeletons: dict[ModuleSpec, nn.Module] = {}
        self._traces: dict[Variant, Workload] = {}
        self._tables = {phase: [SlotTable(self, slot, phase) for slot in self.slots] for phase in self.phases}
        self._connectivity = {phase: Connectivity(tables) for phase, tables in self._tables.items()}

    def __repr__(self) -> str:
        return f"<search space {self.name}: {len(self.choices)} choices, {self.size:.3g} architectures>"

    def _requirement(self, choice: Choice) -> tuple[int, int, NDArray[np.bool_]]:
        """Column of a choice, column of the one that it requires, and which options of that one allow it."""
        name, values = choice.requires or ("", ())
        parent = self._column[name]
        allowed = np.array([option in values for option in self.choices[parent].options])
        return self._column[choice.name], parent, allowed

    # ---------------------------------------------------------------- identity

    @cached_property
    def fingerprint(self) -> str:
        """Digest of name, options and choices: two spaces with the same one hold the same architectures."""
        choices = [[c.name, list(c.options), list(c.requires) if c.requires else None] for c in self.choices]
        text = json.dumps([self.name, dict(self.options), choices], sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """Exact number of distinct architectures, by counting over the tree of requirements."""
        children: dict[str | None, list[Choice]] = {}
        for choice in self.choices:
            children.setdefault(choice.requires[0] if choice.requires else None, []).append(choice)

        def count(choice: Choice) -> int:
            return sum(
                prod(count(c) for c in children.get(choice.name, ()) if c.requires and value in c.requires[1])
                for value in choice.options
            )

        return prod(count(choice) for choice in children.get(None, ()))

    # ------------------------------------------------------------------- codes

    def codes(self, architectures: Sequence[Architecture]) -> Codes:
        """Canonical integer codes, shape (n, number of choices): the position of each value among its options.

        Raises:
            ValueError: when an architecture belongs to another space or has an unknown or missing value.
        """
        rows = [
            [choice.index(values[choice.name]) for choice in self.choices] for values in map(self._known, architectures)
        ]
        return self.canonical(np.array(rows, dtype=np.int64).reshape(-1, len(self.choices)))

    def _known(self, architecture: Architecture) -> dict[str, Value]:
        if architecture.space != self.name:
            raise ValueError(f"the architecture belongs to space {architecture.space!r}, not to {self.name!r}")
        values = architecture.values
        for name in values:
            if name not in self._column:
                raise ValueError(f"space {self.name!r} has no choice {name!r}{nearest(name, self._column)}")
        missing = [choice.name for choice in self.choices if choice.name not in values]
        if missing:
            raise ValueError(f"the architecture has no value for {', '.join(missing)}")
        return values

    def architectures(self, codes: Codes) -> list[Architecture]:
        """The architectures of canonicalised `codes`, shape (n, number of choices)."""
        names = [choice.name for choice in self.choices]
        options = [choice.options for choice in self.choices]
        return [
            Architecture(self.name, tuple((n, o[i]) for n, o, i in zip(names, options, row, strict=True)))
            for row in self.canonical(codes).tolist()
        ]

    def architecture(self, name: str) -> Architecture:
        """The published architecture of that name.

        Raises:
            ValueError: when there is none.
        """
        if name not in self.named:
            raise ValueError(
                f"space {self.name!r} has no architecture {name!r}{nearest(name, self.named)}; it has "
                f"{', '.join(self.named) or 'none with a name'}"
            )
        values = {choice.name: self.named[name].get(choice.name, choice.options[0]) for choice in self.choices}
        unknown = self.named[name].keys() - values.keys()
        if unknown:
            raise ValueError(f"architecture {name!r} has values of unknown choices: {', '.join(sorted(unknown))}")
        (architecture,) = self.architectures(self.codes([Architecture(self.name, tuple(values.items()))]))
        return architecture

    def active(self, codes: Codes) -> NDArray[np.bool_]:
        """Which choices have an effect, shape of `codes`."""
        return self._active(self._checked(codes))

    def _active(self, codes: Codes) -> NDArray[np.bool_]:
        columns = np.ascontiguousarray(codes.T)
        active = np.ones(columns.shape, dtype=bool)
        for column, parent, allowed in self._requirements:
            np.logical_and(active[parent], allowed[columns[parent]], out=active[column])
        return active.T

    def canonical(self, codes: Codes) -> Codes:
        """Codes with every choice that has no effect set to its first option, so that equal networks are equal rows."""
        codes = self._checked(codes)
        return np.where(self._active(codes), codes, 0)

    def _checked(self, codes: Codes) -> Codes:
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.choices) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes of space {self.name!r} are an integer matrix with {len(self.choices)} columns, "
                f"got {codes.dtype} of shape {codes.shape}"
            )
        codes = codes.astype(np.int64, copy=False)
        if (codes.view(np.uint64) >= self._radices.view(np.uint64)).any():  # a negative index is a very large one here
            raise ValueError(f"codes of space {self.name!r} hold an index outside the options of its choice")
        return codes

    def random_codes(self, n: int, rng: np.random.Generator) -> Codes:
        """Canonical codes of `n` draws, uniform over the options of each choice; repeats are possible."""
        return self.canonical(rng.integers(0, self._radices, size=(n, len(self.choices))))

    def sample(self, n: int, seed: int) -> list[Architecture]:
        """`n` distinct architectures, uniform over the options of each choice.

        Raises:
            ValueError: when the space has fewer than `n` architectures.
        """
        if n > self.size:
            raise ValueError(f"space {self.name!r} has {self.size} architectures, fewer than the {n} asked for")
        rng = np.random.default_rng(seed)
        found: dict[tuple[int, ...], None] = {}
        while len(found) < n:
            for row in self.random_codes(n, rng).tolist():
                found.setdefault(tuple(row), None)
        return self.architectures(np.array(list(found)[:n], dtype=np.int64).reshape(-1, len(self.choices)))

    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return self.architectures(np.zeros((1, len(self.choices)), dtype=np.int64))[0]

    def largest(self) -> Architecture:
        """The last option of every choice."""
        return self.architectures((self._radices - 1)[None])[0]

    def mutate(self, codes: Codes, rate: float, rng: np.random.Generator) -> Codes:
        """Each choice is drawn anew with probability `rate`; canonical codes of the same shape.

        A choice that only now takes effect is always drawn.
        """
        active = self.active(codes)
        drawn = rng.integers(0, self._radices, size=active.shape)
        return self.canonical(np.where(active & (rng.random(active.shape) >= rate), codes, drawn))

    def crossover(self, codes_a: Codes, codes_b: Codes, rng: np.random.Generator) -> Codes:
        """Uniform crossover of two matrices of the same shape, row by row; canonical codes.

        A choice that has an effect in one parent only is taken from that one.
        """
        active_a, active_b = self.active(codes_a), self.active(codes_b)
        if active_a.shape != active_b.shape:
            raise ValueError(f"parents must have the same shape, not {active_a.shape} and {active_b.shape}")
        from_a = np.where(active_a == active_b, rng.random(active_a.shape) < 0.5, active_a)
        return self.canonical(np.where(from_a, codes_a, codes_b))

    # ------------------------------------------------------------------- costs

    def variants(self, architecture: Architecture, phase: str | None = None) -> dict[str, Variant]:
        """The variant of every slot that the architecture uses, by the slot's name, in running order."""
        codes = self.codes([architecture])[0].tolist()
        found = {table.slot.name: table.variant(codes) for table in self._tables[self._phase(phase)]}
        return {name: variant for name, variant in found.items() if variant is not None}

    def workload(self, architecture: Architecture, phase: str | None = None) -> Workload:
        """The operators of the whole network, batch 1."""
        variants = list(self.variants(architecture, phase).values())
        states = [(variant.state_inputs, variant.state_outputs) for variant in variants]
        return chain([self.variant_workload(variant) for variant in variants], states)

    def variant_workload(self, variant: Variant) -> Workload:
        """The operators of one slot variant, traced once and cached."""
        if variant not in self._traces:
            module = self.skeleton(variant.spec)
            self._traces[variant] = trace(module, variant.input_shapes, bool(variant.indices), variant.method)
        return self._traces[variant]

    def skeleton(self, spec: ModuleSpec) -> nn.Module:
        """The static module without memory (on the meta device): built once, not to be changed."""
        if spec not in self._skeletons:
            with torch.device("meta"):
                self._skeletons[spec] = spec.build()
        return self._skeletons[spec]

    def features(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """Additive costs by looking up and adding the slots' variants, shape (n, len(feature_names(phase)))."""
        return self._lookup(codes, phase)[:, : len(COSTS)]

    def feature_names(self, phase: str | None = None) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        self._phase(phase)
        return COSTS

    def connectivity(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """How the input reaches the output, shape (n, 4): the columns `CONNECTIVITY` of `search_spaces.connectivity`."""
        return self._connectivity[self._phase(phase)].features(self.canonical(codes))

    def slot_workloads(self, phase: str | None = None) -> SlotWorkloads:
        """Which workload each slot runs, for costs that are sums over slots but no column of `features`."""
        return SlotWorkloads(self._tables[self._phase(phase)])

    def macs(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """Multiply-accumulate operations of one forward pass, shape (n,)."""
        columns = [column for column, name in enumerate(COSTS) if name.startswith("macs_")]
        return np.asarray(self._lookup(codes, phase)[:, columns].sum(axis=1))

    def parameters(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """Trainable parameters of what runs in a phase (of the first one when none is given), shape (n,)."""
        return self._lookup(codes, phase)[:, PARAMETERS]

    def weight_bytes(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """All weights of what runs in a phase, also rows of tables that are not read, in bytes at float32, shape (n,)."""
        table = self._lookup(codes, phase)
        return np.asarray(table[:, COSTS.index("weight_bytes")] + table[:, IDLE_WEIGHT_BYTES])

    def memory_bytes(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """Weights plus the largest sum of activations alive at once, in bytes at float32, shape (n,)."""
        waiting = self._lookup(codes, phase)[:, STATE_INPUT_BYTES]
        return self.weight_bytes(codes, phase) + self._peak_activation_bytes(codes, phase, waiting)

    def cache_bytes(self, codes: Codes, phase: str | None = None) -> NDArray[np.float64]:
        """State that a phase leaves, such as the keys and values of all tokens so far, in bytes at float32, shape (n,).

        It is part of `memory_bytes`: all of it is alive when the last slot runs.
        """
        return self._lookup(codes, phase)[:, STATE_OUTPUT_BYTES]

    def _lookup(self, codes: Codes, phase: str | None) -> NDArray[np.float64]:
        tables = self._tables[self._phase(phase)]
        codes = np.asfortranarray(self.canonical(codes))  # slots read whole columns
        total = np.zeros((len(codes), COLUMNS))
        for table in tables:
            total += table.rows(codes)
        return total

    def _peak_activation_bytes(
        self, codes: Codes, phase: str | None, waiting: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Largest sum over the slots in their order: beside its own activations, `waiting` for state that later slots
        will read, and the state that earlier ones wrote."""
        codes = self.canonical(codes)
        peak = np.zeros(len(codes))
        beside = waiting.copy()
        for table in self._tables[self._phase(phase)]:
            rows = table.rows(codes)
            beside -= rows[:, STATE_INPUT_BYTES]
            np.maximum(peak, rows[:, PEAK_BYTES] + beside, out=peak)
            beside += rows[:, STATE_OUTPUT_BYTES]
        return peak

    def _phase(self, phase: str | None) -> str:
        """The first phase unless one is given."""
        if phase is None:
            return self.phases[0]
        if phase not in self.phases:
            raise ValueError(f"space {self.name!r} has no phase {phase!r}; it has {', '.join(self.phases)}")
        return phase

    # ---------------------------------------------------------------- networks

    def input_shapes(self, architecture: Architecture, phase: str | None = None) -> dict[str, Shape]:
        """Shape of every input of the network by its name, batch 1; the state of a slot is named after it."""
        variants = self.variants(architecture, phase)
        shapes = {self.input_name: next(iter(variants.values())).input_shapes[0]}
        for name, variant in variants.items():
            states = variant.input_shapes[len(variant.input_shapes) - variant.state_inputs :]
            shapes |= {f"{name}_state{index}": shape for index, shape in enumerate(states)}
        return shapes

    def build(self, architecture: Architecture, phase: str | None = None) -> nn.Sequential:
        """The static network with fresh weights on torch's default device; of the slots that run in `phase`."""
        network = nn.Sequential()
        for name, variant in self.variants(architecture, phase).items():
            network.add_module(name, variant.spec.build())
        tie({name: [module] for name, module in network.named_children()}, self.ties)
        return network

    def build_supernet(self) -> Supernet:
        """A supernet that holds the weights of all architectures."""
        from search_spaces.supernet import Supernet

        return Supernet(self)
