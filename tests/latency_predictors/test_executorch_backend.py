"""ExecuTorch takes seconds to load a network, so only what it adds to torch is tested, on one small network."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from latency_predictors.devices import parity
from latency_predictors.devices.backend import Session
from latency_predictors.devices.executorch import ExecuTorch
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import every_operator, unknown_operator

installed = pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")
MODEL = timing_graph(every_operator())


@pytest.fixture(scope="module")
def session() -> Session:
    return ExecuTorch().prepare(MODEL)


@installed
def test_outputs_are_those_of_torch(session: Session) -> None:
    for seed in range(2):
        parity.check(ExecuTorch(), session, MODEL, random_inputs(session, np.random.default_rng(seed)))


@installed
def test_it_runs_on_one_thread(session: Session) -> None:
    pool = importlib.import_module("executorch.extension.pybindings.portable_lib")
    assert pool._threadpool_get_thread_count() == 1
    assert session.time(random_inputs(session, np.random.default_rng(0)), 5).shape == (5,)
    with pytest.raises(ValueError, match="'threads' of backend 'executorch' can only be 1, got 2"):
        ExecuTorch(threads=2)


@installed
def test_a_model_that_it_cannot_load_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="does not know the operator Frobnicate"):
        ExecuTorch().prepare(unknown_operator())
    with pytest.raises(ValueError, match="ExecuTorch cannot load the model: it is not an ONNX model"):
        ExecuTorch().prepare(b"not an onnx model")


def test_missing_executorch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(ModuleNotFoundError, match="pip install executorch"):
        ExecuTorch().prepare(b"")
