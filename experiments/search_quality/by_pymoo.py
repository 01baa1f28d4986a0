"""NSGA-II of pymoo (Blank and Deb, IEEE Access 2020), as a reference that is not ours."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from experiments.search_quality.searches import Plan, Trace
from experiments.search_quality.task import Task, Values
from nas.errors import UsageError
from nas.options import check_options
from nas.progress import Advance
from search_spaces.space import Codes


class NSGAII:
    """Integer variables, one for each choice; uniform crossover; a mutation draws a choice anew, one in the mean.

    Args:
        population: size of a generation.
    """

    def __init__(self, population: int = 20) -> None:
        self.population = population

    def algorithm(self) -> Any:
        """Pymoo's algorithm.

        Raises:
            UsageError: when pymoo is not installed.
        """
        try:
            from pymoo.algorithms.moo.nsga2 import NSGA2
            from pymoo.core.mutation import Mutation
            from pymoo.operators.crossover.ux import UX
            from pymoo.operators.sampling.rnd import IntegerRandomSampling
        except ImportError as error:
            raise UsageError(f"pymoo is not installed ({error}): pip install pymoo") from error

        class Drawn(Mutation):  # type: ignore[misc]
            def _do(self, problem: Any, X: Any, *, random_state: np.random.Generator, **_: Any) -> Any:
                drawn = random_state.integers(problem.xl, problem.xu + 1, X.shape)
                return np.where(random_state.random(X.shape) < 1 / X.shape[1], drawn, X)

        return NSGA2(pop_size=self.population, sampling=IntegerRandomSampling(), crossover=UX(), mutation=Drawn())


class Evaluated:
    """What was evaluated, in its order, equal networks once.

    Args:
        task: that is searched.
        plan: how.
    """

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task, self.limits = task, plan.limits(task)
        self.rows: dict[bytes, Values] = {}
        self.asked, self.cpu_s = 0, 0.0

    def __call__(self, codes: Codes) -> dict[str, Values]:
        """Objectives `F` and constraints `G` of some networks, as pymoo names them."""
        start = time.process_time()
        codes = self.task.space.canonical(codes)
        values = self.task.values(codes)
        self.cpu_s += time.process_time() - start
        self.asked += len(codes)
        for row, value in zip(codes, values, strict=True):
            self.rows.setdefault(row.tobytes(), value)
        missed = [[limit.violation(-accuracy) for limit in self.limits] for accuracy in values[:, 0]]
        return {"F": values, **({"G": np.array(missed)} if self.limits else {})}


def search(task: Task, plan: Plan, seed: int, advance: Advance | None = None) -> Trace:
    """As `searches.search`; there is no study. It ends early when ten budgets of repeats brought too few new networks.

    Raises:
        UsageError: when pymoo is not installed, or an option is wrong.
    """
    options = check_options(f"sampler {plan.sampler!r}", NSGAII, plan.options)
    algorithm = NSGAII(**options).algorithm()
    from pymoo.core.problem import Problem

    start = time.process_time()
    evaluated = Evaluated(task, plan)
    highest = np.array([len(choice.options) - 1 for choice in task.space.choices])

    class Networks(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            constraints = len(evaluated.limits)
            super().__init__(len(highest), n_obj=2, n_ieq_constr=constraints, xl=0 * highest, xu=highest, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out.update(evaluated(np.asarray(x, dtype=np.int64)))

    algorithm.setup(Networks(), termination=("n_eval", 10 * plan.budget), seed=seed)
    while len(evaluated.rows) < plan.budget and algorithm.has_next():
        algorithm.next()
        if advance is not None:
            advance(min(len(evaluated.rows), plan.budget), plan.budget)
    values = np.array(list(evaluated.rows.values())[: plan.budget])
    return Trace(values, evaluated.asked, time.process_time() - start - evaluated.cpu_s)
