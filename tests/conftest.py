"""What tests of several folders use: one thread, a finished tiny run, and a time after which no further test begins."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

import nas

TINY = Path(__file__).parent / "e2e" / "tiny.yaml"

#: For machines on which all tests take too long; seconds since 1970, as `date +%s` gives them.
DEADLINE = "NASMYTH_TEST_DEADLINE"
LATE = f"the time for tests is over ({DEADLINE})"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.time() > float(os.environ.get(DEADLINE, "inf")):
        pytest.skip(LATE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    late = [report for report in terminalreporter.stats.get("skipped", []) if LATE in str(report.longrepr)]
    if late:
        files = sorted({report.nodeid.partition("::")[0] for report in late})
        terminalreporter.write_line(f"{len(late)} tests were not run, {LATE}: {' '.join(files)}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks and matrices this small are slower on many threads, and some tests fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # of the processes that tests start
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees or changes the user's own devices and measurements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASMYTH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nobody may change."""
    result = nas.run(TINY, f"directory={tmp_path_factory.mktemp('finished')}")
    assert result.verification.passed, result.verification.document()
    return result.path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))
