"""The best architecture within limits, exactly, when scores and costs are sums over parts of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from nas.errors import CheckFailed
from nas.search.additive.sums import Additive
from nas.search.program_variables import Variables
from search_spaces.space import Codes, nearest

Values = NDArray[np.float64]

#: The solver's tolerances are absolute (1e-6): the score and the costs are scaled to this span, so that a limit holds
#: within 1e-9 of the span of its cost.
SPAN = 1000.0


class Infeasible(CheckFailed):
    """No architecture keeps the limits."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver found.

    Attributes:
        codes: the architecture, shape (1, choices).
        score: its score.
        bound: no architecture within the limits has a higher score; the score itself unless time ran out.
        costs: its costs by name.
    """

    codes: Codes
    score: float
    bound: float
    costs: Mapping[str, float]


class IntegerProgram:
    """Maximises a score within limits on costs, as Puzzle (Bercovich et al., 2024) and HAWQ-V3 (Yao et al., ICML 2021).

    There is a binary variable for every option of every choice, and one between 0 and 1 for every variant of every
    table of the sums, whose sums over the variants with an option equal the variable of that option: with binary
    options exactly one variant of each table is 1, that of the chosen options. Choices that have no effect take
    their first option. Variants and options that differ in no table are one. Solved by HiGHS (Huangfu and Hall,
    Mathematical Programming Computation 2018) to a gap of zero.

    Args:
        score: what is maximised.
        costs: what may be limited, by name.
        seconds: after which the solver stops with the best that it has found, for each architecture.

    Raises:
        ValueError: when scores and costs are of different spaces.
    """

    def __init__(self, score: Additive, costs: Mapping[str, Additive], seconds: float = 60.0) -> None:
        if any(cost.space.fingerprint != score.space.fingerprint for cost in costs.values()):
            raise ValueError("the score and the costs of an integer program must be of one space")
        self.space, self.score, self.costs, self.seconds = score.space, score, dict(costs), seconds
        self._variables = Variables(score.space, [score, *costs.values()])

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(self._variables.weights.shape[1])

    def best(self, limits: Mapping[str, float], excluded: Codes | None = None) -> Solution:
        """The architecture with the highest score.

        Args:
            limits: largest values of costs, by name; costs without one are free.
            excluded: architectures that are not wanted, shape (n, choices).

        Raises:
            Infeasible: when no architecture keeps the limits.
            CheckFailed: when the solver has found none in its time.
            ValueError: when there is no cost of a name.
        """
        barred = np.zeros((0, len(self.space.choices)), dtype=np.int64) if excluded is None else excluded
        variables, scale = self._variables, SPAN / (self.score.span or 1.0)
        constraints = [*variables.constraints, *(self._limit(*limit) for limit in limits.items())]
        if len(barred):
            picked = variables.picked(self.space.canonical(barred))
            constraints.append(LinearConstraint(picked, -np.inf, picked.sum(axis=1) - 1))
        result = milp(
            -scale * variables.weights[0],
            integrality=variables.integrality,
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "time_limit": self.seconds},
        )
        if result.status == _INFEASIBLE:
            raise Infeasible(self._why(limits, barred))
        if result.x is None:
            raise CheckFailed(
                f"the integer program found no architecture in {self.seconds:g} s: give it more time ({result.message})"
            )
        codes = variables.codes(result.x)
        score = float(self.score(codes)[0])
        bound = float(variables.constants[0] - result.mip_dual_bound / scale)
        costs = {name: float(cost(codes)[0]) for name, cost in self.costs.items()}
        return Solution(codes, score, max(score, bound), costs)

    def front(self, name: str, limits: Sequence[float], others: Mapping[str, float] | None = None) -> list[Solution]:
        """The best architecture at each of several limits on the cost `name`, in the order of the limits.

        Args:
            name: of the cost.
            limits: of it.
            others: limits on other costs.

        Raises:
            Infeasible: when no architecture keeps one of them.
        """
        return [self.best({**(others or {}), name: limit}) for limit in limits]

    def least(self, name: str, limits: Mapping[str, float] | None = None) -> float:
        """The least value of a cost that any architecture within `limits` has.

        Raises:
            Infeasible: when no architecture keeps the limits.
        """
        return IntegerProgram(-self.costs[name], self.costs, self.seconds).best(limits or {}).costs[name]

    def _limit(self, name: str, limit: float) -> LinearConstraint:
        names = list(self.costs)
        if name not in self.costs:
            raise ValueError(f"there is no cost {name!r}{nearest(name, names)}; there are {', '.join(names)}")
        number = 1 + names.index(name)
        scale = SPAN / (self.costs[name].span or 1.0)
        free = (limit - self._variables.constants[number]) * scale
        return LinearConstraint(csr_array(self._variables.weights[number][None] * scale), -np.inf, free)

    def _why(self, limits: Mapping[str, float], barred: Codes) -> str:
        text = " and ".join(f"{name} <= {limit:.6g}" for name, limit in limits.items())
        if len(barred) or not limits:
            return f"no other architecture of space {self.space.name!r} keeps {text or 'the limits'}"
        least = ", ".join(f"{name} {self.least(name):.6g}" for name in limits)
        return f"no architecture of space {self.space.name!r} keeps {text}: the least that there is, each alone, is {least}"


#: Status of `scipy.optimize.milp`.
_INFEASIBLE = 2
