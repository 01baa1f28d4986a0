"""From an evaluated network of a run to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.config import ExportConfig
from nas.export.bundle import Bundle, check_target
from nas.export.facts import Exported
from nas.export.finetuning import FineTuner
from nas.export.kinds import kind_of
from nas.search.worker import Evaluation
from nas.stages import Stages


def deliver(stages: Stages, chosen: Evaluation, limits: list[str], path: Path, wanted: ExportConfig) -> Bundle:
    """Extract, recalibrate, fine-tune where that is wanted, and export a network, and write its bundle to `path`.

    Raises:
        FloatingPointError: when fine-tuning diverges.
        UsageError: when `path` holds something else than a bundle, or this cannot be done with networks for the task.
    """
    check_target(path)
    kind = kind_of(stages.task)
    kind.check(stages, wanted)
    if not wanted.finetune.epochs:
        network = stages.judge.network(chosen.architecture)
        return kind.write(stages, Exported(network, chosen, limits, wanted.weights), path)
    tuner = FineTuner(stages, chosen.architecture, wanted.finetune)
    with stages.reporter.progress(f"fine-tune network {chosen.number}") as advance:
        tuned = tuner.run(advance)
    stages.reporter.say(str(tuned))
    judged = replace(chosen, metrics={**chosen.metrics, **tuned.metrics})
    bundle = kind.write(stages, Exported(tuned.network, judged, limits, wanted.weights, tuned), path)
    tuner.checkpoint.unlink(missing_ok=True)
    return bundle
