"""The configuration of a run: strict and typed, so that a slip is an error before any work is done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from nas.errors import UsageError
from nas.search.address import without_password
from nas.section import STRICT, Fraction, Positive
from nas.task_config import LanguageTaskConfig
from search_spaces.space import nearest

#: In the directory of a run: its configuration with every key.
CONFIGURATION = "config.yaml"


class _Section(BaseModel):
    model_config = STRICT


class SpaceConfig(_Section):
    """The search space and the options that it is made with (`nas spaces NAME` lists them)."""

    name: str = "convnet"
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Refuse what a run could not write down: dates, binary data, infinite numbers, lists that hold themselves."""
        try:
            json.dumps(options, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError("options are finite numbers, texts, true or false, lists and keys with values") from error
        return options


class AugmentationConfig(_Section):
    """Random changes to training images; what is left out is not done."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    translation: Annotated[float, Field(ge=0, le=1)] = 0.0
    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    trivial_augment: bool = False
    cutout: Annotated[int, Field(ge=0)] = 0


class TaskConfig(_Section):
    """Images and labels: `digits`, `hf:NAME`, or a file or folder that `nas.tasks.sources.load_images` reads. Without
    `augmentation` a default is used that fits the images: crops and flips for colour photographs, small affine changes
    for digits and letters. `mixup` and `cutmix` are the parameters of beta distributions, 0 for none. `class_weights:
    balanced` makes rare classes count more in the loss. `mean` and `std`, one for each channel and for values from 0
    to 1, are by default those of the training images."""

    data: str = "digits"
    size: Positive | None = None
    validation: Fraction = 0.15
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    mean: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] | None = None
    std: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] | None = None
    augmentation: AugmentationConfig | None = None


def _task_kind(section: Any) -> Any:
    """Which kind of task a section of a configuration is of."""
    kind = section.get("kind") if isinstance(section, dict) else getattr(section, "kind", None)
    return "images" if kind is None else kind


#: The kinds of tasks, by the tags that pydantic tells them apart by.
_TASKS: Mapping[str, type[BaseModel]] = MappingProxyType({"images": TaskConfig, "language": LanguageTaskConfig})

#: Images, or texts where `kind` is `language`.
AnyTaskConfig = Annotated[
    Annotated[TaskConfig, Tag("images")] | Annotated[LanguageTaskConfig, Tag("language")],
    Discriminator(
        _task_kind,
        custom_error_type="task_kind",
        custom_error_message="its kind is 'language' for texts, and is left out for images",
    ),
]


class StrategyConfig(_Section):
    """Which networks a step trains, and on what: `sandwich`, `single_path`, `attentive` or `progressive_shrinking`; or a
    differentiable search, `proxylessnas`, `fbnet` or `efficientformer`, which also finds networks, the first ones that the
    search evaluates.
    """

    name: str = "sandwich"
    options: dict[str, Any] = {}


class PretrainedConfig(_Section):
    """A file of weights that already exist, with which the training begins. `source` says whose names it uses: one of
    those that `nas spaces NAME` lists. `path` is that of a safetensors file or of one that torch wrote, or for language
    models that of a directory which transformers wrote; `package:NAME/FILE` is a file inside of an installed package.
    With `partial` what matches is loaded when something does not, such as the classifier of other classes. With
    `copy_attention` the other mixers of a language model, for which there are no weights, begin with those of the
    attention of their layer, as far as they have something in common."""

    source: str
    path: str
    partial: bool = False
    copy_attention: bool = False


class TrainingConfig(_Section):
    """How the supernet is trained.

    `largest_share` is the share of the steps that come before those of the strategy: a first phase on the largest network
    alone (by default what is best for the strategy and the space). `mixer_distillation_share`, for language models, is that
    of a phase after it, in which the other mixers of every layer learn to give what its attention gives and nothing else
    changes: of use with `pretrained` attention. `ema` is the decay of an average of the weights, 0 for none. `auto` takes the precision and the
    layout whose steps are the fastest on this machine; to get the same weights on another one, name them.
    `tensorboard` writes losses and learning rate for TensorBoard after each epoch (needs the extra of that name).
    `batch_size` is that of all `processes` together, among which each batch is divided; with `sync_batch_norm` they
    normalise over the whole batch, as one process does, else each over its part. Small networks train faster in several
    processes than with as many threads. `compile` compiles the largest network, on a GPU only.
    Convolutional networks learn with `sgd` (Nesterov `momentum`), transformers with `adamw` at a learning rate about a
    hundred times lower and a weight decay of about 0.05; its first beta is `momentum`. The learning rate rises for
    `warmup_epochs` (by default one, or a tenth of all when that is less), then falls to zero. A training that begins with
    `pretrained` weights has its hidden channels ordered by their importance first.
    `learning_rate_multipliers` multiply the learning rate of some parameters: of an operator (`attention`, `feed_forward`,
    `embedding`), or by a pattern of names (`"*.log_decay": 0.1`); `nas.training.learning_rates` says what a pattern means.
    `learning_rate_base_width`, for `adamw`, is the width for which the learning rate was found: a matrix with more inputs
    learns more slowly by their ratio, as in the maximal update parametrisation.
    `weight_normalization`, for language models, gives the rows, or the columns, of the matrices in all layers length one
    after every step, as in Nemotron-Flash, which has no `weight_decay` then.
    """

    strategy: StrategyConfig = StrategyConfig()
    pretrained: PretrainedConfig | None = None
    largest_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    mixer_distillation_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    epochs: Annotated[float, Field(gt=0)] = 30.0
    batch_size: Positive = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    learning_rate_multipliers: dict[str, Annotated[float, Field(ge=0)]] = {}
    learning_rate_base_width: Positive | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    weight_normalization: bool = False
    warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto", True, False] = "auto"
    compile: bool = False
    processes: Positive = 1
    sync_batch_norm: bool = False
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0
    tensorboard: bool = False

    @field_validator("learning_rate_base_width")
    @classmethod
    def _of_adam(cls, width: int | None, others: ValidationInfo) -> int | None:
        """The rule is that of Adam; with plain gradient descent matrices of all widths have one rate."""
        if width is not None and others.data.get("optimizer") != "adamw":
            raise ValueError("it needs optimizer: adamw; with sgd the learning rate does not depend on the width")
        return width

    @field_validator("warmup_epochs")
    @classmethod
    def _falls_again(cls, value: float | None, others: ValidationInfo) -> float | None:
        epochs = others.data.get("epochs", 0.0)
        if value and value >= epochs > 0:
            raise ValueError(f"the learning rate would rise in all of the {epochs:g} epochs; give less, or nothing")
        return value

    @property
    def warmup(self) -> float:
        """Epochs in which the learning rate rises."""
        return min(1.0, self.epochs / 10) if self.warmup_epochs is None else self.warmup_epochs


class CalibrationConfig(_Section):
    """How many networks are measured on the device: to fit the predictors, and to test them. After `max_seconds` no more
    rounds are added to the first ones: of latency, and of what objectives and limits name beside it. The predictor
    `auto` is `gaussian_process` unless another one is clearly better on the networks that test them. With `until_error`
    (%) further networks are measured, one at a time, until the predictor expects a lower median error, or it is fitted
    to `max_samples`."""

    predictor: str = "auto"
    samples: Annotated[int, Field(ge=3)] = 10
    holdout: Annotated[int, Field(ge=2)] = 20
    max_seconds: Annotated[float, Field(gt=0)] = 60.0
    until_error: Annotated[float, Field(gt=0)] | None = None
    max_samples: Annotated[int, Field(ge=3)] = 50


class SamplerConfig(_Section):
    """What decides which networks are evaluated next: `screened`, or one of the simpler ones: `random`, `local_search`,
    `regularized_evolution`, `integer_program`, and Optuna's `nsga2` and `tpe`."""

    name: str = "screened"
    options: dict[str, Any] = {}


class SearchConfig(_Section):
    """What is optimised, within which limits, with how many evaluated networks. Objectives that are evaluated are those
    of the task: `accuracy` of images; `bits_per_byte` and `recall` of texts. Latency is `latency_ms.DEVICE`; of networks
    with several phases one of them, such as `prefill_512_ms.DEVICE`, and only phases that are named are measured (memory,
    load time and energy of the last one). A limit on what is predicted, such as latency, holds for a value that a
    measurement stays below with probability `confidence`: high, because a search finds the networks that are predicted
    too favourably.

    With a `stopping_risk`, which is for images alone, a network is evaluated on part of the validation images first, and
    on the rest only while it can still enter the front; a network that would enter it is stopped at most with that
    probability.
    The search ends earlier after `patience` batches without a gain of hypervolume. A network whose evaluation was begun
    `attempts` times and never came to an end is left out. `warm_start` is another run of the same supernet, which is copied
    from there unless this run has it: what that run evaluated is known from the start, with the metrics of this run's
    devices, and costs nothing of `evaluations`. `seed` is that of the sampler, by default the run's: other seeds give
    other searches of the same supernet, judged on the same images.
    `storage` is the URL of a PostgreSQL database, in place of a file in the run, so that workers on other hosts can help.
    A password in it is not kept in the run: let PGPASSWORD or ~/.pgpass hold it.
    """

    objectives: Annotated[list[str], Field(min_length=2)] = ["accuracy", "latency_ms.local"]
    limits: list[str] = []
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.99
    evaluations: Positive = 100
    sampler: SamplerConfig = SamplerConfig()
    recalibration_images: Positive = 500
    stopping_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    attempts: Positive = 3
    patience: Positive | None = None
    warm_start: str | None = None
    seed: int | None = None
    storage: str | None = None

    @field_serializer("storage")
    def _public(self, storage: str | None) -> str | None:
        """What is written down and compared."""
        return None if storage is None else without_password(storage)


class FinetuneConfig(_Section):
    """How the delivered network is trained further: with a cosine from `learning_rate` (of the supernet's optimiser: about
    1e-4 for `adamw`) down to zero, and a loss of which the largest network of the supernet has the share
    `distillation_weight` and the labels (of texts, the tokens that follow) the rest. The new weights are delivered when
    the first metric of the task is no worse with them on validation data."""

    epochs: Annotated[float, Field(ge=0)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    distillation_weight: Annotated[float, Field(ge=0, le=1)] = 0.5


class ExportConfig(_Section):
    """Which network of the front is delivered: the best one by `maximize` or `minimize` among those within `where`. With
    `weights: int8` a language model keeps the weights of its linear maps in 8 bits."""

    where: list[str] = []
    maximize: str | None = None
    minimize: str | None = None
    finetune: FinetuneConfig = FinetuneConfig()
    weights: Literal["float32", "int8"] = "float32"


class RunConfig(_Section):
    """Everything that a run depends on.

    `threads` are those of torch in training and evaluation, by default all cores; the threads of a device are its own.
    With `engine: ray` each device is measured on the node of a Ray cluster that declares it as a resource, and the
    networks of the search are evaluated on all nodes, as many at a time as there are CPUs: each takes as many as
    `threads`, by default 1.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    directory: str | None = None
    seed: int = 0
    devices: Annotated[list[str], Field(min_length=1)] = ["local"]
    engine: Literal["local", "ray"] = "local"
    threads: Positive | None = None
    space: SpaceConfig = SpaceConfig()
    task: AnyTaskConfig = TaskConfig()
    training: TrainingConfig = TrainingConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    search: SearchConfig = SearchConfig()
    export: ExportConfig = ExportConfig()

    @property
    def run_directory(self) -> Path:
        """Where the run is kept: `directory`, or `runs/<name>` below the working directory."""
        return Path(self.directory) if self.directory else Path("runs") / self.name

    def to_yaml(self) -> str:
        """Every key with its value, readable by `load`."""
        text: str = yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
        return text


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as the number that it is in YAML 1.2; PyYAML knows version 1.1, where it is a text."""


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts that `_Loader` would read as numbers."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def _read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: when it is not YAML (PyYAML itself lets many kinds of error through).
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(str(error) or "it is nested too deeply") from error


def packaged() -> dict[str, Path]:
    """Configurations that come with Nasmyth, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "configs").glob("*.yaml"))}


def load(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration in a YAML file, of a run, or the packaged one of that name.

    Args:
        source: path of a file or of a run's directory, or a name such as `quickstart`.
        overrides: `key=value` with a dotted key and a YAML value, such as `search.evaluations=50`.

    Raises:
        UsageError: when there is no such file, or a key or a value is wrong (the message says what it takes).
    """
    path = Path(source)
    if not path.exists() and str(source) in packaged():
        path = packaged()[str(source)]
    run = path if (path / CONFIGURATION).is_file() else None
    path = path / CONFIGURATION if run else path
    try:
        data = _read_yaml(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        known = ", ".join(packaged())
        raise UsageError(
            f"there is no configuration {str(source)!r}; give a YAML file, a run or one of: {known}"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold keys and values, such as 'name: my-run'")
    for override in overrides:
        _override(data, override)
    data.setdefault("name", path.stem)
    if run:
        data["directory"] = str(run)
    return parse(data, str(path))


def parse(data: Any, source: str = "configuration") -> RunConfig:
    """Check plain data against the types of `RunConfig`.

    Raises:
        UsageError: naming the first wrong key, and the nearest known one or what the value should be.
    """
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{source}: {_sentence(error)}") from error


def _override(data: dict[str, Any], text: str) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"--set takes key=value, such as search.evaluations=50, not {text!r}")
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {text}: {section!r} is not a section")
    try:
        data[last] = _read_yaml(value)
    except ValueError as error:
        raise UsageError(f"--set {text}: the value is not readable YAML") from error


def _sentence(error: ValidationError) -> str:
    problem = error.errors()[0]
    place, task = _place(problem["loc"])
    path = [part for part in place if isinstance(part, str)]
    key = ".".join(str(part) for part in place)
    if problem["type"] == "extra_forbidden":
        known = list(_fields(path[:-1], task))
        return f"unknown key {key!r}{nearest(path[-1], known)}; known here: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key!r} is {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _place(parts: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """Where an error is, without the tag that pydantic puts behind `task`; and the section that the task is."""
    if parts[:1] == ("task",) and len(parts) > 1:
        return (parts[0], *parts[2:]), _TASKS[str(parts[1])]
    return parts, TaskConfig


def _fields(sections: Iterable[str], task: type[BaseModel]) -> dict[str, Any]:
    model: Any = RunConfig
    for section in sections:
        annotation = task if section == "task" else model.model_fields[section].annotation
        model = next((part for part in get_args(annotation) if hasattr(part, "model_fields")), annotation)
    return dict(model.model_fields)
