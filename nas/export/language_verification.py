"""Verification of a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from torch import Tensor

from latency_predictors.devices.backend import Backend
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.sessions import DeviceSession
from nas.export.bundle import TOKENIZER
from nas.export.check import Check
from nas.export.fixed_sizes import fixed
from nas.export.generate import Graphs
from nas.export.language_bundle import GRAPHS
from nas.export.phase_graphs import DECODE, PREFILL, PhaseGraphs, graph_of
from nas.export.verifier import Verifier
from nas.export.weights import FLOAT32
from nas.search.sequence_evaluation import BATCH_SIZE, figure
from nas.tasks import Task
from nas.tasks.token_sequences import NOT_JUDGED
from nas.tasks.tokenizer import Tokenizer
from search_spaces.workload import Shape

#: What a text begins with in the check of generation, and how many tokens follow.
PROMPT, GENERATED = "Once upon a time", 200
#: Sequences of each metric that the exported graphs read, token by token.
SEQUENCES = 8
#: Largest relative difference of a metric to that of the study; with 8-bit weights they may cost so much.
FIGURE_TOLERANCE = {"float32": 1e-3, "int8": 2e-2}


class LanguageVerifier(Verifier):
    """Verifies a bundle whose network continues texts.

    Outputs are compared on the device, at fixed sizes. Generation, and the metrics of the task by the exported graphs,
    whose sizes change with every token, run in the device's ONNX Runtime where it has that on this machine, and in that
    of the processor otherwise.
    """

    found_anew: ClassVar[frozenset[str]] = frozenset(["bits_per_byte", "recall", "size_mb"])

    def outputs(self) -> Iterator[Check]:
        """As for `Verifier.outputs`."""
        self.measured["parity"] = 0.0
        self._check_graphs()
        if self._weights == FLOAT32:
            longest = self._longest_prompt
            for batch, tokens in ((1, min(5, longest)), (3, longest)):
                yield from self._parity(batch, tokens)
            yield self._generation()
        task = self.loaded_task("metrics of the task")
        if isinstance(task, Check):
            yield task
            return
        for metric in task.metrics:
            yield from self._figure(task, metric.name, metric.direction == "maximize")

    def model(self, phase: str) -> bytes:
        """As for `Verifier.model`."""
        return self._fixed(graph_of(phase), self._graphs.sizes(phase))

    def _check_graphs(self) -> None:
        """Whether the manifest says of the network what it is."""
        said, graphs = self.bundle.manifest, self._graphs
        true = {"prompt": graphs.longest_prompt, "context": graphs.capacity, "states": list(graphs.states)}
        for key, value in true.items():
            if said[key] != value:
                raise self.bundle.wrong(key, f"that of the network is {value}")
        if not said["end"] < said["vocabulary"] <= graphs.vocabulary:
            raise self.bundle.wrong("vocabulary", f"the network knows {graphs.vocabulary} tokens")

    @property
    def _weights(self) -> str:
        return str(self.bundle.manifest["weights"])

    @cached_property
    def _graphs(self) -> PhaseGraphs:
        """What torch computes."""
        return PhaseGraphs(self.bundle.space, self.bundle.architecture, self.bundle.network())

    @cached_property
    def _models(self) -> dict[str, onnx.ModelProto]:
        return {name: onnx.load(str(self.bundle.path / file)) for name, file in GRAPHS.items()}

    @property
    def _longest_prompt(self) -> int:
        """The longest prompt of a phase, but one token: chunks of mixers are then seldom full."""
        phases = [phase for phase in self.bundle.space.phases if graph_of(phase) == PREFILL]
        name = self.bundle.space.input_name
        return max(1, max(self._graphs.sizes(phase)[name][1] for phase in phases) - 1)

    def _fixed(self, graph: str, shapes: Mapping[str, Shape]) -> bytes:
        return fixed(self._models[graph], shapes)

    # ------------------------------------------------------------------------------------------------------ outputs

    def _parity(self, batch: int, tokens: int) -> Iterator[Check]:
        """Of both graphs; the next token gets the state that torch leaves after the prompt."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(self.bundle.manifest["vocabulary"], (batch, tokens + 1), generator=generator)
        left = self._compared(PREFILL, drawn[:, :-1])
        expected, found = left
        yield self._check_of_outputs("prompt", batch, tokens, expected, found)
        yield self._check_of_outputs("next token", batch, tokens, *self._compared(DECODE, drawn[:, -1:], *expected[1:]))

    def _compared(self, graph: str, tokens: Tensor, *state: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and new state by torch, and by the device."""
        inputs = dict(zip([self.bundle.space.input_name, *self._graphs.states], [tokens, *state], strict=False))
        with torch.inference_mode():
            outputs = self._graphs.network(graph)(*inputs.values())
        model = self._fixed(graph, {name: tuple(value.shape) for name, value in inputs.items()})
        with DeviceSession(self.device, model) as session:
            found = session.run({name: value.contiguous().numpy() for name, value in inputs.items()})
        return list(outputs) if isinstance(outputs, tuple) else [outputs], [torch.from_numpy(y) for y in found.values()]

    def _check_of_outputs(
        self, part: str, batch: int, tokens: int, expected: list[Tensor], found: list[Tensor]
    ) -> Check:
        tolerance = self.device.make_backend().tolerance
        difference = max(_difference(x, y) for x, y in zip(expected, found, strict=True))
        self.measured["parity"] = max(self.measured["parity"], difference)
        place = f"of {tokens} tokens" if part == "prompt" else f"after {tokens} tokens"
        return Check(
            f"outputs equal torch's, {part} {place}, batch {batch}",
            difference <= tolerance,
            f"relative difference <= {tolerance:g}",
            f"{difference:.2g}",
        )

    # --------------------------------------------------------------------------------------------------- generation

    def _runtime(self) -> Backend:
        """What runs graphs with free sizes in this process."""
        backend = self.device.make_backend()
        return backend if isinstance(backend, OnnxRuntime) and self.device.ssh is None else OnnxRuntime()

    @cached_property
    def _exported(self) -> Graphs:
        runtime = self._runtime()
        sessions = [runtime.prepare(self.bundle.path / GRAPHS[name]) for name in (PREFILL, DECODE)]
        return Graphs(*(session.run for session in sessions))

    def _generation(self) -> Check:
        """The likeliest tokens after a prompt. Where another one is the likeliest for the exported graphs, the two must
        tie for torch; both then go on with torch's."""
        tolerance, context = self.device.make_backend().tolerance, self.bundle.manifest["context"]
        tokenizer = Tokenizer.read(self.bundle.path / TOKENIZER)
        start = [tokenizer.end, *tokenizer.encode(PROMPT.encode()).tolist()][: self._longest_prompt]
        count = GENERATED if context is None else max(1, min(GENERATED, context - len(start) + 1))
        torch_graphs = self._torch_graphs()
        tokens = np.array([start])
        expected, found = torch_graphs.start(tokens), self._exported.start(tokens)
        others: list[str] = []
        worst = 0.0
        for number in range(count):
            (token,), (other,) = expected.argmax(1), found.argmax(1)
            if token != other:
                gap = float(expected[0, token] - expected[0, other]) / float(np.abs(expected).max())
                others.append(f"token {number + 1} is {other}, not {token}, whose logits differ by {gap:.2g}")
                worst = max(worst, gap)
            if number < count - 1:
                step = np.array([token])
                expected, found = torch_graphs.go_on(step), self._exported.go_on(step)
        return Check(
            f"{count} generated tokens equal torch's",
            worst <= 2 * tolerance,
            f"the same, or two whose logits differ by no more than {2 * tolerance:g} of the largest",
            "; ".join(others[:3]) or "the same",
        )

    def _torch_graphs(self) -> Graphs:
        """The same two graphs by torch."""

        def run(graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
            names = [self.bundle.space.input_name, *(self._graphs.states if graph == DECODE else ())]
            with torch.inference_mode():
                outputs = self._graphs.network(graph)(*(torch.as_tensor(inputs[name]) for name in names))
            results = outputs if isinstance(outputs, tuple) else (outputs,)
            return {name: value.numpy() for name, value in zip(self._graphs.outputs, results, strict=True)}

        return Graphs(lambda inputs: run(PREFILL, inputs), lambda inputs: run(DECODE, inputs))

    # ---------------------------------------------------------------------------------------- the metrics of the task

    def _figure(self, task: Task, metric: str, counted: bool) -> Iterator[Check]:
        """By torch on all validation sequences as in the study, and on some of them by the exported graphs too."""
        network, said, weights = self.bundle.network(), metric.replace("_", " "), self._weights
        batches = list(task.evaluation_batches(metric, "validation", BATCH_SIZE))
        expected, found = self.bundle.metric(metric), figure(task, metric, batches, network)
        test = task.evaluation_batches(metric, "test", BATCH_SIZE)
        self.measured |= {metric: found, f"test_{metric}": figure(task, metric, test, network)}
        yield _equal(
            f"{said} on validation data", expected, found, FIGURE_TOLERANCE[FLOAT32], batches if counted else []
        )
        room = self.bundle.manifest["context"]
        some = [(tokens[:SEQUENCES, :room], target[:SEQUENCES, :room]) for tokens, target in batches[:1]]
        expected, found = figure(task, metric, some, network), figure(task, metric, some, self._all_logits)
        self.measured[f"{metric}_exported"] = found
        name = f"{said} of the exported graphs, {len(some[0][0])} sequences"
        yield _equal(name, expected, found, FIGURE_TOLERANCE[weights], some if counted else [])

    def _all_logits(self, tokens: Tensor) -> Tensor:
        """Of every token of sequences (n, t): the first is the prompt, the others follow one by one."""
        columns = tokens.numpy().T
        first = self._exported.start(columns[0][:, None])
        logits = [first, *(self._exported.go_on(column) for column in columns[1:])]
        return torch.from_numpy(np.stack(logits, axis=1))


def _equal(name: str, expected: float, found: float, tolerance: float, batches: list[tuple[Tensor, Tensor]]) -> Check:
    """Within a share of the value; of right answers in `batches`, also within one for which two tokens tie."""
    judged = sum(int((target != NOT_JUDGED).sum()) for _, target in batches)
    allowed = max(tolerance * abs(expected), 1.5 / judged if judged else 0.0)
    return Check(name, abs(found - expected) <= allowed, f"{expected:.4f} (within {allowed:.2g})", f"{found:.4f}")


def _difference(expected: Tensor, found: Tensor) -> float:
    """Relative to the largest output; infinite between different shapes."""
    if expected.shape != found.shape:
        return float("inf")
    largest = expected.abs().max().clamp(min=1e-6) if expected.numel() else torch.ones(())
    return float((found - expected).abs().max() / largest) if expected.numel() else 0.0
