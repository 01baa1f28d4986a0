from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from latency_predictors.devices import parity
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.torch import Torch
from nas.testing.backends import BackendContract, every_operator
from search_spaces.trace import trace


class TestTorchEager(BackendContract):
    lacks = "Det"

    @staticmethod
    def make() -> Backend:
        return Torch()


class TestTorchChannelsLast(BackendContract):
    @staticmethod
    def make() -> Backend:
        return Torch(mode="channels_last")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch.compile itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_give_the_same_outputs() -> None:
    with torch.device("meta"):
        workload = trace(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(64, 2)), ((1, 3, 6, 6),)
        )
    model, backend = timing_graph(workload), Torch(mode="compile")
    session = backend.prepare(model)
    inputs = random_inputs(session, np.random.default_rng(0))
    parity.check(backend, session, model, inputs)
    assert session.time(inputs, 3).shape == (3,)


@pytest.mark.parametrize("method", ["run", "time"])
def test_threads_are_set_for_a_run_and_restored(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    session = Torch(threads=2).prepare(timing_graph(every_operator()))
    call = session._call  # type: ignore[attr-defined]
    monkeypatch.setattr(session, "_call", lambda *inputs: (seen.append(torch.get_num_threads()), call(*inputs))[1])
    before = torch.get_num_threads()
    inputs = random_inputs(session, np.random.default_rng(0))
    session.run(inputs) if method == "run" else session.time(inputs, 1)
    assert seen == [2]
    assert torch.get_num_threads() == before


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'compile'"):
        Torch(mode="compiled")
