"""The Python interface: the stages of the command line as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nas.config import RunConfig
    from nas.export.bundle import Bundle
    from nas.export.verification import Verification
    from nas.pipeline import Result
    from nas.search.worker import Evaluation
    from nas.tasks import Task


def run(config: RunConfig | str | Path, *overrides: str, task: Task | None = None) -> Result:
    """Calibrate, train, search, export, verify, report, as `nas run` does.

    Args:
        config: a configuration, the path of a YAML file, or a packaged name such as `quickstart`.
        overrides: such as `search.evaluations=50`.
        task: data from Python, such as `ImageClassification.from_datasets(...)`, in place of that which the
            configuration names.

    Raises:
        CheckFailed: when no network can keep the limits. A failed check of the exported network does not raise: see
            `Result.verification`.
        UsageError: when configuration, data and run do not fit together, or networks for a task that was given cannot be
            exported: everything else is done then.
    """
    from nas import pipeline

    return pipeline.run(_loaded(config, overrides), task=task)


def search(config: RunConfig | str | Path, *overrides: str, task: Task | None = None) -> list[Evaluation]:
    """Search with the trained supernet of a run until the budget is spent; gives all evaluated networks.

    The arguments are those of `run`.

    Raises:
        CheckFailed: when no network can keep the limits, or none of several in a row could be evaluated.
        ConnectionError: when the database of `search.storage` cannot be reached.
        UsageError: when there is no trained supernet.
    """
    from nas import pipeline

    stages = pipeline.open_stages(_loaded(config, overrides), task=task)
    with stages.exclusive():
        stages.calibrate()
        stages.search()
    return stages.evaluations()


def export(
    run: str | Path,
    to: str | Path,
    where: Sequence[str] = (),
    maximize: str | None = None,
    minimize: str | None = None,
    task: Task | None = None,
    finetune: float | None = None,
    weights: Literal["float32", "int8"] | None = None,
) -> Bundle:
    """Export the best evaluated network of a run within limits, as `nas export` does.

    Args:
        run: directory of the run.
        to: directory of the bundle.
        where: limits such as `latency_ms.local <= 5`, beside those of the study.
        maximize: metric of which more is better; by default the study's first objective decides.
        minimize: metric of which less is better.
        task: that was given to `run`, if one was.
        finetune: epochs for which the network is trained further; by default those of the configuration.
        weights: precision in which a language model keeps its weights; by default that of the configuration.

    Raises:
        CheckFailed: when no network keeps the limits.
        FloatingPointError: when fine-tuning diverges.
        UsageError: when `run` is not a run, a metric is unknown, or `finetune` is not above 0.
    """
    from nas import pipeline

    stages = pipeline.existing_stages(Path(run), task=task)
    return pipeline.export(stages, Path(to), list(where), maximize, minimize, finetune, weights)


def verify(
    bundle: str | Path,
    device: str = "local",
    task: Task | None = None,
    engine: str = "local",
    space: str | None = None,
) -> Verification:
    """Check a bundle on a device, as `nas verify` does; failed checks are in the result.

    A `task` that was given to `run` is given here too; `engine` is as in a configuration. `space` names a search space of
    your own, `package.module:function`: a bundle, which may come from anybody, has no other function called.

    Raises:
        CheckFailed: when a file of the bundle was changed.
        UsageError: when there is no bundle, or it is damaged.
    """
    from latency_predictors import Device
    from latency_predictors.devices import engines
    from nas.export.bundle import Bundle
    from nas.export.verification import verify as verify_bundle

    return verify_bundle(Bundle(Path(bundle), space), Device.load(device), task, engines.make(engine))


def _loaded(config: RunConfig | str | Path, overrides: Sequence[str]) -> RunConfig:
    from nas.config import RunConfig, load

    return config if isinstance(config, RunConfig) else load(config, overrides)
