"""`python -m experiments.many_devices.alone --data DIR`: what a user would do instead: known networks, trained alone.

MobileNetV3-Large and EfficientNet-Lite0, scaled by hand to three widths and to images of 32 pixels (the first strides are
left out). Each family has the wall time of the whole specialisation (what is on record of it, or `--seconds`) on as
many cores, in equal parts for its sizes; timing some steps tells how many epochs that is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType

import torch

import search_spaces
from experiments.budget import step_seconds, train_alone
from experiments.many_devices.methods import OWN
from experiments.many_devices.networks import keep
from experiments.many_devices.settings import Settings, parser, settings
from nas.export.onnx_model import to_onnx
from nas.memory import keep_freed_memory
from nas.search.evaluation import Evaluator
from nas.task_kinds import load_task
from nas.tasks import ImageClassification
from nas.training.recalibration import recalibrate
from nas.training.strategies.alone import Alone
from search_spaces import Architecture, SearchSpace

WIDTHS = (0.25, 0.5, 0.75)


def mobilenetv3(width: float, classes: int, pixels: int) -> tuple[SearchSpace, Architecture]:
    """MobileNetV3-Large: two of its five strides are left out, so that 32 pixels end as 4 x 4."""
    published = search_spaces.get("mobilenetv3-large").named["MobileNetV3-Large-1.0"]
    options = {"stem_stride": 1, "strides": [1, 2, 2, 1, 2], "width_multipliers": [width], "resolutions": [pixels]}
    space = search_spaces.get("mobilenetv3-large", classes=classes, **options)
    return space, _architecture(space, {**published, "width": width, "resolution": pixels})


def efficientnet_lite(width: float, classes: int, pixels: int) -> tuple[SearchSpace, Architecture]:
    """EfficientNet-Lite0, its stem and head as wide as published, with the same reduction."""
    options = {"strides": [1, 2, 1, 1, 2, 1], "width": width, "resolutions": [pixels]}
    space = search_spaces.get("efficientnet-lite", classes=classes, **options)
    return space, space.largest()


FAMILIES: Mapping[str, Callable[[float, int, int], tuple[SearchSpace, Architecture]]] = MappingProxyType(
    {"MobileNetV3": mobilenetv3, "EfficientNet-Lite": efficientnet_lite}
)


@dataclass(frozen=True)
class Job:
    """A network to train.

    Attributes:
        family: one of `FAMILIES`.
        width: multiplier.
        cpu_seconds: of its training.
    """

    family: str
    width: float
    cpu_seconds: float

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.family} x{self.width:g}"


def add_options(found: argparse.ArgumentParser) -> None:
    """Those of this part."""
    found.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES), metavar="NAME")
    found.add_argument("--widths", nargs="*", type=float, default=list(WIDTHS))
    found.add_argument("--seconds", type=float, help="wall time of a family; by default that of the specialisation")
    found.add_argument("--processes", type=int, default=2, help="networks that are trained at the same time")


def train(
    settings: Settings, families: Sequence[str], widths: Sequence[float], seconds: float | None, processes: int
) -> None:
    """Train what is not on record yet.

    Raises:
        SystemExit: when neither `seconds` is given nor a specialisation on record.
    """
    wall = seconds or settings.rows.seconds(method=OWN.name, seed=None) + settings.rows.seconds(
        method=OWN.name, seed=settings.seeds[0]
    )
    if not wall:
        raise SystemExit("there is no specialisation on record whose time could be taken; give --seconds")
    share = wall * processes / len(widths)
    jobs = [Job(family, width, share) for family in families for width in widths]
    missing = [job for job in jobs if not settings.rows.read("network", key=job.name)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(partial(_train, settings), missing))


def _train(settings: Settings, job: Job) -> None:
    """Train one network and put it on record; goes on at its checkpoint."""
    torch.set_num_threads(1)
    keep_freed_memory()
    config = settings.config
    task = load_task(config.task, config.seed)
    space, architecture = FAMILIES[job.family](job.width, len(task.classes), task.image_size[0])
    training = config.training.model_copy(update={"epochs": _epochs(settings, job, space, architecture, task)})
    checkpoint = settings.out / "alone" / f"{job.name}.checkpoint"
    with settings.rows.timed("alone", method=job.family, seed=None, device=None):
        network = train_alone(space, task, architecture, training, config.seed, checkpoint).eval()
    validation, test = _accuracies(settings, space, architecture, network, task)
    workload = space.workload(architecture, space.phases[0])
    model = to_onnx(network, space.build_supernet().example_inputs(architecture))
    keep(settings, job.name, f"{job.family}, alone", model, workload, validation, test)
    checkpoint.unlink(missing_ok=True)


def _epochs(
    settings: Settings, job: Job, space: SearchSpace, architecture: Architecture, task: ImageClassification
) -> float:
    """As many as fit into the time of a job; decided once, so that a training that was killed goes on with as many."""
    known = settings.rows.read("plan", key=job.name)
    if known:
        return float(known[-1]["epochs"])
    training = settings.config.training.model_copy(update={"processes": 1})
    seconds = step_seconds(space.build(architecture), task, Alone(), training)
    epochs = job.cpu_seconds / seconds / task.steps_per_epoch(training.batch_size)
    settings.rows.keep("plan", key=job.name, epochs=epochs, step_seconds=seconds, cpu_seconds=job.cpu_seconds)
    return epochs


def _accuracies(
    settings: Settings,
    space: SearchSpace,
    architecture: Architecture,
    network: torch.nn.Module,
    task: ImageClassification,
) -> tuple[float, float]:
    """On validation and test images, with the statistics of batch normalisation that training left, or those that every
    subnet of the supernet has: whichever are better on the validation images stay in the network."""
    images, seed = settings.config.search.recalibration_images, settings.config.seed
    evaluator = Evaluator(space.build_supernet(), task, images, seed=seed)
    left = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = evaluator.accuracy(network, architecture)
    recalibrate(network, (batch for batch, _ in task.recalibration_batches(images, evaluator.batch_size, seed)))
    after = evaluator.accuracy(network, architecture)
    if before > after:
        network.load_state_dict(left)
    return max(before, after), evaluator.accuracy(network, architecture, "test")


def _architecture(space: SearchSpace, values: Mapping[str, search_spaces.space.Value]) -> Architecture:
    """The network with these values; choices that have no effect get any."""
    chosen = Architecture(space.name, tuple((c.name, values.get(c.name, c.options[0])) for c in space.choices))
    (found,) = space.architectures(space.codes([chosen]))
    return found


if __name__ == "__main__":
    parsing = parser(__doc__)
    add_options(parsing)
    arguments = parsing.parse_args(sys.argv[1:])
    train(settings(arguments), arguments.families, arguments.widths, arguments.seconds, arguments.processes)
