"""What a person is told of a search: while it goes on, and when it ends otherwise than planned."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from nas.config import load
from nas.errors import CheckFailed
from nas.progress import Reporter
from nas.runs import Run
from nas.search.evaluation import Evaluator
from nas.stages import Stages
from search_spaces import Architecture

TINY = Path(__file__).parents[1] / "e2e" / "tiny.yaml"


@pytest.fixture
def search(finished: Path, tmp_path: Path) -> Callable[..., str]:
    """Searches with the supernet of a finished run; gives what was said."""
    path = tmp_path / "run"
    shutil.copytree(finished, path, ignore=shutil.ignore_patterns("study.*", "config.yaml", "exports"))

    def search(*overrides: str) -> str:
        said, reporter = io.StringIO(), Reporter()
        reporter.console = Console(file=said, width=200)
        try:
            Stages(Run(path), load(TINY, overrides), reporter).search()
        finally:
            said.seek(0)
        return said.read()

    return search


def test_front_and_hypervolume_are_told(search: Callable[..., str]) -> None:
    (line,) = [line for line in search("search.evaluations=6").splitlines() if line.startswith("search: done")]
    assert line.split(", ")[1].startswith("front ")
    assert 0 < float(line.rpartition("hypervolume ")[2]) <= 1


def test_stopped_evaluations_are_told(search: Callable[..., str]) -> None:
    overrides = ("search.objectives=[accuracy,macs_m]", "search.evaluations=14")
    lines = search(*overrides, "search.stopping_risk=0.01").splitlines()
    (line,) = [line for line in lines if "stopped early" in line]
    assert re.fullmatch(
        r"\d+ of 14 networks were stopped early, as they could not enter the front: "
        r"after \d\d% of the validation images on average",
        line,
    )


def test_failures_are_told(search: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, seen = Evaluator.evaluate, list[Architecture]()

    def fail(self: Evaluator, architecture: Architecture) -> float:
        seen.append(architecture)
        if architecture in seen[2:4]:
            raise RuntimeError("out of memory")
        return evaluate(self, architecture)

    monkeypatch.setattr(Evaluator, "evaluate", fail)
    assert "\n1 network could not be evaluated: RuntimeError: out of memory\n" in search(
        "search.evaluations=4", "search.attempts=2"
    )


def test_a_hopeless_search_is_told(search: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Evaluator, architecture: Architecture) -> float:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Evaluator, "evaluate", fail)
    with pytest.raises(CheckFailed, match=r"5 networks in a row .*: RuntimeError: out of memory"):
        search()


def test_patience_is_told(search: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, architecture: 0.5)
    overrides = ("search.objectives=[accuracy,macs_m]", "search.evaluations=50", "search.patience=2")
    said = search(*overrides)
    # The first network is the smallest one: two generations of six after its own bring nothing.
    assert "the search ended after 18 networks: 2 batches brought no gain of hypervolume (search.patience)" in said
    assert "ended" not in search(*overrides[:1], "search.evaluations=18", "search.patience=2")
