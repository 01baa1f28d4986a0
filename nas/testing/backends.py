"""The contract of a device backend: right outputs, honest timings, plain sentences about models it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

import search_spaces
from latency_predictors.devices import parity
from latency_predictors.devices.backend import Array, Backend, Session
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.timing_graph import timing_graph
from search_spaces import SearchSpace, Workload
from search_spaces.padding import SameConv2d
from search_spaces.rms_norm import RMSNorm
from search_spaces.trace import trace


class EveryOperator(nn.Module):
    """A small network with every kind of operator that networks of images have, on two images of 6 x 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.dense = SameConv2d(4, 8, 3, stride=2)  # zeros below and on the right only
        self.dense_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.tokens = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        functional = nn.functional
        z = functional.hardswish(self.dense_norm(self.dense(functional.relu(self.norm(x)) + y)))
        z = functional.relu6(z) + functional.silu(self.depthwise(z))
        z = z * functional.hardsigmoid(z.mean((2, 3), keepdim=True))
        z = shuffled(z) + functional.avg_pool2d(z, 3, 1, 1, count_include_pad=False) + z * 0
        z = z + functional.max_pool2d(z, 3, 1, 1)
        tokens = functional.gelu(self.tokens(self.pooled(z)))
        logits: Tensor = self.classifier(torch.sigmoid(tokens) * 0.9)  # the constant of timing graphs
        return logits

    def pooled(self, z: Tensor) -> Tensor:
        """Vectors of 8 numbers that mix channels and rows of the images."""
        return z.mean(3).flatten(0).view(-1, 8)


def shuffled(z: Tensor) -> Tensor:
    """The channels of two groups by turns (Zhang et al., CVPR 2018)."""
    _, channels, height, width = z.shape
    return z.view(-1, 2, channels // 2, height * width).permute(0, 2, 1, 3).reshape(-1, channels, height, width)


class EveryImageOperator(EveryOperator):
    """The same for runtimes that only take networks which keep the images of a batch apart."""

    def pooled(self, z: Tensor) -> Tensor:
        """One vector of 8 numbers for each image."""
        return z.mean((2, 3), keepdim=True).flatten(1)


class EveryTokenOperator(nn.Module):
    """A small network with every kind of operator that only networks of tokens have, on three tokens of twenty."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.norm = nn.LayerNorm(8)
        self.plane = nn.LayerNorm((3, 8), eps=1e-3)
        self.query = nn.Linear(8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.plane(self.norm(self.table(tokens)))
        token = self.token.expand(x.shape[0], -1, -1)
        more = torch.cat([token, x, token], dim=1)
        x = x + (more[:, 1] * more[:, -1]).unsqueeze(1)
        heads = x.view(-1, 3, 2, 4).transpose(1, 2)
        keys = torch.cat([heads, self.query(x).view(-1, 3, 2, 4).permute(0, 2, 1, 3)], dim=2)
        weights = torch.softmax(heads @ keys.permute(0, 1, 3, 2), dim=-1)
        return weights @ keys + torch.softmax(heads, dim=1)


class EveryHybridOperator(nn.Module):
    """A small network with every kind of operator that only hybrid networks have, on images of 5 x 7 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 6)
        self.halves = nn.GroupNorm(2, 6, eps=1e-3)
        self.small = nn.Conv2d(6, 4, 2, stride=2, bias=False)
        self.large = nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1)
        self.depthwise = nn.ConvTranspose2d(6, 6, 3, padding=1, groups=6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        functional = nn.functional
        x = functional.pad(self.halves(self.norm(x)), (0, 1, 0, 0)).relu()[..., :7]
        y = self.small(functional.pad(x, (1, 0, 1, 0)))
        z = self.large(y)[:, :, :5, 1:] + x[:, :, :, :7]
        repeated = functional.interpolate(y, scale_factor=2.0, mode="nearest")
        return torch.cat([self.depthwise(z)[:, 2:], repeated[:, :, :5, :7]], dim=1)


@cache
def every_hybrid_operator() -> Workload:
    """The workload of `EveryHybridOperator`."""
    with torch.device("meta"):
        return trace(EveryHybridOperator(), ((1, 6, 5, 7),))


class EveryMixerOperator(nn.Module):
    """A small network with every kind of operator that only mixers have, on images of 6 x 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 4)
        self.maps = nn.Parameter(torch.ones(4, 5, 3))
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        steps = nn.functional.softplus(30 * self.norm(x))  # some of them beyond 20
        decays = torch.exp(steps * -1.0)
        padded = nn.functional.pad(decays[:, :, ::2, 2:], (1, 0, 0, 1))
        return padded @ self.maps - (x[..., 1::2] * torch.exp(self.shift))[:, :, :4]


@cache
def every_mixer_operator() -> Workload:
    """The workload of `EveryMixerOperator`."""
    with torch.device("meta"):
        return trace(EveryMixerOperator(), ((1, 4, 6, 6),))


class EveryLanguageOperator(nn.Module):
    """A small network with every kind of operator that only language models have, on three tokens of five features."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = RMSNorm(5, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((3, 3), float("-inf"), device=x.device).triu(1)
        y = self.norm(x)
        weights = torch.softmax(y @ y.transpose(1, 2) / 2.0 + mask, dim=-1)
        z = x / (x * x + 1.0)
        before = weights.tril(-1) @ z.cumsum(1)
        return weights @ z + before + (x.pow(2) + 0.5).sqrt() + (1.0 - x.sum(-1, keepdim=True)).expand(-1, -1, 5)


@cache
def every_language_operator() -> Workload:
    """The workload of `EveryLanguageOperator`."""
    with torch.device("meta"):
        return trace(EveryLanguageOperator(), ((1, 3, 5),))


@cache
def every_token_operator() -> Workload:
    """The workload of `EveryTokenOperator`, whose input is the numbers of tokens."""
    with torch.device("meta"):
        return trace(EveryTokenOperator(), ((1, 3),), indices=True)


@cache
def every_operator() -> Workload:
    """The workload of `EveryOperator`."""
    return _workload(EveryOperator)


@cache
def every_image_operator() -> Workload:
    """The workload of `EveryImageOperator`."""
    return _workload(EveryImageOperator)


def _workload(network: Callable[[], nn.Module]) -> Workload:
    with torch.device("meta"):
        return trace(network(), ((1, 4, 6, 6), (1, 4, 6, 6)))


def unknown_operator() -> bytes:
    """A well-formed model with one operator, `Frobnicate`, that no runtime has."""
    return _one_operator("Frobnicate")


def _one_operator(kind: str) -> bytes:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 4, 4]) for name in ("input0", "output0")]
    graph = helper.make_graph([helper.make_node(kind, ["input0"], ["output0"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def free_batch(workload: Workload) -> bytes:
    """The timing graph of `workload` with a free first dimension of inputs and outputs, as exported networks have."""
    model = onnx.load_from_string(timing_graph(workload))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            sizes = np.frombuffer(tensor.raw_data, np.int64)
            tensor.raw_data = np.concatenate([[-1], sizes[1:]]).astype(np.int64).tobytes()
    return bytes(model.SerializeToString())


@cache
def _spaces() -> dict[str, SearchSpace]:
    return {
        "convnet": search_spaces.get("convnet", resolutions=(16,)),
        "mobilenetv3": search_spaces.get("mobilenetv3", resolutions=(32,), classes=10, width=0.5),
    }


class BackendContract:
    """Subclass it as `TestMyBackend` and give the static method `make`.

    Attributes:
        workload: what makes the workload with the operators that the backend must know.
        lacks: an ONNX operator that the runtime does not know, if there is one.
    """

    workload: Callable[[], Workload] = staticmethod(every_operator)
    lacks: str | None = None

    @staticmethod
    def make() -> Backend:
        """The backend to be tested."""
        raise NotImplementedError("give a static method 'make' that returns the backend to be tested")

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend to be tested."""
        return self.make()

    @pytest.fixture(scope="class")
    @classmethod
    def session(cls) -> Session:
        """The graph of `workload`, batch 1."""
        return cls.make().prepare(timing_graph(cls.workload()))

    @pytest.fixture
    def inputs(self, session: Session) -> dict[str, Array]:
        """Inputs of `session`."""
        return dict(random_inputs(session, np.random.default_rng(0)))

    # ---------------------------------------------------------------- outputs

    @pytest.mark.parametrize("batch", [1, 3])
    def test_outputs_equal_the_reference(self, backend: Backend, batch: int) -> None:
        model = timing_graph(type(self).workload(), batch)
        session = backend.prepare(model)
        inputs = random_inputs(session, np.random.default_rng(batch))
        outputs = session.run(inputs)
        (result,) = ReferenceEvaluator(onnx.load_from_string(model)).run(None, dict(inputs))
        wanted = np.asarray(result)
        assert list(outputs) == ["output0"]
        assert outputs["output0"].shape == wanted.shape
        assert np.ptp(wanted) > 0
        tolerance = backend.tolerance * np.abs(wanted).max()
        np.testing.assert_allclose(outputs["output0"], wanted, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("name", ["convnet", "mobilenetv3"])
    def test_networks_pass_the_parity_check(self, backend: Backend, name: str) -> None:
        space = _spaces()[name]
        for architecture in (space.smallest(), *space.sample(1, seed=1)):
            model = timing_graph(space.workload(architecture))
            session = backend.prepare(model)
            inputs = random_inputs(session, np.random.default_rng(0))
            parity.check(backend, session, model, inputs)
            other = {key: -2 * value for key, value in inputs.items()}
            found, changed = (session.run(values)["output0"] for values in (inputs, other))
            assert np.abs(found - changed).max() > 0.2 * np.abs(found).max()  # biases alone would not pass

    def test_another_network_fails_the_parity_check(self, backend: Backend, session: Session) -> None:
        other = timing_graph(type(self).workload(), seed=1)
        with pytest.raises(parity.ParityError, match=f"{backend.title} computes other outputs than torch"):
            parity.check(backend, session, other, random_inputs(session, np.random.default_rng(0)))

    def test_the_batch_may_be_free(self, backend: Backend) -> None:
        space = _spaces()["convnet"]
        model = free_batch(space.workload(space.smallest()))
        session = backend.prepare(model)
        assert session.inputs["input0"].shape == (None, 3, 16, 16)
        images = np.random.default_rng(0).standard_normal((4, 3, 16, 16), dtype=np.float32)
        for batch in (4, 1, 4):
            parity.check(backend, session, model, {"input0": images[:batch]})
        together = session.run({"input0": images})["output0"]
        alone = np.concatenate([session.run({"input0": images[i : i + 1]})["output0"] for i in range(4)])
        np.testing.assert_allclose(together, alone, rtol=0, atol=backend.tolerance * np.abs(alone).max())
        assert session.time({"input0": images}, 2).shape == (2,)

    def test_a_file_and_its_bytes_are_the_same_model(
        self, backend: Backend, session: Session, inputs: dict[str, Array], tmp_path: Path
    ) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(timing_graph(type(self).workload()))
        np.testing.assert_array_equal(session.run(inputs)["output0"], backend.prepare(path).run(inputs)["output0"])

    def test_inputs_are_described(self, backend: Backend) -> None:
        described = backend.prepare(timing_graph(type(self).workload(), batch=2)).inputs
        assert list(described) == ["input0", "input1"]
        assert {value.shape for value in described.values()} == {(2, 4, 6, 6)}
        assert {value.dtype for value in described.values()} == {"float32"}

    def test_inputs_that_are_not_contiguous_are_read_rightly(self, session: Session, inputs: dict[str, Array]) -> None:
        strided = {name: np.asfortranarray(value) for name, value in inputs.items()}
        assert not strided["input0"].flags.c_contiguous
        assert (session.time(strided, 2) > 0).all()
        np.testing.assert_array_equal(session.run(inputs)["output0"], session.run(strided)["output0"])

    # ---------------------------------------------------------------- timings

    @pytest.mark.parametrize("repeats", [1, 7])
    def test_timing_gives_that_many_positive_samples(
        self, session: Session, inputs: dict[str, Array], repeats: int
    ) -> None:
        samples_ms = session.time(inputs, repeats)
        assert samples_ms.shape == (repeats,)
        assert (samples_ms > 0).all()
        assert (samples_ms < 1000).all()

    def test_samples_are_milliseconds(self, session: Session, inputs: dict[str, Array]) -> None:
        session.time(inputs, 10)
        started = perf_counter()
        samples_ms = session.time(inputs, 500)
        elapsed_ms = 1000 * (perf_counter() - started)
        assert 0.3 * elapsed_ms < samples_ms.sum() <= elapsed_ms

    def test_timing_does_not_change_outputs(self, session: Session, inputs: dict[str, Array]) -> None:
        before = session.run(inputs)["output0"].copy()
        session.time(inputs, 3)
        np.testing.assert_array_equal(session.run(inputs)["output0"], before)

    def test_outputs_are_the_callers_own(self, session: Session, inputs: dict[str, Array]) -> None:
        first = session.run(inputs)["output0"]
        before = first.copy()
        session.run({name: value + 1 for name, value in inputs.items()})
        np.testing.assert_array_equal(first, before)

    def test_nothing_is_printed_where_results_belong(self, backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
        session = backend.prepare(timing_graph(type(self).workload()))
        session.run(random_inputs(session, np.random.default_rng(0)))
        assert capfd.readouterr().out == ""

    def test_the_runtime_has_a_version(self, backend: Backend) -> None:
        assert backend.version()[0].isdigit()
        assert backend.threads >= 1
        assert backend.title

    # ---------------------------------------------------------------- wrong use

    def test_no_repeats_raise(self, session: Session, inputs: dict[str, Array]) -> None:
        with pytest.raises(ValueError, match="repeats"):
            session.time(inputs, 0)

    @pytest.mark.parametrize("method", ["run", "time"])
    @pytest.mark.parametrize("fault", ["name", "missing", "shape", "dtype"])
    def test_wrong_inputs_raise(self, session: Session, inputs: dict[str, Array], method: str, fault: str) -> None:
        last = inputs.pop("input1")
        inputs |= {
            "name": {"other": last},
            "missing": {},
            "shape": {"input1": last[..., :-1]},
            "dtype": {"input1": last.astype(np.float64)},
        }[fault]
        with pytest.raises(ValueError, match="input1"):
            session.run(inputs) if method == "run" else session.time(inputs, 1)

    def test_a_corrupt_model_raises(self, backend: Backend, tmp_path: Path) -> None:
        model = timing_graph(type(self).workload())
        for corrupt in (b"", b"not an onnx model", model[: len(model) // 2], tmp_path / "missing.onnx"):
            with pytest.raises(ValueError, match="model") as raised:
                backend.prepare(corrupt)
            assert "\n" not in str(raised.value)

    def test_an_unknown_operator_is_named(self, backend: Backend) -> None:
        with pytest.raises(ValueError, match="Frobnicate") as raised:
            backend.prepare(unknown_operator())
        assert "\n" not in str(raised.value)

    def test_an_operator_that_the_runtime_lacks_is_named(self, backend: Backend) -> None:
        if self.lacks is None:
            pytest.skip("the runtime knows all operators of ONNX")
        with pytest.raises(ValueError, match=self.lacks) as raised:
            backend.prepare(_one_operator(self.lacks))
        assert "\n" not in str(raised.value)
