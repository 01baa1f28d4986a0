"""The networks of predictor `help`: of an architecture and a device's embedding, and of what a device changes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import linear, mse_loss

from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.tabular.nasbench201 import EDGES

HIDDEN = 100
MODULATOR_HIDDEN = 10
#: Layers that the modulator scales and shifts, and by how much.
MODULATED, MODULATION = ("fc3", "fc4", "fc5"), 0.01
#: Inner steps, and their learning rates before meta-training.
STEPS, RATE = 2, 1e-3
#: Graph convolutions start within this range.
GRAPH_RANGE = 0.05

Parameters = dict[str, Tensor]


class OneHot(nn.Module):
    """Two layers on the one-hot code of an architecture, for spaces in general.

    Args:
        space: of the architectures.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        sizes = np.array([len(choice.options) for choice in space.choices])
        self._columns, self._features = np.cumsum(sizes) - sizes, int(sizes.sum())
        self.fc1, self.fc2 = nn.Linear(self._features, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

    def encode(self, codes: Codes) -> Tensor:
        """Shape (n, options of all choices)."""
        x = torch.zeros(len(codes), self._features, dtype=self.fc1.weight.dtype)
        return x.scatter_(1, torch.from_numpy(codes + self._columns), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, HIDDEN)."""
        found: Tensor = self.fc2(self.fc1(x).relu()).relu()
        return found


class CellGraph(nn.Module):
    """Graph convolutions on the cell of NAS-Bench-201: its input, an operation for each edge, its output, and a node
    that all others lead to, whose embedding is the cell's.

    Args:
        space: NAS-Bench-201.
    """

    adjacency: Tensor

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._operations = len(space.choices[0].options)
        features = self._operations + 3
        self.register_buffer("adjacency", _cell_adjacency(), persistent=False)
        self.gc1, self.gc2, self.gc3, self.gc4 = (
            nn.Linear(size, HIDDEN) for size in (features, HIDDEN, HIDDEN, HIDDEN)
        )
        for layer in (self.gc1, self.gc2, self.gc3, self.gc4):
            nn.init.uniform_(layer.weight, -GRAPH_RANGE, GRAPH_RANGE)
            nn.init.uniform_(layer.bias, -(HIDDEN**-0.5), HIDDEN**-0.5)

    def encode(self, codes: Codes) -> Tensor:
        """Shape (n, nodes, kinds of nodes)."""
        operations = self._operations
        kinds = np.full((len(codes), len(EDGES) + 3), operations)
        kinds[:, 1 : 1 + len(EDGES)] = codes
        kinds[:, -2:] += [1, 2]
        x = torch.zeros(*kinds.shape, operations + 3, dtype=self.gc1.weight.dtype)
        return x.scatter_(2, torch.from_numpy(kinds)[..., None], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, HIDDEN)."""
        x = x.transpose(-3, -2)  # nodes first: one product with the adjacency for all architectures
        for layer in (self.gc1, self.gc2, self.gc3):
            x = layer(torch.einsum("ij,jnf->inf", self.adjacency, x)).relu()
        found: Tensor = self.gc4(torch.einsum("j,jnf->nf", self.adjacency[-1], x)).relu()
        return found


def _cell_adjacency() -> Tensor:
    """Row: node that is led to; each leads to itself. Input, edges in the order of `EDGES`, output, the node of all."""
    leads = torch.eye(len(EDGES) + 3)
    for number, edge in enumerate(EDGES, start=1):
        node, source = edge.removeprefix("edge").split("_")
        into = [0] if source == "0" else [n for n, other in enumerate(EDGES, 1) if other.startswith(f"edge{source}_")]
        leads[number, into] = 1
        if node == "3":
            leads[-2, number] = 1
    leads[-1] = 1
    return leads


#: Spaces whose architectures are not read as one-hot codes.
ENCODERS: Mapping[str, Callable[[SearchSpace], OneHot | CellGraph]] = {"nasbench201": CellGraph}


class DeviceNetwork(nn.Module):
    """Normalised latency of architectures on a device.

    Args:
        space: of the architectures.
        embedding: length of a device's embedding.
    """

    def __init__(self, space: SearchSpace, embedding: int) -> None:
        super().__init__()
        self.encoder = ENCODERS.get(space.name, OneHot)(space)
        self.hw1, self.hw2 = nn.Linear(embedding, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.fc3, self.fc4 = nn.Linear(2 * HIDDEN, 2 * HIDDEN), nn.Linear(2 * HIDDEN, 2 * HIDDEN)
        self.fc5 = nn.Linear(2 * HIDDEN, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Shape (n,), of architectures `x` as encoded and the embedding of one device."""
        device = self.hw2(self.hw1(embedding).relu()).relu()
        # The same as fc3 of both joined, but the device's part once for all architectures.
        of_architecture, of_device = self.fc3.weight.split(HIDDEN, dim=1)
        joined = linear(self.encoder(x), of_architecture, linear(device, of_device, self.fc3.bias)).relu()
        out: Tensor = self.fc5(self.fc4(joined).relu())
        return out[..., 0]


class Modulator(nn.Module):
    """From a device's embedding to the distribution of what scales and shifts the layers `MODULATED`.

    Args:
        embedding: its length.
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.numbers = len(MODULATED) * (2 * HIDDEN + 1)
        self.fc1, self.fc2 = nn.Linear(embedding, MODULATOR_HIDDEN), nn.Linear(MODULATOR_HIDDEN, 2 * self.numbers)

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, each of shape (..., layers, inputs + 1)."""
        mean, deviation = self.fc2(self.fc1(embedding).relu()).split(self.numbers, dim=-1)
        shape = *embedding.shape[:-1], len(MODULATED), -1
        return mean.reshape(shape), nn.functional.softplus(deviation).reshape(shape)


@dataclass(frozen=True, eq=False)
class Initialisation:
    """What is meta-learned: network and modulator, and a learning rate for each parameter of the network.

    Attributes:
        network: its parameters are where a new device starts.
        modulator: changes them for the device.
        rates: by the parameter's name, of its shape.
    """

    network: DeviceNetwork
    modulator: Modulator
    rates: Parameters

    @classmethod
    def draw(cls, space: SearchSpace, embedding: int, seed: int) -> Initialisation:
        """As it is before meta-training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, modulator = DeviceNetwork(space, embedding), Modulator(embedding)
        return cls(network, modulator, {name: torch.full_like(p, RATE) for name, p in network.named_parameters()})

    def adapt(self, x: Tensor, embedding: Tensor, y: Tensor) -> Parameters:
        """The network's parameters for a device with this embedding and these normalised latencies, at the mean of the
        modulator."""
        with torch.no_grad():
            return adapt(
                self.network, dict(self.network.named_parameters()), self.rates, self.modulator(embedding)[0],
                x, embedding, y,
            )  # fmt: skip

    def predict(self, parameters: Parameters, x: Tensor, embedding: Tensor) -> Tensor:
        """Normalised latencies, shape (n,)."""
        with torch.inference_mode():
            found: Tensor = functional_call(self.network, parameters, (x, embedding))
        return found


def adapt(
    network: DeviceNetwork,
    start: Parameters,
    rates: Parameters,
    change: Tensor,
    x: Tensor,
    embedding: Tensor,
    y: Tensor,
) -> Parameters:
    """Steps of Meta-SGD (Li et al., 2017) on the samples of one device, from a modulated start.

    Args:
        network: gives the shape of the function.
        start: its parameters.
        rates: of learning, one for each number of `start`.
        change: what the modulator says, shape (layers, inputs + 1).
        x: encoded architectures, n of them.
        embedding: of the device.
        y: normalised latencies, shape (n,).
    """

    def loss(parameters: Parameters) -> Tensor:
        return mse_loss(functional_call(network, parameters, (x, embedding)), y)

    parameters = dict(start)
    for layer, numbers in zip(MODULATED, change.unbind(), strict=True):
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        parameters[weight] = start[weight] * (1 + MODULATION * numbers[:-1])
        parameters[bias] = start[bias] + MODULATION * numbers[-1]
    for _ in range(STEPS):
        slopes = grad(loss)(parameters)
        parameters = {name: value - rates[name] * slopes[name] for name, value in parameters.items()}
    return parameters
