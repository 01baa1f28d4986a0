"""A study for each device: its supernet and the accuracies that are known already come from the study before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.many_devices.methods import OWN, Method
from experiments.many_devices.settings import Settings
from latency_predictors import Calibration, Device
from nas.config import RunConfig, parse
from nas.files import write_bytes
from nas.pipeline import open_stages
from nas.runs import Run
from nas.search.standing import evaluated
from nas.search.storage import load
from nas.stages import Stages
from search_spaces import SearchSpace


def train(settings: Settings) -> Path:
    """Train the supernet, once; gives the directory of its run."""
    path = settings.out / "supernet"
    config = settings.config.model_copy(update={"directory": str(path), "devices": [settings.devices[0].name]})
    stages = open_stages(config, settings.reporter)
    if not stages.run.weights_file.exists():
        with stages.exclusive(), settings.rows.timed("training", method=OWN.name, seed=None, device=None):
            stages.train()
    return path


def studies(settings: Settings, method: Method, seed: int) -> Iterator[Stages]:
    """Each study of a method and a seed when it is done, one after the other; what was done before is not done again."""
    devices = settings.chain(seed)
    if method.cost is not None:
        budget = settings.evaluations + settings.further * (len(devices) - 1)
        yield _study(settings, method, seed, devices[0], None, budget)
        return
    before: Path | None = None
    for device in devices:
        budget = settings.further if before else settings.evaluations
        study = _study(settings, method, seed, device, before, budget)
        before = study.run.path
        yield study


def _study(settings: Settings, method: Method, seed: int, device: Device, before: Path | None, budget: int) -> Stages:
    """Calibrate and search for one device."""
    stages = open_stages(study_config(settings, method, seed, device, before, budget), settings.reporter)
    of = {"method": method.name, "seed": seed, "device": None if method.cost else device.name}
    if before is None and not stages.run.weights_file.exists():
        supernet, config = Run.existing(settings.out / "supernet")
        stages.run.take_supernet(supernet, config, stages.config)
    with stages.exclusive():
        _calibrate(settings, stages, device, of)
        if not _spent(stages, budget):
            with settings.rows.timed("search", **of):
                stages.search()
    return stages


def _spent(stages: Stages, budget: int) -> bool:
    """Whether a study evaluated as many networks as it may, those that it took over not counted."""
    return stages.searched and len(evaluated(load(stages.store, stages.config.name).get_trials())) >= budget


def _calibrate(settings: Settings, stages: Stages, device: Device, of: dict[str, Any]) -> None:
    """Measure the device, unless an earlier study did with the same predictor."""
    own, kept = (
        stages.run.calibration_file(device.name),
        calibration_file(settings, device, stages.config.calibration.predictor),
    )
    if kept.exists():
        write_bytes(own, kept.read_bytes())
        return
    with settings.rows.timed("calibration", **of):
        stages.calibrate()
    write_bytes(kept, own.read_bytes())


def study_config(
    settings: Settings, method: Method, seed: int, device: Device, before: Path | None, budget: int
) -> RunConfig:
    """The configuration of a study: that of the supernet, with the device and the method."""
    name = f"{method.name}-{seed}-{device.name}"
    document = settings.config.model_dump(mode="json")
    document |= {"name": name, "directory": str(settings.out / name), "devices": [device.name]}
    document["calibration"] |= {"predictor": method.predictor, "max_seconds": settings.max_seconds}
    document["search"] |= {
        "objectives": ["accuracy", method.cost or f"latency_ms.{device.name}"],
        "evaluations": budget,
        "sampler": dict(method.sampler),
        "seed": seed,
        "warm_start": None if before is None else str(before),
    }
    return parse(document, name)


def calibration_file(settings: Settings, device: Device, predictor: str = OWN.predictor) -> Path:
    """Where the calibration of a device is kept for all studies: one device is measured once."""
    return settings.out / "calibration" / predictor / f"{device.name}.json"


def calibration(settings: Settings, device: Device, space: SearchSpace) -> Calibration:
    """That of a device which was specialised for."""
    return Calibration.load(calibration_file(settings, device), space)
