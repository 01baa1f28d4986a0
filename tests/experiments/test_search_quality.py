"""The benchmark of searches: tables, searches and commands."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from few_shot_tables import with_column, write

import search_spaces
from experiments.search_quality import __main__ as command
from experiments.search_quality import synthetic
from experiments.search_quality.searches import Plan, search
from experiments.search_quality.task import Task, from_table
from nas.search.feasibility import all_codes
from search_spaces.tabular import nasbench201


@pytest.fixture(scope="module")
def table() -> pyarrow.Table:
    """All of NAS-Bench-201 in random order; 3x3 convolutions cost and gain most."""
    space = search_spaces.get("nasbench201")
    rng = np.random.default_rng(0)
    codes = rng.permutation(all_codes(space))
    accuracy = 60 + (codes * rng.uniform(0, 2, 6)).sum(axis=1) + rng.standard_normal(len(codes))
    latency = 1 + (codes * rng.uniform(0, 2, 6)).sum(axis=1)
    return pyarrow.table({"ops": nasbench201.ops_of(codes), "acc": accuracy, "board": latency})


@pytest.fixture(scope="module")
def path(table: pyarrow.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(table, tmp_path_factory.mktemp("full") / "full.parquet")


@pytest.fixture(scope="module")
def task(path: Path) -> Task:
    return from_table("nasbench201", str(path), [], "acc", "board")


def run(path: Path, *arguments: str) -> int:
    given = ["--table", str(path), "--accuracy", "acc", "--latency", "board", "--sampler", "random"]
    return command.main(["--seeds", "1", "--budget", "10", *given, *arguments])


def test_a_look_up_gives_the_row_of_the_table(table: pyarrow.Table, task: Task) -> None:
    rows = np.random.default_rng(1).permutation(len(table))[:500]
    codes = nasbench201.codes_of([table["ops"][int(row)].as_py() for row in rows])
    np.testing.assert_array_equal(task.accuracy(codes), table["acc"].to_numpy()[rows])
    np.testing.assert_array_equal(task.cost(codes), table["board"].to_numpy()[rows])
    assert task.best == table["acc"].to_numpy().max()


def test_a_million_look_ups_take_less_than_a_second(task: Task) -> None:
    codes = task.space.random_codes(1_000_000, np.random.default_rng(0))
    started = time.process_time()
    task.cost(codes)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("sampler", ["random", "nsga2", "local_search"])
def test_a_search_depends_on_its_seed_alone(task: Task, sampler: str) -> None:
    plan = Plan(sampler, {}, 25, region=5.0)
    values = [search(task, plan, seed).values for seed in (0, 1, 0)]
    assert values[0].shape == (25, 2)
    np.testing.assert_array_equal(values[0], values[2])
    assert (values[0] != values[1]).any()
    in_memory = search(task, replace(plan, storage="memory"), 0)
    np.testing.assert_array_equal(in_memory.values, values[0])
    assert in_memory.cpu_s > 0


def test_the_goal_reaches_the_sampler(task: Task) -> None:
    free, aimed = (search(task, Plan("local_search", {}, 150, region, "memory"), 0).values for region in (None, 3.0))
    goal = 3 - task.best
    assert (aimed[:, 0] <= goal).sum() > 1.5 * (free[:, 0] <= goal).sum()


def test_candidates_are_counted(task: Task) -> None:
    """Local search asks of all neighbours of its front whether they keep the limits, random search of its draws."""
    few, many = (search(task, Plan(sampler, {}, 60), 0).candidates for sampler in ("random", "local_search"))
    assert few >= 60
    assert many > few + 500


def test_the_command_prints_one_object_last(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--seeds", "2", "--budget", "130", "--region", "10", "--storage", "memory", "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert (found["sampler"], found["seeds"], found["budget"]) == ("random", 2, 130)
    assert list(found["hypervolume"]) == ["100"]
    assert 0 < found["hypervolume"]["100"] < 1
    assert found["evaluations_to_99"] == {"median": None, "q25": None, "q75": None, "reached": 0}
    assert found["candidates_per_s"] > 0
    assert found["cpu_ms_per_trial"] > 0
    assert "hypervolume of the region" in err


def test_the_synthetic_command(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--sampler", "nsga2", "--seeds", "1", "--budget", "100", "--option", "population=10", "--json"]
    assert synthetic.main([*given, "--storage", "memory"]) == 0
    assert list(json.loads(capsys.readouterr().out)["hypervolume"]) == ["100"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accuracy", "ac"], "has no column 'ac' (did you mean 'acc'?)"),
        (["--latency", "ops"], "column 'ops' is not of numbers"),
        (["--space", "fbnets"], "how a table writes architectures of 'fbnets' is not known"),
        (["--sampler", "nsga"], "there is no sampler 'nsga'"),
        (["--sampler", "nsga2", "--option", "populations=3"], "has no option 'populations'"),
        (["--option", "population"], "--option 'population' is not NAME=VALUE"),
        (["--seeds", "0"], "--seeds and --budget are at least 1"),
        (["--table", "missing.parquet"], "there is no file missing.parquet"),
    ],
)
def test_wrong_use(path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(path, *arguments) == 2
    assert message in capsys.readouterr().err


def test_incomplete_tables_are_refused(table: pyarrow.Table, tmp_path: Path) -> None:
    short = write(table.slice(1), tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="has 15624 rows; a search needs each of the 15625 architectures once"):
        from_table("nasbench201", str(short), [], "acc", "board")
    twice = with_column(table, "ops", np.array([table["ops"][1].as_py(), *table["ops"].to_pylist()[1:]]))
    with pytest.raises(ValueError, match="each of the 15625 architectures once"):
        from_table("nasbench201", str(write(twice, tmp_path / "twice.parquet")), [], "acc", "board")
    holes = with_column(table, "board", np.where(np.arange(len(table)) == 7, np.nan, table["board"].to_numpy()))
    with pytest.raises(ValueError, match="column 'board' has no number in row 7"):
        from_table("nasbench201", str(write(holes, tmp_path / "holes.parquet")), [], "acc", "board")


def test_columns_are_joined(table: pyarrow.Table, tmp_path: Path) -> None:
    accuracies = write(table.select(["ops", "acc"]), tmp_path / "accuracies.parquet")
    latencies = write(table.select(["ops", "board"]).slice(0)[::-1], tmp_path / "latencies.parquet")
    joined = from_table("nasbench201", str(accuracies), [str(latencies)], "acc", "board")
    codes = joined.space.random_codes(100, np.random.default_rng(0))
    direct = from_table("nasbench201", str(write(table, tmp_path / "both.parquet")), [], "acc", "board")
    np.testing.assert_array_equal(joined.values(codes), direct.values(codes))


def test_without_pymoo_it_says_so(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing: Any = None  # what Python takes for a module that cannot be imported
    monkeypatch.setitem(sys.modules, "pymoo", missing)
    assert run(path, "--sampler", "pymoo-nsga2") == 2
    assert "pip install pymoo" in capsys.readouterr().err
