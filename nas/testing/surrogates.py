"""The contract of a surrogate: honest uncertainty, from few evaluated networks or from values of any size."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.surrogate import Surrogate, Values
from search_spaces import SearchSpace
from search_spaces.space import Choice, Codes

Known = tuple[Described, Values]


def many_choices(n: int = 12) -> SearchSpace:
    """A space of `n` choices of four options each, without networks."""
    return SearchSpace("many choices", tuple(Choice(f"choice{i}", (1, 2, 3, 4)) for i in range(n)), ())


def smooth(codes: Codes) -> Values:
    """A sum over the choices with an interaction, and a little noise that belongs to the network; shape (n,)."""
    effects = np.random.default_rng(3).standard_normal((codes.shape[1], 4))
    noise = np.random.default_rng(codes.sum() + 1).normal(0, 0.5, len(codes))
    total = effects[np.arange(codes.shape[1]), codes].sum(1)
    return np.asarray(50 + 5 * total + 4 * (codes[:, 0] == codes[:, 3]) + noise)


class SurrogateContract:
    """Subclass it as `TestMySurrogate` with a `kind`.

    Attributes:
        kind: the class.
        error: the highest error, as a share of the deviation of the values, of what is nearly a sum over 12 choices,
            when 200 networks are known.
    """

    kind: ClassVar[type[Surrogate]]
    error: ClassVar[float] = 0.5

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return many_choices()

    @pytest.fixture(scope="class")
    @classmethod
    def describe(cls, space: SearchSpace) -> Descriptors:
        return Descriptors(space)

    @pytest.fixture(scope="class")
    @classmethod
    def known(cls, space: SearchSpace, describe: Descriptors) -> Known:
        codes = space.random_codes(200, np.random.default_rng(0))
        return describe(codes), smooth(codes)

    @pytest.fixture(scope="class")
    @classmethod
    def new(cls, space: SearchSpace, describe: Descriptors) -> Known:
        codes = np.unique(space.random_codes(300, np.random.default_rng(1)), axis=0)
        return describe(codes), smooth(codes)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, known: Known) -> Surrogate:
        return cls.kind(*known)

    def test_it_predicts_better_than_the_mean_and_says_how_well(self, model: Surrogate, new: Known) -> None:
        networks, values = new
        mean, deviation = model.predict(networks)
        residual = values - mean
        assert np.sqrt((residual**2).mean()) < self.error * values.std()
        covered = (np.abs(residual) < 1.645 * deviation).mean()
        assert 0.8 < covered < 0.98  # 90 % are meant

    def test_joint_agrees_with_the_single_predictions(self, model: Surrogate, new: Known) -> None:
        mean, deviation = model.predict(new[0])
        exact, covariance = model.joint(new[0])
        np.testing.assert_allclose(exact, mean, rtol=1e-4)
        ratio = deviation / np.sqrt(np.diag(covariance))
        assert ratio.min() > 1 - 5e-3
        assert ratio.max() < 1.5

    def test_covariance_is_one(self, model: Surrogate, new: Known) -> None:
        """Symmetric, positive definite."""
        covariance = model.joint(new[0])[1]
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-4 * covariance.max())
        assert np.linalg.eigvalsh(covariance).min() > 0

    def test_likely_neighbours_go_together(self, model: Surrogate, space: SearchSpace, describe: Descriptors) -> None:
        """Networks that differ in one choice are correlated more than networks that differ in most."""
        codes = space.random_codes(40, np.random.default_rng(4))
        near = codes.copy()
        near[:, 7] = (near[:, 7] + 1) % 4
        covariance = model.joint(describe(np.concatenate([codes, near])))[1]
        deviation = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(deviation, deviation)
        pairs = np.diag(correlation[:40, 40:])
        assert pairs.mean() > np.abs(correlation[:40, :40])[~np.eye(40, dtype=bool)].mean()

    def test_it_depends_on_its_arguments_alone(self, model: Surrogate, known: Known, new: Known) -> None:
        again = self.kind(*known)
        np.testing.assert_array_equal(again.predict(new[0]), model.predict(new[0]))
        np.testing.assert_array_equal(again.joint(new[0])[1], model.joint(new[0])[1])
        few = np.arange(5)
        np.testing.assert_allclose(model.predict(new[0].take(few)), np.stack(model.predict(new[0]))[:, few], rtol=1e-3)

    def test_units_of_the_values_do_not_matter(self, model: Surrogate, known: Known, new: Known) -> None:
        """Powers of two change no rounding."""
        mean, deviation = model.predict(new[0])
        scaled = self.kind(known[0], known[1] * 2**20).predict(new[0])
        np.testing.assert_allclose(scaled, np.stack([mean, deviation]) * 2**20, rtol=1e-6)

    @pytest.mark.parametrize("values", [np.full(5, 0.1), np.zeros(5), np.array([1e9, 1e9, 1e9, 1e9, 2e9])])
    def test_values_without_spread_or_of_any_size(self, values: Values, new: Known) -> None:
        model = self.kind(new[0].take(np.arange(5)), values)
        mean, deviation = model.predict(new[0])
        assert np.isfinite([mean, deviation]).all()
        assert (deviation >= 0).all()
        assert np.isfinite(model.joint(new[0])[1]).all()
        np.testing.assert_allclose(mean, values.mean(), atol=2 * np.ptp(values) + 1e-6)

    def test_two_networks_are_enough(self, new: Known) -> None:
        model = self.kind(new[0].take(np.arange(2)), np.array([1.0, 3.0]))
        mean, deviation = model.predict(new[0])
        assert (deviation > 0).all()
        assert (np.abs(mean - 2) < 1 + 3 * deviation).all()

    def test_equal_networks_with_different_values(self, new: Known) -> None:
        """Many of one kind, so that a model may draw from them."""
        values = np.tile([1.0, 3.0], 20)
        mean, _ = self.kind(new[0].take(np.zeros(40, dtype=int)), values).predict(new[0].take(np.arange(1)))
        assert mean[0] == pytest.approx(2, abs=0.3)
