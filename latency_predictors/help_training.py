"""Meta-training of predictor `help`: in every episode some devices are met as a new one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import mse_loss

from latency_predictors.help_network import Initialisation, Parameters, adapt
from search_spaces import SearchSpace

#: Devices in an episode, and architectures on each that tell how well the adapted network does.
TASKS, QUERIES = 8, 200
#: Weight of the Kullback-Leibler divergence of the modulator's distribution from the standard normal one.
DIVERGENCE = 0.1 * TASKS
#: Share of a device's architectures that is left out as the fastest, and as the slowest.
TRIMMED = 0.1
#: After so many episodes the devices for validation are looked at.
INTERVAL = 50


@dataclass(frozen=True)
class Training:
    """How it is learned.

    Attributes:
        episodes: how many; HELP takes 2,000 for NAS-Bench-201 and 4,000 for FBNet.
        rate: of learning, of what is meta-learned.
        validation: names of the devices to choose among the episodes by; by default some are drawn.
        seed: of weights and draws.

    Raises:
        ValueError: when there is no episode.
    """

    episodes: int = 2000
    rate: float = 1e-4
    validation: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"meta-training takes 1 episode or more, not {self.episodes}")


@dataclass(frozen=True, eq=False)
class Lessons:
    """Devices to learn from.

    Attributes:
        x: encoded architectures, n of them.
        y: normalised latencies, shape (devices, n), NaN where there is none.
        embeddings: of the devices, shape (devices, length).
        reference: rows of the reference architectures.
        samples: how many further rows of a device are fine-tuned on; 0: the reference architectures themselves.
        held_out: rows that nothing is learned from, shape (n,) of booleans: what was learned is tested on them.
    """

    x: Tensor
    y: Tensor
    embeddings: Tensor
    reference: Tensor
    samples: int
    held_out: Tensor

    def of(self, devices: Sequence[int]) -> Lessons:
        """Some devices only."""
        chosen = list(devices)
        return Lessons(self.x, self.y[chosen], self.embeddings[chosen], self.reference, self.samples, self.held_out)

    def rows(self, device: int) -> Tensor:
        """Known rows without the fastest and the slowest."""
        known = torch.nonzero(~self.y[device].isnan())[:, 0]
        cut = int(TRIMMED * len(known))
        return known[self.y[device, known].argsort(stable=True)][cut : len(known) - cut]

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Of `rows`, some to fine-tune on, and the others in a random order."""
        drawn = rows[torch.randperm(len(rows), generator=generator)]
        drawn = drawn[~self.held_out[drawn]]
        if self.samples:
            return drawn[: self.samples], drawn[self.samples :]
        return self.reference, drawn[~torch.isin(drawn, self.reference)]


def meta_train(
    space: SearchSpace,
    training: Lessons,
    validation: Lessons,
    settings: Training,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Initialisation:
    """Learn an initialisation from which a few steps adapt to a device.

    The one that ranks best on the devices for validation, looked at every `INTERVAL` episodes, is kept.

    Args:
        space: of the architectures.
        training: devices to learn from.
        validation: others.
        settings: how.
        progress: called with the episodes that are done and all of them.
    """
    seed = settings.seed
    generator = torch.Generator().manual_seed(seed)
    learned = Initialisation.draw(space, training.embeddings.shape[1], seed)
    rates = {name: rate.requires_grad_() for name, rate in learned.rates.items()}
    parameters = [*learned.network.parameters(), *learned.modulator.parameters(), *rates.values()]
    optimizer = torch.optim.Adam(parameters, lr=settings.rate)
    rows = [training.rows(device) for device in range(len(training.y))]
    best, kept = -2.0, learned
    for episode in range(1, settings.episodes + 1):
        optimizer.zero_grad()
        _episode_loss(learned, training, rows, generator).backward()
        optimizer.step()
        if episode % INTERVAL == 0 or episode == settings.episodes:
            score = _ranking(learned, validation, seed)
            if score > best:
                best, kept = score, deepcopy(learned)
        progress(episode, settings.episodes)
    for parameter in (*kept.network.parameters(), *kept.modulator.parameters(), *kept.rates.values()):
        parameter.requires_grad_(False)
    return kept


def _episode_loss(learned: Initialisation, lessons: Lessons, rows: list[Tensor], generator: torch.Generator) -> Tensor:
    """Mean squared error on the queries of some devices after adapting to each, and the modulator's divergence."""
    devices = torch.randperm(len(rows), generator=generator)[:TASKS]
    drawn = [lessons.draw(rows[device], generator) for device in devices.tolist()]
    size = min(QUERIES, *(len(queries) for _, queries in drawn))
    few, queries = torch.stack([few for few, _ in drawn]), torch.stack([queries[:size] for _, queries in drawn])
    mean, deviation = learned.modulator(lessons.embeddings[devices])
    change = mean + deviation * torch.randn(mean.shape, generator=generator)
    start: Parameters = dict(learned.network.named_parameters())
    network = learned.network

    def loss(change: Tensor, embedding: Tensor, x: Tensor, y: Tensor, x_query: Tensor, y_query: Tensor) -> Tensor:
        adapted = adapt(network, start, learned.rates, change, x, embedding, y)
        return mse_loss(functional_call(network, adapted, (x_query, embedding)), y_query)

    y = lessons.y[devices]
    losses: Tensor = vmap(loss)(
        change, lessons.embeddings[devices],
        lessons.x[few], y.gather(1, few), lessons.x[queries], y.gather(1, queries),
    )  # fmt: skip
    total: Tensor = losses.mean() + DIVERGENCE * divergence(mean, deviation).sum(dim=(1, 2)).mean()
    return total


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """Kullback-Leibler, of independent normal distributions from the standard one."""
    return (deviation.square() + mean.square() - 1) / 2 - deviation.log()


def _ranking(learned: Initialisation, lessons: Lessons, seed: int) -> float:
    """Mean over devices of Spearman's rank correlation on what is held out, with the same draws each time."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for device in range(len(lessons.y)):
        rows = lessons.rows(device)
        few, queries = lessons.draw(rows, generator)[0], rows[lessons.held_out[rows]]
        embedding, y = lessons.embeddings[device], lessons.y[device]
        adapted = learned.adapt(lessons.x[few], embedding, y[few])
        guess = learned.predict(adapted, lessons.x[queries], embedding)
        found.append(float(spearmanr(guess, y[queries]).statistic))
    return sum(found) / len(found)
