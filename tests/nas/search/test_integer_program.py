"""The integer program against enumeration of small spaces, and against searches of large ones."""

from __future__ import annotations

import numpy as np
import pytest
from additive_truths import random_scores

import search_spaces
from nas.search.additive import Additive, decompose
from nas.search.feasibility import all_codes
from nas.search.integer_program import Infeasible, IntegerProgram
from search_spaces import Choice, SearchSpace, Slot
from search_spaces.space import Codes

#: Every architecture of these is gone through.
ENUMERATED = {
    "accel-nasbench": {},
    "convnet": {
        "resolutions": [8, 16], "in_channels": 1, "stem": 8, "widths": [[12, 16], [16, 24]], "strides": [1, 2],
        "depths": [[1, 2], [1]], "group_width": 4,
    },
    "fbnet": {"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "strides": [1, 1, 2, 1]},
    "hat": {"encoder_layers": 1, "decoder_layers": [1, 2], "ffn": [64, 128], "heads": [2, 4], "ende_layers": [1]},
    "mobilenetv3": {
        "resolutions": [32, 48], "widths": [8, 16], "strides": [2, 2], "activations": ["relu", "relu"],
        "squeeze_excite": [False, True], "depths": [1, 2], "expansions": [3, 4],
    },
    "nasbench201": {"cells": 1},
}  # fmt: skip


def small_version(name: str) -> SearchSpace:
    return search_spaces.get(name, **ENUMERATED[name])


@pytest.mark.parametrize("slots", [False, True], ids=["choices", "slots"])
@pytest.mark.parametrize("name", sorted(set(ENUMERATED) - {"accel-nasbench"}))
def test_the_front_is_that_of_enumeration(name: str, slots: bool) -> None:
    space = small_version(name)
    codes = all_codes(space)
    cost = decompose(space, lambda some: space.macs(some, space.phases[-1]))
    score = random_scores(space, 1, slots)
    costs, scores = cost(codes), score(codes)
    limits = np.quantile(costs, [0, 0.001, 0.01, 0.1, 0.3, 0.6, 1])
    program = IntegerProgram(score, {"macs": cost})
    for limit, solution in zip(limits, program.front("macs", limits.tolist()), strict=True):
        best = scores[costs <= limit].max()
        assert solution.score == pytest.approx(best, abs=1e-9)
        assert solution.bound == pytest.approx(best, abs=1e-7 * score.span)
        assert solution.bound >= solution.score
        assert solution.costs["macs"] <= limit * (1 + 1e-9)
        assert score(solution.codes)[0] == solution.score
        np.testing.assert_array_equal(space.canonical(solution.codes), solution.codes)


@pytest.mark.parametrize("name", ["convnet", "mobilenetv3"])
def test_two_limits_and_a_lower_one(name: str) -> None:
    space = small_version(name)
    codes = all_codes(space)
    functions = {"macs": space.macs, "parameters": space.parameters}
    costs = {key: decompose(space, function) for key, function in functions.items()}
    costs["-macs"] = -costs["macs"]
    score = random_scores(space, 2, True)
    values = {key: cost(codes) for key, cost in costs.items()}
    program = IntegerProgram(score, costs)
    seen = set()
    for share in (0.2, 0.4, 0.6, 0.8):
        limits = {
            "macs": np.quantile(values["macs"], share),
            "parameters": np.quantile(values["parameters"], 1 - share),
            "-macs": -np.quantile(values["macs"], share / 4),
        }
        kept = np.all([values[key] <= limit for key, limit in limits.items()], axis=0)
        best = codes[kept][score(codes)[kept].argmax()]
        solution = program.best(limits)
        assert solution.score == pytest.approx(score(best[None])[0], abs=1e-9)
        seen.add(solution.codes.tobytes())
    assert len(seen) > 1


def test_the_best_ones_in_order(tiny: SearchSpace) -> None:
    codes = all_codes(tiny)
    score = random_scores(tiny, 4, True)
    program = IntegerProgram(score, {})
    found = np.zeros((0, codes.shape[1]), dtype=np.int64)
    for expected in np.sort(score(codes))[::-1]:
        solution = program.best({}, found)
        assert solution.score == pytest.approx(expected, abs=1e-9)
        found = np.concatenate([found, solution.codes])
    assert len(np.unique(found, axis=0)) == tiny.size
    with pytest.raises(Infeasible, match="no other architecture"):
        program.best({}, found)


def test_requirements_of_requirements() -> None:
    """A chain of three, where the first option of the middle one allows the last one."""
    choices = (
        Choice("a", (0, 1, 2)),
        Choice("b", (0, 1, 2), requires=("a", (1, 2))),
        Choice("c", (0, 1, 2), requires=("b", (0, 2))),
    )
    space = SearchSpace("chain", choices, (Slot("one", ("a", "b", "c"), lambda values, phase: None),))
    codes = all_codes(space)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        tables = {(0, 1, 2): rng.normal(size=(3, 3, 3)), (1,): rng.normal(size=3), (2,): rng.normal(size=3)}
        score = Additive(space, 0.0, tables)
        cost = Additive(space, 1.0, {(0, 2): rng.normal(size=(3, 3))})
        limit = float(np.quantile(cost(codes), 0.4))
        best = score(codes)[cost(codes) <= limit].max()
        assert IntegerProgram(score, {"cost": cost}).best({"cost": limit}).score == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("size", [1e-6, 1e-8, 1e-9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_costs_that_differ_by_less_than_the_tolerance_of_the_solver(size: float, sign: float) -> None:
    """One choice costs 1 (or saves it, which the score forbids), eleven next to nothing: limits hold within 1e-9."""
    choices = tuple(Choice(f"c{i}", (0, 1)) for i in range(12))
    space = SearchSpace("near", choices, (Slot("one", ("c0",), lambda values, phase: None),))
    codes, rng = all_codes(space), np.random.default_rng(0)
    cost = Additive(space, 0.0, {(i,): np.array([0.0, size * rng.random() if i else sign]) for i in range(12)})
    score = Additive(space, 0.0, {(i,): np.array([0.0, rng.random() if i else -1e4]) for i in range(12)})
    costs, scores = cost(codes), score(codes)
    for limit in np.quantile(costs[np.abs(costs) < 0.5], [0.1, 0.3, 0.7]):
        solution = IntegerProgram(score, {"cost": cost}).best({"cost": float(limit)})
        assert solution.costs["cost"] <= limit + 1e-9
        assert scores[costs <= limit].max() - 1e-6 <= solution.score <= scores[costs <= limit + 1e-9].max() + 1e-6
        assert scores[costs <= limit].max() - 1e-6 <= solution.bound


def evolved(program: IntegerProgram, limit: float, rng: np.random.Generator) -> Codes:
    """The best architecture that an evolutionary search of 25,000 candidates finds within a limit on `macs`."""
    space = program.space
    codes = np.concatenate([space.codes([space.smallest()]), space.random_codes(5000, rng)])
    for _ in range(40):
        value = np.where(program.costs["macs"](codes) <= limit, program.score(codes), -np.inf)
        parents = codes[np.argsort(-value)[:50]]
        a, b = (parents[rng.integers(len(parents), size=500)] for _ in range(2))
        codes = np.concatenate([parents, space.mutate(space.crossover(a, b, rng), 1.5 / len(space.choices), rng)])
    return parents[:1]


@pytest.mark.parametrize(
    ("name", "options"),
    [("convnet", {}), ("fbnet", {}), ("mobilenetv3", {"resolutions": [160, 192, 224]})],
)
def test_nothing_that_a_search_finds_is_better(name: str, options: dict[str, list[int]]) -> None:
    """A good search comes near the optimum, never above; costs are those of the workload."""
    space = search_spaces.get(name, **options)
    program = IntegerProgram(random_scores(space, 0, False), {"macs": decompose(space, space.macs)})
    rng = np.random.default_rng(1)
    draws = space.macs(space.random_codes(2000, rng))
    for share in (0.05, 0.5):
        limit = float(np.quantile(draws, share))
        solution, rival = program.best({"macs": limit}), evolved(program, limit, rng)
        assert solution.costs["macs"] == pytest.approx(space.macs(solution.codes)[0], rel=1e-9)
        assert space.macs(solution.codes)[0] <= limit * (1 + 1e-9)
        assert space.macs(rival)[0] <= limit
        assert program.score(rival)[0] <= solution.score + 1e-9
        assert program.score(rival)[0] > 0.8 * solution.score
        assert solution.bound == pytest.approx(solution.score, rel=1e-6)


def test_impossible_limits_are_one_plain_sentence(tiny: SearchSpace) -> None:
    program = IntegerProgram(random_scores(tiny, 0, True), {"macs": decompose(tiny, tiny.macs)})
    least = tiny.macs(all_codes(tiny)).min()
    assert program.least("macs") == pytest.approx(least)
    with pytest.raises(Infeasible) as caught:
        program.best({"macs": 0.5 * least})
    assert "\n" not in str(caught.value)
    for part in ("macs <= ", f"{0.5 * least:.6g}", f"macs {least:.6g}", "convnet"):
        assert part in str(caught.value)


def test_limits_that_exclude_each_other(tiny: SearchSpace) -> None:
    cost = decompose(tiny, tiny.macs)
    program = IntegerProgram(random_scores(tiny, 0, True), {"macs": cost, "-macs": -cost})
    middle = float(np.median(tiny.macs(all_codes(tiny))))
    with pytest.raises(Infeasible, match="each alone"):
        program.best({"macs": 0.9 * middle, "-macs": -1.1 * middle})


def test_unknown_costs_and_other_spaces(tiny: SearchSpace, small: SearchSpace) -> None:
    program = IntegerProgram(random_scores(tiny, 0, True), {"macs": decompose(tiny, tiny.macs)})
    with pytest.raises(ValueError, match=r"there is no cost 'mac' .did you mean 'macs'"):
        program.best({"mac": 1.0})
    with pytest.raises(ValueError, match="of one space"):
        IntegerProgram(random_scores(small, 0, True), {"macs": decompose(tiny, tiny.macs)})


def test_a_solver_without_time_says_so() -> None:
    space = search_spaces.get("fbnet")
    cost = random_scores(space, 1, True)
    with pytest.raises(Exception, match="give it more time"):
        IntegerProgram(random_scores(space, 0, True), {"x": cost}, seconds=0.0).best(
            {"x": cost.constant + cost.span / 4}
        )
