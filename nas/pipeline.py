"""The whole chain, and its parts as functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from latency_predictors import Device
from nas.config import ExportConfig, RunConfig
from nas.errors import CheckFailed, UsageError
from nas.export.bundle import Bundle
from nas.export.delivery import deliver
from nas.export.finetuning import finetuning
from nas.export.kinds import is_exportable, kind_of
from nas.export.selection import select
from nas.export.verification import Verification, verify
from nas.export.weights import FLOAT32
from nas.files import read_json, write_json
from nas.progress import Reporter
from nas.report.data import ReportData
from nas.report.gather import gather
from nas.runs import Run
from nas.search.limits import parse_all
from nas.search.metrics import find
from nas.search.worker import Evaluation
from nas.searching import check_search
from nas.stages import Stages
from nas.tasks import Task


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        path: the run's directory.
        report: everything that its report shows.
        bundle: the exported network.
        verification: of the bundle on the first device.
    """

    path: Path
    report: ReportData
    bundle: Bundle
    verification: Verification


def open_stages(config: RunConfig, reporter: Reporter | None = None, task: Task | None = None) -> Stages:
    """The stages of a configuration. Its run's directory is made, or checked, by `Stages.exclusive`."""
    return Stages(Run(config.run_directory), config, reporter, task)


def existing_stages(
    path: Path,
    reporter: Reporter | None = None,
    task: Task | None = None,
    storage: str | None = None,
    engine: Literal["local", "ray"] | None = None,
) -> Stages:
    """The stages of a run that was started before.

    Args:
        path: of the run.
        reporter: tells a person what happens.
        task: that was given to `run`, if one was.
        storage: URL under which this host reaches the run's database, when it is another one than in the run.
        engine: what measures and evaluates from here, when it is another one than in the run.

    Raises:
        UsageError: when `path` is not a run, or it keeps its study in a file and `storage` is given.
    """
    run, config = Run.existing(path)
    if storage is not None:
        if config.search.storage is None:
            raise UsageError(f"{path} keeps its study in a file, not in a database; leave --storage out")
        search = config.search.model_copy(update={"storage": storage})
        config = config.model_copy(update={"search": search})
    if engine is not None:
        config = config.model_copy(update={"engine": engine})
    return Stages(run, config, reporter, task)


def run(config: RunConfig, reporter: Reporter | None = None, task: Task | None = None) -> Result:
    """Calibrate, train, search, export, verify, report; stages that were done before are not done again.

    Calibration comes first, so that a limit which no network can meet is found before the long work.

    Raises:
        CheckFailed: when no network can keep the limits.
        UsageError: when configuration, data and run do not fit together; or when networks for the task cannot be exported
            yet: the search is complete then, with a report.
    """
    stages = open_stages(config, reporter, task)
    with stages.exclusive():
        _ = stages.space, stages.task  # what is wrong with them is said before anything is measured
        check_search(stages)
        if is_exportable(stages.task):
            kind_of(stages.task).check(stages, stages.config.export)
        stages.calibrate()
        _ = stages.objectives
        stages.check_limits()
        stages.train()
        stages.search()
        if not is_exportable(stages.task):
            write_report(stages, stages.run.report_file)
        bundle = _export_chosen(stages)
        verification = _verify_chosen(stages, bundle)
        report = write_report(stages, stages.run.report_file)
    return Result(stages.run.path, report, bundle, verification)


def profile_space(stages: Stages, samples: int = 2000) -> dict[str, dict[str, float]]:
    """Range of every cheap metric over random architectures: `min`, `median`, `max`, and the two ends of the space."""
    space = stages.space
    codes = space.random_codes(samples, np.random.default_rng(stages.config.seed))
    ends = space.codes([space.smallest(), space.largest()])
    ranges = {}
    for metric in stages.metrics:
        if metric.values is not None:
            smallest, largest = metric.values(ends)
            values = np.append(metric.values(codes), (smallest, largest))
            figures = {"smallest": smallest, "min": values.min(), "median": np.median(values), "max": values.max()}
            ranges[metric.name] = {name: float(value) for name, value in {**figures, "largest": largest}.items()}
    return ranges


def write_report(stages: Stages, path: Path) -> ReportData:
    """Write the HTML report of a run."""
    from nas.report.html import write

    stages.reporter.say(f"report: {path}")
    data = gather(stages)
    write(data, path)
    return data


def choose(
    stages: Stages, where: list[str] | None = None, maximize: str | None = None, minimize: str | None = None
) -> tuple[Evaluation, list[str]]:
    """The best evaluated network within limits, and those limits.

    Args:
        where: limits such as `latency_ms.local <= 5`, beside those of the study.
        maximize: metric of which more is better; by default the study's first objective decides.
        minimize: metric of which less is better.

    Raises:
        UsageError: when a metric is unknown, or two are to be optimised.
        CheckFailed: when no network keeps the limits.
    """
    if maximize and minimize:
        raise UsageError("give either a metric to maximize or one to minimize, not both")
    extra = parse_all(where or [], stages.metrics, stages.space)
    limits = [*stages.limits, *(limit for limit in extra if limit not in stages.limits)]
    order = [(metric.name, metric.direction) for metric in stages.objectives]
    if maximize:
        order.insert(0, (find(maximize, stages.metrics).name, "maximize"))
    if minimize:
        order.insert(0, (find(minimize, stages.metrics).name, "minimize"))
    return select(stages.evaluations(), limits, order), [str(limit) for limit in limits]


def export(
    stages: Stages,
    path: Path,
    where: list[str] | None = None,
    maximize: str | None = None,
    minimize: str | None = None,
    finetune: float | None = None,
    weights: Literal["float32", "int8"] | None = None,
) -> Bundle:
    """Choose a network as `choose` does and write its bundle to `path`.

    Args:
        finetune: epochs of further training; by default those of the configuration.
        weights: precision of the weights of a language model; by default that of the configuration.

    Raises:
        UsageError: also when `finetune` is not above 0.
    """
    configured = stages.config.export
    changes = {"finetune": finetuning(configured.finetune, finetune), "weights": weights or configured.weights}
    wanted = configured.model_copy(update=changes)
    kind_of(stages.task).check(stages, wanted)
    chosen, limits = choose(stages, where, maximize, minimize)
    stages.reporter.say(f"export network {chosen.number} to {path}")
    return deliver(stages, chosen, limits, path, wanted)


def _export_chosen(stages: Stages) -> Bundle:
    wanted = stages.config.export
    chosen, limits = choose(stages, wanted.where, wanted.maximize, wanted.minimize)
    bundle = Bundle(stages.run.bundle, stages.config.space.name)
    if bundle.path.exists() and _is_intact(bundle, chosen, limits, wanted):
        return bundle
    return export(stages, stages.run.bundle, wanted.where, wanted.maximize, wanted.minimize)


def _is_intact(bundle: Bundle, chosen: Evaluation, limits: list[str], export: ExportConfig) -> bool:
    """Whether a bundle is the export of `chosen` within `limits` as it is wanted, with all files unchanged."""
    try:
        bundle.check_files()
    except (CheckFailed, UsageError):
        return False
    found = bundle.manifest.get("finetuned") or {}
    wanted = export.finetune.model_dump(mode="json") if export.finetune.epochs else {}
    same = {key: found.get(key) for key in wanted} == wanted and bool(found) == bool(wanted)
    return (
        same
        and bundle.manifest.get("weights", FLOAT32) == export.weights
        and (bundle.manifest["architecture"], bundle.manifest["limits"]) == (chosen.architecture.key, limits)
    )


def _verify_chosen(stages: Stages, bundle: Bundle) -> Verification:
    """Verify, unless this very bundle passed before."""
    device, file = stages.config.devices[0], stages.run.verification_file
    if file.exists():
        stored = read_json(file)
        verification = Verification.from_document(stored["verification"])
        if stored["files"] == bundle.manifest["files"] and verification.passed:
            return verification
    stages.reporter.say(f"verify on {device}")
    verification = verify(bundle, Device.load(device), stages.task, stages.engine)
    write_json(file, {"files": bundle.manifest["files"], "verification": verification.document()})
    return verification
