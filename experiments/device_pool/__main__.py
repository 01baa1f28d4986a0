"""`python -m experiments.device_pool`: many runtimes of this machine measure the same networks, twice.

Sixty random networks of the default `convnet` space, with every device in two passes. Measurements are kept in a bank
(`runs/device_pool/bank.jsonl`) as they come in, so that the command goes on where it was interrupted; a pass that is
there is not measured again. It prints how well each device repeats itself, and how much the devices agree: over all
networks, among those of one resolution, and in what is left of the latency after the MACs. `--ship FILE` writes the
measurements without raw samples, as the bank that comes with Nasmyth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import search_spaces
from experiments.rows import Rows
from latency_predictors import Bank, Device, measure_architectures
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.measuring import Protocol
from latency_predictors.metrics import spearman
from latency_predictors.record import records_of
from latency_predictors.shipped import write_shipped
from nas.progress import Reporter
from search_spaces import Architecture, SearchSpace

DEVICES = (
    Device("onnxruntime"),
    Device("onnxruntime-2t", options={"threads": 2}),
    Device("onnxruntime-plain", options={"graph_optimization": "disabled"}),
    Device("openvino", "openvino"),
    Device("openvino-2t", "openvino", {"threads": 2}),
    Device("openvino-bf16", "openvino", {"precision": "bf16"}),
    Device("mnn", "mnn"),
    Device("ncnn", "ncnn"),
    Device("tract", "tract"),
    Device("torch", "torch", {"mode": "eager"}),
    Device("torch-channels-last", "torch", {"mode": "channels_last"}),
)
PHASE, BATCH, PASSES = "inference", 1, 2

Latencies = NDArray[np.float64]


@dataclass(frozen=True)
class Passes:
    """Two passes of one device over the same networks.

    Attributes:
        device: its name.
        ms: latencies, shape (passes, networks).
        repeat_error: between halves of the rounds of each pass, as the protocol estimates it.
        seconds: of each pass, loading included.
    """

    device: str
    ms: Latencies
    repeat_error: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def best(self) -> Latencies:
        """The faster of the passes, shape (networks,)."""
        fastest: Latencies = self.ms.min(axis=0)
        return fastest

    @property
    def spearman(self) -> float:
        """Rank correlation of the first two passes."""
        return spearman(self.ms[0], self.ms[1])

    @property
    def error(self) -> float:
        """Median relative difference of the first two passes."""
        return float(np.median(np.abs(self.ms[0] - self.ms[1]) / self.ms[:2].min(axis=0)))


def main(argv: list[str]) -> None:
    """Measure what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {device.name: device for device in DEVICES}
    parser.add_argument("--devices", nargs="*", default=list(known), choices=list(known), metavar="NAME")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--max-seconds", type=float, default=60.0, help="of a pass, before it is called unstable")
    parser.add_argument("--out", type=Path, default=Path("runs/device_pool"))
    parser.add_argument("--table", action="store_true", help="only print what is on record")
    parser.add_argument("--ship", type=Path, metavar="FILE", help="write the measurements as NAME.jsonl.gz")
    arguments = parser.parse_args(argv)
    space = search_spaces.get("convnet")
    architectures = space.sample(arguments.networks, seed=0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        for name in arguments.devices:
            measure(known[name], space, architectures, arguments.out, arguments.max_seconds)
    bank = Bank(arguments.out / "bank.jsonl")
    print(tables([passes for name in known if (passes := found(name, bank, arguments.out)) is not None], space, bank))
    if arguments.ship:
        write_shipped(arguments.ship, bank.records())


def measure(
    device: Device, space: SearchSpace, architectures: Sequence[Architecture], out: Path, max_seconds: float
) -> None:
    """Do the passes of one device that are not on record."""
    rows = Rows(out)
    for number in range(len(rows.read("passes", device=device.name)), PASSES):
        protocol = Protocol(max_seconds=max_seconds, seed=number)
        started = time.monotonic()
        marks = fingerprint(device)
        with Reporter().progress(f"{device.name}, pass {number + 1}") as advance:
            results = measure_architectures(
                device, space, architectures, PHASE, progress=advance, max_seconds=max_seconds, seed=number
            )
        seconds = time.monotonic() - started
        records = records_of(device, space, PHASE, BATCH, architectures, results, protocol, marks)
        Bank(out / "bank.jsonl").append(records)
        rows.keep("passes", device=device.name, time=marks["time"], seconds=seconds)


def found(name: str, bank: Bank, out: Path) -> Passes | None:
    """The passes of a device, over the networks that it measured in all of them; `None` before they are complete."""
    rows = Rows(out).read("passes", device=name)
    if len(rows) < PASSES:
        return None
    records = [record for record in bank.records() if record.device == name]
    sessions = [[record for record in records if record.fingerprint["time"] == row["time"]] for row in rows]
    ms = np.array([[record.latency_ms or np.nan for record in session] for session in sessions])
    errors = tuple(next(r.repeat_error for r in session if r.repeat_error is not None) for session in sessions)
    return Passes(name, ms, errors, tuple(row["seconds"] for row in rows))


def tables(pool: Sequence[Passes], space: SearchSpace, bank: Bank) -> str:
    """Markdown: repeats of each device, and rank correlations between devices."""
    if not pool:
        return "no device has all its passes yet"
    records = [record for record in bank.records() if record.device == pool[0].device][: pool[0].ms.shape[1]]
    codes = space.codes([Architecture(space.name, tuple(record.architecture.items())) for record in records])
    macs = np.log(space.macs(codes))
    resolution = np.array([record.architecture["resolution"] for record in records])
    log_ms = np.log([passes.best for passes in pool])
    names = [passes.device for passes in pool]
    one = resolution == resolution.max()
    return "\n\n".join(
        [
            repeats(pool, macs),
            f"Spearman between devices, {len(macs)} networks:",
            matrix(names, np.array([*log_ms, macs]), [*names, "MACs"]),
            f"Spearman among the {one.sum()} networks of {resolution.max()} px:",
            matrix(names, np.array([*log_ms, macs])[:, one], [*names, "MACs"]),
            "Spearman of the residual of log latency on log MACs:",
            matrix(names, residual(log_ms, macs), names),
        ]
    )


def repeats(pool: Sequence[Passes], macs: Latencies) -> str:
    """A line for each device."""
    head = (
        "| device | median ms | repeat Spearman | repeat error | split-half error | failed | seconds a pass | "
        "Spearman with MACs |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {passes.device} | {np.median(passes.best):.2f} | {passes.spearman:.4f} | {passes.error:.1%} | "
        f"{max(passes.repeat_error):.1%} | {int(np.isnan(passes.best).sum())} | {np.mean(passes.seconds):.0f} | "
        f"{spearman(macs, passes.best):.3f} |"
        for passes in pool
    ]
    return "\n".join([head, *lines])


def residual(log_ms: Latencies, macs: Latencies) -> Latencies:
    """What a straight line in `macs` leaves of each row of `log_ms`, shape (devices, networks)."""
    design = np.stack([macs, np.ones_like(macs)], axis=1)
    left: Latencies = log_ms - (design @ np.linalg.lstsq(design, log_ms.T, rcond=None)[0]).T
    return left


def matrix(names: Sequence[str], rows: Latencies, labels: Sequence[str]) -> str:
    """Rank correlation of the rows named `labels` with those of `names`, the first ones."""
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for label, row in zip(labels, rows, strict=True):
        lines.append(f"| {label} | " + " | ".join(f"{spearman(row, other):.3f}" for other in rows[: len(names)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
