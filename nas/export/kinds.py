"""How networks are exported, by the kind of task that they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from nas.config import FinetuneConfig
from nas.errors import UsageError
from nas.export.bundle import LANGUAGE, Bundle
from nas.export.facts import facts
from nas.export.finetuning import FineTuned
from nas.export.image_bundle import write_bundle
from nas.export.language_bundle import write_language_bundle
from nas.export.onnx_model import to_onnx
from nas.export.phase_graphs import PhaseGraphs, phases_of
from nas.export.weights import FLOAT32, quantized
from nas.search.worker import Evaluation
from nas.stages import Stages
from nas.tasks import ImageClassification, Task
from nas.tasks.language_modelling import LanguageModelling


class ExportKind(ABC):
    """What differs between networks for different tasks."""

    @abstractmethod
    def check(self, stages: Stages, settings: FinetuneConfig | None) -> None:
        """Refuse what cannot be done with such networks.

        Raises:
            UsageError: naming it.
        """

    @abstractmethod
    def write(
        self,
        stages: Stages,
        network: nn.Module,
        chosen: Evaluation,
        limits: list[str],
        path: Path,
        tuned: FineTuned | None,
    ) -> Bundle:
        """Write the bundle of a network in evaluation mode, with the metrics of `chosen`."""


class _Images(ExportKind):
    def check(self, stages: Stages, settings: FinetuneConfig | None) -> None:
        if stages.config.export.weights != FLOAT32:
            raise UsageError("export.weights is for language models; leave it out for networks that read images")

    def write(
        self,
        stages: Stages,
        network: nn.Module,
        chosen: Evaluation,
        limits: list[str],
        path: Path,
        tuned: FineTuned | None,
    ) -> Bundle:
        task = stages.images
        inputs = stages.supernet.example_inputs(chosen.architecture)
        name, example = next(iter(inputs.items()))
        manifest = {
            **facts(stages, chosen, limits, tuned),
            "input": {"name": name, "shape": list(example.shape), "mean": list(task.mean), "std": list(task.std)},
            "classes": list(task.classes),
            "weights_mb": stages.space.workload(chosen.architecture).costs()["weight_bytes"] / 1e6,
        }
        return write_bundle(path, to_onnx(network, inputs), network, chosen.architecture, manifest)


class _Language(ExportKind):
    def check(self, stages: Stages, settings: FinetuneConfig | None) -> None:
        phases_of(stages.space)
        if settings is not None and settings.epochs:
            raise UsageError("language models are not fine-tuned before the export; leave out export.finetune")

    def write(
        self,
        stages: Stages,
        network: nn.Module,
        chosen: Evaluation,
        limits: list[str],
        path: Path,
        tuned: FineTuned | None,
    ) -> Bundle:
        task, weights = stages.task, stages.config.export.weights
        assert isinstance(task, LanguageModelling)
        graphs = PhaseGraphs(stages.space, chosen.architecture, network)
        manifest = {
            "kind": LANGUAGE,
            **facts(stages, chosen, limits, tuned),
            "vocabulary": len(task.tokenizer),
            "sequence_length": task.sequence_length,
            "end": task.tokenizer.end,
            "prompt": graphs.longest_prompt,
            "context": graphs.capacity,
            "states": list(graphs.states),
            "weights": weights,
            "weights_mb": sum(4 * tensor.numel() for tensor in network.state_dict().values()) / 1e6,
        }
        models = quantized(graphs.export(), weights)
        return write_language_bundle(path, models, task.tokenizer.to_json(), network, chosen.architecture, manifest)


_KINDS: Mapping[type[Any], ExportKind] = MappingProxyType(
    {ImageClassification: _Images(), LanguageModelling: _Language()}
)


def is_exportable(task: Task) -> bool:
    """Whether networks for a task can be exported."""
    return isinstance(task, tuple(_KINDS))


def kind_of(task: Task) -> ExportKind:
    """How networks for a task are exported.

    Raises:
        UsageError: when they are not.
    """
    for known, kind in _KINDS.items():
        if isinstance(task, known):
            return kind
    raise UsageError(
        f"networks for {type(task).__name__} are not exported yet: 'nas front' shows what the search found"
    )
