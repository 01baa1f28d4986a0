"""How networks are exported, by the kind of task that they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.config import ExportConfig
from nas.errors import UsageError
from nas.export.bundle import Bundle
from nas.export.facts import Exported, facts
from nas.export.image_bundle import write_bundle
from nas.export.language_bundle import write_language_bundle
from nas.export.manifest import LANGUAGE
from nas.export.onnx_model import to_onnx
from nas.export.phase_graphs import PhaseGraphs, phases_of
from nas.export.weights import FLOAT32, quantized
from nas.stages import Stages
from nas.tasks import ImageClassification, Task
from nas.tasks.language_modelling import LanguageModelling


class ExportKind(ABC):
    """What differs between networks for different tasks."""

    @abstractmethod
    def check(self, stages: Stages, wanted: ExportConfig) -> None:
        """Refuse what cannot be done with such networks.

        Raises:
            UsageError: naming it.
        """

    @abstractmethod
    def write(self, stages: Stages, exported: Exported, path: Path) -> Bundle:
        """Write the bundle of a network."""


class _Images(ExportKind):
    def check(self, stages: Stages, wanted: ExportConfig) -> None:
        if wanted.weights != FLOAT32:
            raise UsageError("export.weights is for language models; leave it out for networks that read images")

    def write(self, stages: Stages, exported: Exported, path: Path) -> Bundle:
        task, network, architecture = stages.images, exported.network, exported.chosen.architecture
        inputs = stages.supernet.example_inputs(architecture)
        name, example = next(iter(inputs.items()))
        manifest = {
            **facts(stages, exported),
            "input": {"name": name, "shape": list(example.shape), "mean": list(task.mean), "std": list(task.std)},
            "classes": list(task.classes),
            "weights_mb": stages.space.workload(architecture).costs()["weight_bytes"] / 1e6,
        }
        return write_bundle(path, to_onnx(network, inputs), network, architecture, manifest)


class _Language(ExportKind):
    def check(self, stages: Stages, wanted: ExportConfig) -> None:
        phases_of(stages.space)

    def write(self, stages: Stages, exported: Exported, path: Path) -> Bundle:
        task, network, architecture = stages.task, exported.network, exported.chosen.architecture
        assert isinstance(task, LanguageModelling)
        graphs = PhaseGraphs(stages.space, architecture, network)
        manifest = {
            "kind": LANGUAGE,
            **facts(stages, exported),
            "vocabulary": len(task.tokenizer),
            "sequence_length": task.sequence_length,
            "end": task.tokenizer.end,
            "prompt": graphs.longest_prompt,
            "context": graphs.capacity,
            "states": list(graphs.states),
            "weights": exported.weights,
            "weights_mb": sum(4 * tensor.numel() for tensor in network.state_dict().values()) / 1e6,
        }
        models = quantized(graphs.export(), exported.weights)
        return write_language_bundle(path, models, task.tokenizer.to_json(), network, architecture, manifest)


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
