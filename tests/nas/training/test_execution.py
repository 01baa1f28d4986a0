"""Ways of execution: which there are, which is taken, and in which precision a layer computes."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_training import make_config
from torch import Tensor, nn
from torch.nn import functional as F

import nas.training.execution
from nas.errors import UsageError
from nas.training.execution import Execution, candidates, computes_bfloat16, distinct, fastest
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategy import Step
from search_spaces import SearchSpace


def test_depthwise_convolutions_stay_in_float32() -> None:
    torch.manual_seed(0)
    layers = {
        "pointwise": nn.Conv2d(8, 8, 1),
        "depthwise": nn.Conv2d(8, 8, 3, padding=1, groups=8),
        "grouped": nn.Conv2d(8, 8, 3, padding=1, groups=4),
        "multiplied": nn.Conv2d(8, 16, 3, padding=1, groups=8),
    }
    images = torch.randn(2, 8, 6, 6)
    with Execution(bfloat16=True).active():
        found = {name: layer(images).dtype for name, layer in layers.items()}
        assert layers["depthwise"](layers["pointwise"](images)).dtype == torch.float32
    assert {name for name, dtype in found.items() if dtype == torch.float32} == {"depthwise"}
    assert set(found.values()) == {torch.float32, torch.bfloat16}
    assert layers["pointwise"](images).dtype == torch.float32


@pytest.mark.parametrize("inputs", [torch.float32, torch.bfloat16])
def test_gradients_flow_through_depthwise_convolutions(inputs: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, groups=4)
    images = torch.randn(2, 4, 6, 6, dtype=inputs)
    gradients = []
    for execution in (Execution(bfloat16=True), Execution()):
        layer.zero_grad()
        given = images.clone() if execution.bfloat16 else images.float()
        given.requires_grad_()
        with execution.active():
            layer(given).square().sum().backward()
        assert given.grad is not None
        gradients.append([given.grad.float(), layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(gradients[0][1:], gradients[1][1:])
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=0.01, atol=0.1)


def test_images_alone_are_laid_out() -> None:
    execution = Execution(channels_last=True)
    images, target = execution.place(torch.randn(2, 3, 4, 4), torch.rand(2, 5))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert target.is_contiguous()
    plain, _ = Execution().place(torch.randn(2, 3, 4, 4), torch.rand(2, 5))
    assert plain.is_contiguous()
    rows, _ = execution.place(torch.randn(2, 3), torch.rand(2, 5))
    assert rows.shape == (2, 3)


def test_auto_leaves_a_property_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**config: Any) -> set[Execution]:
        return set(candidates(make_config(**config)))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(nas.training.execution, "computes_bfloat16", lambda device: True)
    every = {Execution("cpu", bfloat16, last) for bfloat16 in (False, True) for last in (False, True)}
    assert found(device="auto", precision="auto", channels_last="auto") == every
    assert found(precision="bfloat16", channels_last="auto") == {option for option in every if option.bfloat16}
    assert found(precision="auto", channels_last=True) == {option for option in every if option.channels_last}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert found(device="auto") == found(device="cuda") == {Execution("cuda")}
    assert found(device="cpu") == {Execution("cpu")}
    monkeypatch.setattr(nas.training.execution, "computes_bfloat16", lambda device: False)
    assert found(device="cpu", precision="auto", channels_last=True) == {Execution("cpu", False, True)}


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="reads the flags of /proc/cpuinfo"
)
def test_bfloat16_is_computed_where_the_processor_says_so() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert computes_bfloat16("cpu") == ("avx512bw" in flags)
    assert computes_bfloat16("cuda")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"training\.device is 'cuda', but torch finds no GPU.*set it to cpu"):
        candidates(make_config(device="cuda"))


def test_fastest_is_taken_whatever_its_first_step_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(nas.training.execution.time, "perf_counter", lambda: now)
    slow, disturbed, steady = (
        Execution(bfloat16=a, channels_last=b) for a, b in ((False, False), (False, True), (True, False))
    )
    seconds = {slow: [1.0, 3.0, 3.0], disturbed: [99.0, 50.0, 1.0], steady: [2.0, 2.0, 2.0]}
    taken: list[Execution] = []

    def step(option: Execution) -> None:
        nonlocal now
        now += seconds[option][taken.count(option)]
        taken.append(option)

    assert fastest([slow, disturbed, steady], step) == disturbed
    assert taken == [slow, disturbed, steady] * 3
    assert fastest([slow], lambda _: pytest.fail("there is nothing to choose")) == slow


def test_only_the_largest_network_is_called_compiled(space: SearchSpace) -> None:
    """With the same gradients; the backend runs the captured graph as it is."""
    images, target = torch.randn(8, 1, 8, 8), torch.arange(8) % 10
    gradients = []
    for compiles in (False, True):
        torch.manual_seed(0)
        supernet = space.build_supernet().train()
        inner = torch.compile(supernet, backend="eager")
        calls: list[Tensor] = []

        def compiled(inputs: Tensor, inner: Any = inner, calls: list[Tensor] = calls) -> Tensor:
            calls.append(inner(inputs))
            return calls[-1]

        step = Step(0, 10, np.random.default_rng(0), F.cross_entropy, compiled if compiles else None)
        for strategy in (Sandwich(1), LargestFirst(Sandwich(1), 1)):
            strategy.step(supernet, images, target, step)
        supernet.activate(space.largest())
        for outputs in calls:
            torch.testing.assert_close(outputs, supernet(images))
        assert len(calls) == 2 * compiles
        gradients.append({name: p.grad for name, p in supernet.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_compiling_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match=r"training.compile needs a GPU.*set it to false"):
        candidates(make_config(compile=True, device="cpu"))


def test_the_layout_of_images_is_no_question_for_tokens() -> None:
    everything = [Execution("cpu", bfloat16, last) for bfloat16 in (False, True) for last in (False, True)]
    tokens = torch.zeros(2, 5, dtype=torch.int64)
    assert distinct(everything, tokens) == [Execution("cpu", False), Execution("cpu", True)]
    assert distinct(everything, torch.zeros(2, 3, 4, 4)) == everything
    (named,) = distinct([Execution("cpu", channels_last=True)], tokens)  # as a configuration names it
    assert named.place(tokens, tokens)[0] is tokens
