"""The surrogates: their contract, scikit-learn's own predictions, and which one is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from sklearn.linear_model import BayesianRidge

from nas.search.surrogates import choice
from nas.search.surrogates.choice import Kind, chosen, log_density
from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.gaussian_process import GaussianProcess
from nas.search.surrogates.random_forest import COLUMNS, TREES, RandomForest
from nas.search.surrogates.ridge_ensemble import GROUPS, LEAST, STRENGTHS, RidgeEnsemble
from nas.search.surrogates.surrogate import Values, standardised
from nas.testing.surrogates import Known, SurrogateContract, many_choices, smooth
from search_spaces.space import Codes


class TestGaussianProcess(SurrogateContract):
    kind = GaussianProcess
    error = 0.3


class TestRidgeEnsemble(SurrogateContract):
    kind = RidgeEnsemble
    error = 0.35

    def test_it_is_the_mixture_of_linear_processes(self, known: Known, new: Known) -> None:
        """Each member by scikit-learn: a Gaussian process with a linear covariance, its likelihood, its posterior."""
        described, values = known[0].take(np.arange(60)), known[1][:60]
        standard = (values - values.mean()) / values.std()
        evidence, means, covariances = [], [], []
        for groups in GROUPS:
            x, fresh = (np.concatenate(part.groups[:groups], axis=1).astype(float) for part in (described, new[0]))
            x, fresh = x - x.mean(0), fresh - x.mean(0)
            for strength in STRENGTHS:
                unit = strength * x @ x.T + np.eye(len(x))
                noise = float(standard @ np.linalg.solve(unit, standard)) / len(x)
                kernel = ConstantKernel(noise * strength, "fixed") * DotProduct(1e-9, "fixed")
                process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(x, standard)
                mean, covariance = process.predict(fresh, return_cov=True)
                evidence.append(process.log_marginal_likelihood())
                means.append(mean)
                covariances.append(covariance + noise * np.eye(len(fresh)))
        shares = np.exp(np.array(evidence) - logsumexp(evidence))
        shares = np.where(shares >= LEAST, shares, 0)
        shares /= shares.sum()
        assert (shares > 0).sum() > 1
        expected = shares @ np.array(means)
        apart = np.array(means) - expected
        covariance = np.einsum("m,mij->ij", shares, covariances) + np.einsum("m,mi,mj->ij", shares, apart, apart)
        found, joint = RidgeEnsemble(described, values).joint(new[0])
        np.testing.assert_allclose(found, expected * values.std() + values.mean(), rtol=1e-5)
        np.testing.assert_allclose(joint, covariance * values.var(), rtol=1e-4, atol=1e-5 * joint.max())

    def test_it_finds_what_evidence_maximisation_finds(self, known: Known, new: Known) -> None:
        """scikit-learn's, of the choices alone: the same predictions but for a small part of their deviation."""
        x, fresh = (part[0].groups[0].astype(float) for part in (known, new))
        expected, deviation = BayesianRidge().fit(x, known[1]).predict(fresh, return_std=True)
        mean, own = RidgeEnsemble(*known).predict(new[0])
        assert np.sqrt(((mean - expected) ** 2).mean()) < 0.3 * deviation.mean()
        np.testing.assert_allclose(own.mean(), deviation.mean(), rtol=0.15)


class TestRandomForest(SurrogateContract):
    kind = RandomForest
    error = 0.75

    def test_mean_and_covariance_are_those_of_the_trees(self, known: Known, new: Known) -> None:
        """The mean is scikit-learn's; the covariance is that between the trees times a factor, plus noise: in such a way
        that squared errors of the out-of-bag predictions are on the average what is expected."""
        x, fresh = (np.concatenate(part[0].groups, axis=1) for part in (known, new))
        values, center, scale = standardised(known[1])  # rounding decides between splits that are equally good
        forest = RandomForestRegressor(TREES, max_features=COLUMNS, random_state=0).fit(x, values)
        model = RandomForest(*known)
        mean, deviation = model.predict(new[0])
        np.testing.assert_allclose(mean, forest.predict(fresh) * scale + center, rtol=1e-9)
        deviation /= scale

        between = np.cov([tree.predict(fresh) for tree in forest.estimators_], rowvar=False)
        columns = np.stack([np.diag(between), np.ones(len(fresh))], axis=1)
        (factor, noise), residual, *_ = np.linalg.lstsq(columns, deviation**2, rcond=None)
        assert residual < 1e-9 * (deviation**4).sum()
        assert factor >= 0
        assert noise > 0
        joint = model.joint(new[0])[1] / scale**2
        np.testing.assert_allclose(joint, factor * between + noise * np.eye(len(fresh)), atol=1e-9)
        ratios = []
        for row in range(len(x)):
            out = [t for t, drawn in enumerate(forest.estimators_samples_) if row not in drawn]
            found = [forest.estimators_[t].predict(x[row : row + 1])[0] for t in out]
            if len(found) > 1:
                ratios.append((values[row] - np.mean(found)) ** 2 / (factor * np.var(found, ddof=1) + noise))
        assert len(ratios) > 190
        assert np.mean(ratios) == pytest.approx(1, rel=0.02)


# ---------------------------------------------------------------------- choice

SPACE = many_choices(30)
DESCRIBE = Descriptors(SPACE)


def linear(codes: Codes) -> Values:
    effects = np.random.default_rng(5).standard_normal((codes.shape[1], 4))
    return np.asarray(effects[np.arange(codes.shape[1]), codes].sum(1))


def steps(codes: Codes) -> Values:
    """What four of the thirty choices say together."""
    a, b, c, d = (codes[:, column] for column in (2, 9, 17, 25))
    return np.asarray(np.where(a < 2, np.where(b < 2, 0.0, 5.0), np.where(c < 2, 9.0, np.where(d < 2, 2.0, 14.0))))


def evaluated(truth: object, n: int, seed: int = 0) -> tuple[Described, Values]:
    assert callable(truth)
    codes = SPACE.random_codes(n, np.random.default_rng(seed))
    return DESCRIBE(codes), truth(codes) + np.random.default_rng(1).normal(0, 0.3, n)


def in_time(n: int) -> NDArray[np.intp]:
    """The best networks are not the latest ones."""
    return np.random.default_rng(2).permutation(n)


@pytest.mark.parametrize("seed", range(3))
def test_a_forest_for_steps_and_something_smooth_for_sums(seed: int) -> None:
    assert chosen(*evaluated(steps, 200, seed), in_time(200)) is RandomForest
    assert chosen(*evaluated(linear, 200, seed), in_time(200)) is RidgeEnsemble  # a sum is what it stands for


@pytest.mark.parametrize("kind", choice.SURROGATES.values())
def test_density_is_that_of_networks_that_were_left_out(kind: Kind) -> None:
    """One part computed by itself; a network's own value is not used for its prediction."""
    known, values = evaluated(linear, 60)
    parts = [np.arange(60) % 3 == fold for fold in range(3)]
    density = log_density(kind, known, values, parts)
    held = parts[1]
    mean, covariance = kind(known.take(~held), values[~held]).joint(known.take(held))
    np.testing.assert_allclose(density[20:40], norm(mean, np.sqrt(np.diag(covariance))).logpdf(values[held]))
    changed = values.copy()
    changed[1] += 1e3
    again = log_density(kind, known, changed, parts)
    assert again[20] < density[20] - 100
    np.testing.assert_allclose(again[21:40], density[21:40])


def test_the_choice_is_repeated() -> None:
    known, values = evaluated(steps, 200)
    first = chosen(known, values, in_time(200))
    assert chosen(known.take(np.arange(200)), values.copy(), in_time(200)) is first


def test_in_doubt_it_is_the_gaussian_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that nothing explains: whichever is better by chance is not better by much."""
    known, values = evaluated(steps, 200)
    noise = np.random.default_rng(8).standard_normal(200)
    assert chosen(known, noise, in_time(200)) is GaussianProcess
    monkeypatch.setattr(choice, "ERRORS", 1e9)
    assert chosen(known, values, in_time(200)) is GaussianProcess


def test_what_does_not_foresee_is_not_chosen() -> None:
    """A search moves on to an option that it had not tried: a forest says of it what it says of the others, though
    cross-validation, which sees it in all parts, prefers the forest by far."""
    codes = SPACE.random_codes(300, np.random.default_rng(0))
    order = in_time(300)
    late = order >= 225
    codes[:, 0] = np.where(late, 3, codes[:, 0] % 3)
    known, values = DESCRIBE(codes), steps(codes) + 6 * late + np.random.default_rng(1).normal(0, 0.3, 300)

    def gain(parts: list[NDArray[np.bool_]]) -> Values:
        forest, process = (log_density(kind, known, values, parts) for kind in (RandomForest, GaussianProcess))
        return forest - process

    by_parts = gain([np.arange(300) % 3 == fold for fold in range(3)])
    assert by_parts.mean() > 5 * by_parts.std() / np.sqrt(300)
    assert gain([late]).mean() < -1
    assert chosen(known, values, order) is not RandomForest


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_constant_objective(value: float) -> None:
    known, _ = evaluated(linear, 200)
    assert chosen(known, np.full(200, value), in_time(200)) in choice.SURROGATES.values()


def test_the_truth_of_the_contract_has_an_interaction() -> None:
    """Otherwise a linear model would predict it exactly."""
    codes = many_choices().random_codes(2000, np.random.default_rng(0))
    columns = (codes[:, :, None] == np.arange(4)).reshape(2000, -1).astype(float)
    residual = smooth(codes) - columns @ np.linalg.lstsq(columns, smooth(codes), rcond=None)[0]
    assert residual.std() > 1.0
