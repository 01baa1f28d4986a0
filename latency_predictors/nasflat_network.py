"""The network of predictor `nasflat`: every operator's embedding is joined with the device's, and costs are added up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 64
#: Length of a device's embedding.
DEVICE = 16

#: Pre-training: steps of AdamW, architectures and simulated devices in each, peak of the learning rate.
STEPS, ROWS, SIMULATED, RATE = 600, 256, 32, 5e-3
#: Errors beyond this many standard deviations of a device's log latencies count linearly (Huber).
HUBER = 0.3
#: Weight of the mean square of the embeddings in the loss: they stay near 1.
EMBEDDING_PENALTY = 1e-3
#: Log latencies that differ less are the same to a timer.
SMALLEST_DEVIATION = 0.01

#: Fine-tuning of a new device's embedding.
TUNING_STEPS, TUNING_RATE = 150, 0.03
#: Weight of the distance to the embedding that it started from, in deviations among devices, against the variance of
#: the measured log latencies.
TUNING_PENALTY = 0.02


class OperatorDeviceNetwork(nn.Module):
    """Log latencies of operators on devices, from descriptions and embeddings.

    Args:
        features: length of an operator's description.
        level: log latency of an operator before training.
        dtype: of the parameters.
    """

    def __init__(self, features: int, level: float = 0.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.operator = nn.Linear(features, HIDDEN, dtype=dtype)
        self.device = nn.Linear(DEVICE, HIDDEN, bias=False, dtype=dtype)
        self.joined = nn.Linear(HIDDEN, HIDDEN, dtype=dtype)
        self.cost = nn.Linear(HIDDEN, 1, dtype=dtype)
        self.call = nn.Linear(DEVICE, 1, dtype=dtype)
        with torch.no_grad():
            self.cost.bias.fill_(level)
            self.call.bias.fill_(-2)  # e^-2 of a typical latency

    def costs(self, x: Tensor, devices: Tensor) -> Tensor:
        """Log latency of operators `x` (u, features) on `devices` (d, DEVICE), shape (u, d)."""
        joined = nn.functional.silu(self.operator(x)[:, None] + self.device(devices)[None])
        joined = joined + nn.functional.silu(self.joined(joined))
        costs: Tensor = self.cost(joined)
        return costs[..., 0]

    def forward(self, counts: Tensor, x: Tensor, devices: Tensor) -> Tensor:
        """Log latencies, shape (n, d), of architectures that run each operator `counts` (n, u) times.

        A latency is the sum over operators plus what a call takes; its unit is the device's own, see `Adapted.level`.
        """
        return torch.log(counts @ self.costs(x, devices).exp() + self.call(devices)[:, 0].exp())


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with the embeddings of the devices that it was trained on, shape (d, DEVICE): the first `real` are real."""

    network: OperatorDeviceNetwork
    devices: Tensor
    real: int


@dataclass(frozen=True, eq=False)
class Adapted:
    """What is known of a new device, from several starts.

    Attributes:
        devices: embeddings, shape (s, DEVICE).
        level: what is added to each start's log latencies to have them in ms, shape (s,).
        weight: of each start in the mean of log latencies, shape (s,); they add up to 1.
        deviation: root mean square error of the log latencies that were measured.
    """

    devices: Tensor
    level: Tensor
    weight: Tensor
    deviation: float


def train(counts: Tensor, x: Tensor, logs: Tensor, real: int, seed: int) -> Trained:
    """Learn from devices.

    The loss is Huber's of log latencies, relative to their deviation on each device, with the same weight for all real
    devices together as for all simulated ones together.

    Args:
        counts: of the operators of the architectures, shape (n, u).
        x: descriptions of the operators, shape (u, features).
        logs: log latencies, shape (n, d), NaN where there is none.
        real: how many of the devices are real; they come first.
        seed: of weights and draws.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OperatorDeviceNetwork(x.shape[1], level=-float(counts.sum(dim=1).mean().log()))
    known = ~logs.isnan()
    centred = logs - logs.nanmean(dim=0)
    deviation = centred.square().nanmean(dim=0).sqrt().clamp_min(SMALLEST_DEVIATION)
    target, known = (centred / deviation).nan_to_num(), known.float()
    devices = torch.randn(logs.shape[1], DEVICE, generator=generator).requires_grad_()
    level = torch.zeros(logs.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([*network.parameters(), devices, level], lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        rows = torch.randint(len(counts), (ROWS,), generator=generator)
        drawn = torch.randperm(logs.shape[1] - real, generator=generator)[:SIMULATED] + real
        columns = torch.cat([torch.arange(real), drawn])
        found = network(counts[rows], x, devices[columns]) + level[columns]
        wanted, there = target[rows][:, columns], known[rows][:, columns]
        errors = nn.functional.smooth_l1_loss(found / deviation[columns], wanted, beta=HUBER, reduction="none")
        of_devices = (errors * there).sum(dim=0) / there.sum(dim=0).clamp_min(1)
        loss = of_devices[:real].mean() + of_devices[real:].mean() + EMBEDDING_PENALTY * devices.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Trained(network.requires_grad_(False), devices.detach(), real)


def adapt(trained: Trained, counts: Tensor, x: Tensor, logs: Tensor) -> Adapted:
    """Fine-tune embeddings of a new device to its measurements.

    One starts from the real device whose predictions correlate best with the measured log latencies, one from the closest
    simulated device; both stay near their starts. The better one explains the measurements, the more it counts.

    Args:
        trained: what was learned.
        counts: of the operators of the measured architectures, shape (n, u).
        x: descriptions of the operators, shape (u, features).
        logs: measured log latencies, shape (n,).
    """
    network = trained.network
    run = counts.any(dim=0)  # operators that none of the architectures has add nothing
    counts, x = counts[:, run], x[run]
    known = network(counts, x, trained.devices)
    nearest = _correlation(known, logs)
    real, simulated = nearest[: trained.real], nearest[trained.real :]
    starts = torch.stack([real.argmax(), trained.real + simulated.argmax()])
    origin, spread = trained.devices[starts], trained.devices.std(dim=0)
    devices = origin.clone().requires_grad_()
    level = (logs.mean() - known[:, starts].mean(dim=0)).requires_grad_()
    optimizer = torch.optim.Adam([devices, level], lr=TUNING_RATE)
    scale = float(logs.var(unbiased=False).clamp_min(SMALLEST_DEVIATION**2))

    def state() -> tuple[Tensor, Tensor]:
        """Mean squared error of each start, and what is minimised."""
        errors = (network(counts, x, devices) + level - logs[:, None]).square().mean(dim=0)
        return errors, errors + TUNING_PENALTY * scale * ((devices - origin) / spread).square().mean(dim=1)

    for _ in range(TUNING_STEPS):
        optimizer.zero_grad()
        state()[1].sum().backward()
        optimizer.step()
    with torch.no_grad():
        errors, losses = state()
    weight = torch.softmax(-len(logs) / 2 * losses.clamp_min(1e-12).log(), dim=0)
    return Adapted(devices.detach(), level.detach(), weight, float((weight @ errors).sqrt()))


def _correlation(columns: Tensor, logs: Tensor) -> Tensor:
    """Pearson's of each column (n, d) with `logs` (n,), shape (d,)."""
    a, b = columns - columns.mean(dim=0), logs - logs.mean()
    found: Tensor = (b @ a) / (a.norm(dim=0) * b.norm() + 1e-12)
    return found
