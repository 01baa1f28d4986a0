from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from latency_predictors.devices import parity
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.ncnn import Ncnn
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import BackendContract, every_image_operator, every_operator

# Not imported here: its backend must be the first to do so.
pytestmark = pytest.mark.skipif(not find_spec("ncnn") or not find_spec("pnnx"), reason="ncnn or pnnx is missing")


class TestNcnn(BackendContract):
    workload = staticmethod(every_image_operator)
    lacks = "Det"

    @staticmethod
    def make() -> Backend:
        return Ncnn()


def test_two_threads_give_the_same_outputs() -> None:
    TestNcnn().test_outputs_equal_the_reference(Ncnn(threads=2), 1)


def test_what_it_converts_wrongly_does_not_pass() -> None:
    """Networks that mix the images of a batch come out as others; of one image its outputs are plain wrong."""
    model = timing_graph(every_operator())
    session = Ncnn().prepare(model)
    with pytest.raises(parity.ParityError, match="ncnn computes other outputs than torch"):
        parity.check(Ncnn(), session, model, random_inputs(session, np.random.default_rng(0)))
    session = Ncnn().prepare(timing_graph(every_operator(), 3))
    with pytest.raises(ValueError, match="no convolutional network"):
        session.run(random_inputs(session, np.random.default_rng(0)))


def test_threads_do_not_spin_and_the_environment_is_as_it_was() -> None:
    program = (
        "import os, sys; from latency_predictors.devices.ncnn import Ncnn; Ncnn().version();"
        "assert 'ncnn' in sys.modules; assert 'OMP_WAIT_POLICY' not in os.environ"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    shown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
        env=environment | {"OMP_DISPLAY_ENV": "verbose"},
    )  # fmt: skip
    policies = [line for line in shown.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    assert policies
    assert "PASSIVE" in policies[-1]


@pytest.mark.parametrize("module", ["ncnn", "pnnx"])
def test_missing_ncnn_says_what_to_install(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match="pip install ncnn pnnx"):
        Ncnn().prepare(timing_graph(every_image_operator()))
