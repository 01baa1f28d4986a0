"""The stages of a run. Each one keeps its result in the run's directory and is not done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import search_spaces
from latency_predictors import Calibration, LatencyPredictor
from latency_predictors.devices import engines
from latency_predictors.devices.engines import Engine
from nas.calibrating import Calibrations
from nas.config import CalibrationConfig, RunConfig
from nas.errors import CheckFailed, UsageError
from nas.memory import keep_freed_memory
from nas.progress import Reporter
from nas.report import labels
from nas.runs import Run
from nas.search.evaluation import Evaluator
from nas.search.evaluators import NetworkEvaluator
from nas.search.feasibility import least_violation
from nas.search.judging import make_evaluator
from nas.search.limits import Limit, cheap_violation, parse_all
from nas.search.measured_names import measured_name
from nas.search.metrics import Metric, cheap_metrics, find, record
from nas.search.storage import load, make_store
from nas.search.store import StudyStore
from nas.search.worker import Evaluation, Worker, evaluations
from nas.searching import make_worker, say_outcome
from nas.targets import Target
from nas.task_kinds import load_task as load_task
from nas.task_kinds import make_task, task_metrics
from nas.tasks import ImageClassification, Task
from nas.training.execution import candidates, computes_bfloat16
from nas.training.launch import train_in_processes
from nas.training.learning_rates import learning_rate_factors
from nas.training.log import EpochLog, write_log
from nas.training.loop import Trainer, total_steps
from nas.training.pretrained import keep_record, load_pretrained, told
from nas.training.processes import Processes, check_divisible
from nas.training.strategies import planned_strategy
from nas.training.tensorboard import TensorBoard, check_installed
from nas.training.weight_normalization import weight_normalization
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.supernet import Supernet


class Stages:
    """All that can be done with a run.

    Args:
        run: where results are kept.
        config: of the run.
        reporter: tells a person what happens.
        task: data from Python, in place of that which `config.task` names.

    Raises:
        UsageError: when `task` does not fit the space.
    """

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        reporter: Reporter | None = None,
        task: Task | None = None,
    ) -> None:
        self.run, self.config, self.reporter = run, config, reporter or Reporter(quiet=True)
        keep_freed_memory()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.task_given = task is not None
        if task is not None:
            self.task = self._fitting(task)

    # ------------------------------------------------------------- the parts

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return search_spaces.get(self.config.space.name, **self.config.space.options)

    @cached_property
    def task(self) -> Task:
        """The data, checked against the space.

        Raises:
            UsageError: when space and data differ, such as in the number of classes.
        """
        return self._fitting(make_task(self.config.task, self.config.seed))

    @property
    def images(self) -> ImageClassification:
        """The data, of a run that classifies images.

        Raises:
            UsageError: when it does something else.
        """
        if not isinstance(self.task, ImageClassification):
            raise UsageError(f"this is for networks that classify images, not for {type(self.task).__name__}")
        return self.task

    def _fitting(self, task: Task) -> Task:
        options = self.space.options
        for key, found in task.space_options.items():
            if options.get(key, found) != found:
                raise UsageError(
                    f"the data has {key} = {found}, the space {options[key]}; set space.options.{key}={found}"
                )
        return task

    @cached_property
    def engine(self) -> Engine:
        """From where devices are measured."""
        return engines.make(self.config.engine)

    @cached_property
    def store(self) -> StudyStore:
        """Where the study is kept."""
        return make_store(self.config.search.storage, self.run.journal_file)

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet."""
        supernet = self.space.build_supernet()
        self.run.load_supernet(supernet)
        return supernet

    @cached_property
    def evaluator(self) -> Evaluator:
        """Evaluates networks on the validation images; errors as for `images`."""
        return Evaluator(self.supernet, self.images, self.config.search.recalibration_images, seed=self.config.seed)

    @cached_property
    def judge(self) -> NetworkEvaluator[Any]:
        """Evaluates networks on the validation split, whatever the task."""
        return self.evaluator if isinstance(self.task, ImageClassification) else self._judge_of(self.supernet)

    def _judge_of(self, supernet: Supernet) -> NetworkEvaluator[Any]:
        return make_evaluator(supernet, self.task, self.config.search.recalibration_images, self.config.seed)

    @cached_property
    def _calibrating(self) -> Calibrations:
        names = [metric.name for metric in self.evaluated]
        return Calibrations(self.run, self.config, self.space, names, self.engine, self.reporter)

    @cached_property
    def calibrations(self) -> dict[Target, Calibration]:
        """What was measured on each device, of each phase of the networks."""
        return self._calibrating.load()

    @cached_property
    def evaluated(self) -> list[Metric]:
        """What is known of a candidate by evaluation alone; no data is read for it."""
        found = self.task.metrics if self.task_given else task_metrics(self.config.task)
        return [Metric(metric.name, metric.direction, metric.unit) for metric in found]

    @cached_property
    def metrics(self) -> list[Metric]:
        """Everything that is recorded of a candidate."""
        predictors: dict[str, dict[str, LatencyPredictor]] = {name: {} for name in self.config.devices}
        for target, calibration in self.calibrations.items():
            predictors[target.device] |= {
                measured_name(self.space, target.phase, quantity): fit.predictor
                for quantity, fit in calibration.fits.items()
            }
        return [*self.evaluated, *cheap_metrics(self.space, predictors, self.config.search.confidence)]

    @cached_property
    def objectives(self) -> list[Metric]:
        """What the study optimises."""
        return [find(name, self.metrics) for name in self.config.search.objectives]

    @cached_property
    def limits(self) -> list[Limit]:
        """The constraints of the study."""
        return parse_all(self.config.search.limits, self.metrics, self.space)

    # ------------------------------------------------------------ the stages

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Work on the run alone, with its configuration kept beside its parts.

        Raises:
            UsageError: when another process is at work, an existing part was made with another configuration, the
            training cannot be as configured, or the run of `search.warm_start` has no supernet for this one.
        """
        self._check_training()
        with self.run.exclusive():
            Run.open(self.config)
            self._take_supernet()
            yield

    def _take_supernet(self) -> None:
        """The supernet of the run that the search begins with, where this run has none and has not begun to train one."""
        source = self.config.search.warm_start
        if source is None or self.run.weights_file.exists() or self.run.checkpoint_file.exists():
            return
        try:
            self.run.take_supernet(*Run.existing(Path(source)), self.config)
        except UsageError as error:
            raise UsageError(f"search.warm_start: {error}") from error
        self.reporter.say(f"the supernet of {source} is used, it is not trained again")

    def calibrate(self) -> None:
        """Measure some networks on every device and fit its predictors; what was measured before is left alone.

        Where the networks have several phases, those are calibrated that objectives, limits and the export name.

        Raises:
            UsageError: when a metric is unknown or a limit cannot be read.
            ValueError: when a device cannot measure a quantity; nothing was measured then.
        """
        self._calibrating.check()
        for target in self._calibrating.wanted:
            if self._calibrating.file(target).exists():
                self._calibrating.complete(target)
            else:
                self.calibrate_device(target.device, self.config.calibration, target.phase)

    def calibrate_device(self, name: str, settings: CalibrationConfig, phase: str | None = None) -> Calibration:
        """Measure networks to fit the predictors and others to test them, in place of what was measured before.

        Args:
            name: of the device.
            settings: how many networks, which predictor.
            phase: of the networks, by default the first one.
        """
        return self._calibrating.measure(Target(name, phase or self.space.phases[0]), settings)

    def check_limits(self) -> Codes:
        """Make sure that some network keeps the limits that are known without training; gives that network's codes.

        Raises:
            CheckFailed: when none was found by a search of thousands of candidates.
        """

        def violation(codes: Codes) -> Any:
            return cheap_violation(self.limits, self.metrics, codes)

        best = least_violation(self.space, violation, self.config.seed)
        if violation(best)[0] > 0:
            found = record(self.metrics, best)[0]
            missed = [limit for limit in self.limits if limit.metric in found and limit.missed_by(found) > 0]
            nearest = "; ".join(f"'{limit}': the nearest network has {_reached(limit, found):.4g}" for limit in missed)
            raise CheckFailed(f"no network of the space keeps the limits: {nearest}; loosen them or widen the space")
        return best

    def train(self) -> None:
        """Train the supernet, or go on with an interrupted training."""
        if self.run.weights_file.exists():
            return
        if planned_strategy(self.config.training, self.space, 1).needs_costs:
            self.calibrate()
        trainer, processes = self.trainer(), self.config.training.processes
        with self.reporter.progress("train the supernet") as advance:
            if processes > 1:
                train_in_processes(self.run.path, processes, self.config.threads, advance)
            logs = trainer.run(advance)  # to the end, which the processes have reached in their checkpoint
        supernet = trainer.network.cpu()
        judge = self._judge_of(supernet)
        ends = {"smallest": self.space.smallest(), "largest": self.space.largest()}
        found = {name: dict(judge.score(architecture).metrics) for name, architecture in ends.items()}
        execution = asdict(trainer.execution) if trainer.execution else {}
        training = {
            "epochs": [asdict(log) for log in logs],
            "execution": execution,
            "validation": found,
        }
        chosen = trainer.strategy.chosen(self.space)
        if chosen is not None:
            training["chosen"] = [architecture.values for architecture in self.space.architectures(chosen)]
        self.run.save_supernet(supernet, training)
        for metric in self.evaluated:
            label = labels.metric(metric.name, metric.unit)
            values = ", ".join(f"{name} {label.show(figures[metric.name])}" for name, figures in found.items())
            self.reporter.say(f"validation {label.text[:1].lower()}{label.text[1:]}: {values}")

    def trainer(self, processes: Processes | None = None) -> Trainer[Supernet]:
        """The training of a new supernet; with several `processes`, as this one takes part in it."""
        training = self.config.training
        strategy = planned_strategy(training, self.space, total_steps(self.task, training))
        if strategy.needs_costs:
            try:
                costs = {metric.name: metric.values for metric in self.metrics if metric.values is not None}
                strategy.bind(costs, self.space)
            except ValueError as error:
                raise UsageError(f"training.strategy.options: {error}") from error
        torch.manual_seed(self.config.seed)
        return Trainer(
            self._initial_supernet(),
            self.task,
            strategy,
            training,
            self.config.seed,
            self.run.checkpoint_file,
            processes,
            self._recorder(),
        )

    def _initial_supernet(self) -> Supernet:
        """With random weights, or with those that exist already; what was loaded is kept in the run."""
        supernet = self.space.build_supernet()
        if self.config.training.pretrained is not None:
            record = load_pretrained(supernet, self.config.training.pretrained)
            keep_record(record, self.run.pretrained_file, self.run.checkpoint_file.exists())
            self.reporter.say(told(record))
        return supernet

    def _recorder(self) -> Callable[[Sequence[EpochLog]], None]:
        """Keeps the epochs of a training while it goes on."""
        board = TensorBoard(self.run.tensorboard) if self.config.training.tensorboard else None

        def record(logs: Sequence[EpochLog]) -> None:
            write_log(self.run.training_log_file, logs)
            if board is not None:
                board(logs)

        return record

    def _check_training(self) -> None:
        """Say what is wrong with a training that is still to come, before any long work."""
        if self.run.weights_file.exists():
            return
        training = self.config.training
        planned_strategy(training, self.space, 1)
        device = candidates(training)[0].device
        if training.precision == "bfloat16" and not computes_bfloat16(device):
            self.reporter.say(
                "warning: this processor has no arithmetic for bfloat16 and will take many times as long; set "
                "training.precision=auto, or float32"
            )
        check_divisible(training.batch_size, training.processes)
        if training.tensorboard:
            check_installed()
        if training.weight_normalization or training.learning_rate_multipliers:
            supernet = self.space.build_supernet()
            weight_normalization(supernet, training)
            learning_rate_factors(supernet, training)
        if training.pretrained is not None:
            load_pretrained(self.space.build_supernet(), training.pretrained)
        if self.task_given and training.processes > 1:
            raise UsageError(
                f"training.processes is {training.processes}, but data that was given from Python cannot be sent "
                "to other processes; set it to 1, or name the data in the configuration"
            )

    def search(self) -> None:
        """Evaluate networks until the budget is spent, or go on with an interrupted search."""
        worker = self.worker()
        with self.reporter.progress("search") as advance:
            worker.run(self.config.search.evaluations, advance)
        say_outcome(self, worker.study)

    def worker(self) -> Worker:
        """A process that evaluates trials of this run's study."""
        self.check_limits()
        return make_worker(self)

    def evaluations(self) -> list[Evaluation]:
        """All evaluated networks, with the cheap metrics that were not known yet when they were evaluated."""
        found = evaluations(load(self.store, self.config.name))
        cheap = {metric.name for metric in self.metrics if metric.values}
        if not any(cheap - evaluation.metrics.keys() for evaluation in found):
            return found
        rows = record(self.metrics, self.space.codes([evaluation.architecture for evaluation in found]))
        return [
            replace(evaluation, metrics={**row, **evaluation.metrics})
            for evaluation, row in zip(found, rows, strict=True)
        ]

    @property
    def searched(self) -> bool:
        """Whether a search was started."""
        return self.store.holds(self.config.name)


def _reached(limit: Limit, found: dict[str, float]) -> float:
    return limit.value + limit.sign * limit.missed_by(found)


def versions() -> dict[str, str]:
    """Versions of Nasmyth and of the packages that decide what a run gives."""
    return {name: version(name) for name in ("nasmyth", "torch", "optuna", "onnx", "onnxruntime")}


def architecture_count(space: SearchSpace) -> str:
    """The size of a space for people, such as `2.8e+12`."""
    return f"{space.size:,}" if space.size < 1e6 else f"{space.size:.2g}"
