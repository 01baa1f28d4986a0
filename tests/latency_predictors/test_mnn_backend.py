from __future__ import annotations

import platform
import subprocess
import sys
from importlib.util import find_spec

import pytest

from latency_predictors.devices.backend import Backend
from latency_predictors.devices.mnn import Mnn
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import BackendContract, every_operator

# Not imported here: importing it prints, which its backend must keep off standard output.
pytestmark = pytest.mark.skipif(find_spec("MNN") is None, reason="MNN is not installed")


class TestMnn(BackendContract):
    lacks = "Hardmax"

    @staticmethod
    def make() -> Backend:
        return Mnn()


def test_two_threads_give_the_same_outputs() -> None:
    TestMnn().test_outputs_equal_the_reference(Mnn(threads=2), 1)


def test_precisions_that_the_processor_lacks_are_an_error() -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("MNN has lower precisions on this processor")
    with pytest.raises(ValueError, match="MNN cannot compute in f16 on this processor; set precision to f32"):
        Mnn(precision="f16").prepare(timing_graph(every_operator()))
    with pytest.raises(ValueError, match="did you mean 'f16'"):
        Mnn(precision="fp16")


def test_the_part_that_installs_packages_is_never_imported() -> None:
    program = (
        "import sys; from latency_predictors.devices.mnn import Mnn; from nas.testing.backends import every_operator;"
        "from latency_predictors.devices.timing_graph import timing_graph; Mnn().prepare(timing_graph(every_operator()));"
        "assert 'MNN' in sys.modules and not any(name.startswith('MNN.tools') for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b""


def test_missing_mnn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MNN", None)
    with pytest.raises(ModuleNotFoundError, match="pip install MNN"):
        Mnn().prepare(b"")
