"""The networks that a study chooses at limits, exported; those of the first seed as bundles that are verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.many_devices.methods import OWN, Method
from experiments.many_devices.networks import keep
from experiments.many_devices.settings import Settings
from experiments.many_devices.studies import calibration
from experiments.rows import Row
from latency_predictors import Device, LatencyPredictor
from nas.errors import CheckFailed
from nas.export.bundle import Bundle
from nas.export.onnx_model import to_onnx
from nas.export.verification import verify
from nas.pipeline import choose, export
from nas.search.limits import Limit
from nas.search.worker import Evaluation
from nas.stages import Stages


def chosen(settings: Settings, method: Method, seed: int, stages: Stages) -> None:
    """Put on record which networks a study chooses, and export them.

    At each limit the most accurate network is chosen whose predicted bound keeps it, as `nas export` does. The networks
    that a study on MACs chooses are for every device: it knows none.
    """
    of = {"method": method.name, "seed": seed, "device": None if method.cost else stages.config.devices[0]}
    for limit in _limits(settings, method, stages):
        if not settings.rows.read("choice", **of, limit=str(limit)):
            settings.rows.keep("choice", **of, limit=str(limit), **_choice(settings, stages, limit, of))


def limits_ms(predictor: LatencyPredictor, n: int, confidence: float) -> NDArray[np.float64]:
    """`n` latencies between the bounds of the smallest and the largest network, evenly spaced in logarithm, shape (n,).

    The ends are left out: the smallest network keeps every limit, and the largest one none.
    """
    space = predictor.space
    ends = predictor.predict(space.codes([space.smallest(), space.largest()])).upper_ms(confidence)
    between: NDArray[np.float64] = np.geomspace(ends.min(), ends.max(), n + 2)[1:-1]
    return between


def _limits(settings: Settings, method: Method, stages: Stages) -> list[Limit]:
    """All methods have the limits of the own predictor, in ms; a study on MACs has as many of these."""
    space, name, n = stages.space, stages.config.devices[0], settings.limits
    if method.cost is not None:
        low, high = space.macs(space.codes([space.smallest(), space.largest()])) / 1e6
        return [Limit(method.cost, 1, float(f"{value:.4g}")) for value in np.geomspace(low, high, n + 2)[1:-1]]
    (device,) = (device for device in settings.devices if device.name == name)
    values = limits_ms(calibration(settings, device, space).predictor, n, stages.config.search.confidence)
    return [Limit(f"latency_ms.{name}", 1, float(f"{value:.4g}")) for value in values]


def _choice(settings: Settings, stages: Stages, limit: Limit, of: Row) -> Row:
    """The network at a limit with what was predicted of it; no key where none of the evaluated networks keeps it."""
    try:
        evaluation, _ = choose(stages, [str(limit)], maximize="accuracy")
    except CheckFailed as error:
        return {"limit_ms": limit.value, "key": None, "reason": str(error)}
    delivered = of["method"] == OWN.name and of["seed"] == settings.seeds[0]
    _keep(settings, stages, evaluation, _bundle(settings, stages, limit) if delivered else None)
    return {
        "limit_ms": limit.value,
        "key": evaluation.architecture.key,
        "validation": evaluation.metrics["accuracy"],
        "predicted": _predicted(stages, evaluation),
    }


def _predicted(stages: Stages, evaluation: Evaluation) -> Row:
    """Mean and ends of the interval on the device of the study, in ms."""
    codes = stages.space.codes([evaluation.architecture])
    (calibration,) = stages.calibrations.values()
    return {name: float(value[0]) for name, value in vars(calibration.predictor.predict(codes)).items()}


def bundle_path(settings: Settings, limit: str) -> Path:
    """Of the network that is delivered for a limit, such as `latency_ms.local <= 5`."""
    metric, _, value = limit.partition(" <= ")
    return settings.out / "bundles" / f"{metric.removeprefix('latency_ms.')}-{value}ms"


def _bundle(settings: Settings, stages: Stages, limit: Limit) -> bytes:
    """Export the network at a limit as a user does; gives the ONNX model."""
    with settings.rows.timed("export", method=OWN.name, seed=settings.seeds[0], device=stages.config.devices[0]):
        return export(stages, bundle_path(settings, str(limit)), [str(limit)], maximize="accuracy").model


def _keep(settings: Settings, stages: Stages, evaluation: Evaluation, model: bytes | None) -> None:
    """Put a network on record, once: its costs and its accuracies with the weights of the supernet."""
    architecture = evaluation.architecture
    if settings.rows.read("network", key=architecture.key):
        return
    network = stages.evaluator.network(architecture)
    test = stages.evaluator.accuracy(network, architecture, "test")
    model = model or to_onnx(network, stages.supernet.example_inputs(architecture))
    workload = stages.space.workload(architecture, stages.space.phases[0])
    keep(settings, architecture.key, "supernet", model, workload, evaluation.metrics["accuracy"], test)


def verified(settings: Settings, stages: Stages) -> None:
    """Verify the bundles of a study of the first seed on the device that they were chosen for."""
    device = stages.config.devices[0]
    of = {"method": OWN.name, "seed": settings.seeds[0], "device": device}
    for choice in settings.rows.read("choice", **of):
        if choice["key"] is None or settings.rows.read("verified", device=device, limit=choice["limit"]):
            continue
        with settings.rows.timed("verification", **of):
            found = verify(Bundle(bundle_path(settings, choice["limit"])), Device.load(device), stages.task)
        settings.rows.keep("verified", **found.document(), limit=choice["limit"], key=choice["key"])
