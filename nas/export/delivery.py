"""From an evaluated network of a run to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from nas.config import FinetuneConfig
from nas.export.bundle import Bundle, check_target
from nas.export.finetuning import FineTuned, FineTuner
from nas.export.kinds import kind_of
from nas.search.metrics import ACCURACY
from nas.search.worker import Evaluation
from nas.stages import Stages


def deliver(
    stages: Stages, chosen: Evaluation, limits: list[str], path: Path, settings: FinetuneConfig | None = None
) -> Bundle:
    """Extract, recalibrate, fine-tune where that is wanted, and export a network, and write its bundle to `path`.

    Raises:
        FloatingPointError: when fine-tuning diverges.
        UsageError: when `path` holds something else than a bundle, or this cannot be done with networks for the task.
    """
    check_target(path)
    kind_of(stages.task).check(stages, settings)
    if settings is None or not settings.epochs:
        return export_network(stages, stages.judge.network(chosen.architecture), chosen, limits, path)
    tuner = FineTuner(stages, chosen.architecture, settings)
    with stages.reporter.progress(f"fine-tune network {chosen.number}") as advance:
        tuned = tuner.run(advance)
    stages.reporter.say(str(tuned))
    judged = replace(chosen, metrics={**chosen.metrics, ACCURACY.name: tuned.accuracy})
    bundle = export_network(stages, tuned.network, judged, limits, path, tuned)
    tuner.checkpoint.unlink(missing_ok=True)
    return bundle


def export_network(
    stages: Stages,
    network: nn.Module,
    chosen: Evaluation,
    limits: list[str],
    path: Path,
    tuned: FineTuned | None = None,
) -> Bundle:
    """Write the bundle of a network that is ready for use, with the metrics of `chosen`."""
    return kind_of(stages.task).write(stages, network, chosen, limits, path, tuned)
