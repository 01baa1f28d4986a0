"""A search that begins with what another run of the same supernet evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import nas
from nas import pipeline
from nas.errors import UsageError
from nas.search.evaluation import Evaluator
from nas.search.fidelity import HITS, STOPPED
from nas.search.metrics import record
from nas.search.storage import load
from nas.search.warm_start import WARM_START
from search_spaces import Architecture

TINY = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
ACCURATE = "search.objectives=[accuracy,macs_m]"


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
    """A run with the supernet of another one, and calibrations of its own."""
    path = tmp_path / "trained"
    path.mkdir()
    for name in ("supernet.safetensors", "training.json"):
        shutil.copy(finished / name, path / name)
    return path


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Architecture]:
    """What is evaluated in the test."""
    found: list[Architecture] = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, one: found.append(one) or evaluate(self, one))
    return found


def test_estimates_are_not_taken_over(finished: Path, trained: Path, tmp_path: Path) -> None:
    """Neither for what a network must beat: which images each of the others got right is taken over with it."""
    staged = tmp_path / "staged"
    shutil.copytree(trained, staged)
    options = (ACCURATE, "search.stopping_risk=0.01")
    known = nas.search(TINY, f"directory={staged}", "search.evaluations=14", *options)
    whole = [one for one in known if one.complete]
    assert 0 < len(whole) < len(known)
    found = nas.search(TINY, f"directory={trained}", "search.evaluations=6", f"search.warm_start={staged}", *options)
    assert [one.architecture for one in found[: len(whole)]] == [one.architecture for one in whole]
    assert len(found) == len(whole) + 6
    trials = load(pipeline.existing_stages(trained).store).get_trials()
    assert any(HITS in trial.user_attrs for trial in trials[: len(whole)])
    assert not any(STOPPED in trial.user_attrs for trial in trials[: len(whole)])


def test_known_accuracies_cost_nothing(finished: Path, trained: Path, evaluated: list[Architecture]) -> None:
    known = pipeline.existing_stages(finished).evaluations()
    warm = (f"search.warm_start={finished}", "search.evaluations=3")
    found = nas.search(TINY, f"directory={trained}", *warm)
    assert len(known) == 12
    assert len(found) == 15
    assert [one.architecture for one in found[12:]] == evaluated
    assert len({one.architecture for one in found}) == 15
    assert [one.architecture for one in found[:12]] == [one.architecture for one in known]
    assert [one.metrics["accuracy"] for one in found[:12]] == [one.metrics["accuracy"] for one in known]

    stages = pipeline.existing_stages(trained)
    cheap = record(stages.metrics, stages.space.codes([one.architecture for one in known]))
    for one, before, metrics in zip(found, known, cheap, strict=False):
        assert one.metrics == pytest.approx({"accuracy": before.metrics["accuracy"], **metrics}, rel=1e-9)
        assert one.metrics["latency_ms.local"] != before.metrics["latency_ms.local"]  # it was measured anew
        assert one.feasible == all(limit.missed_by(one.metrics) <= 0 for limit in stages.limits)
    trials = load(stages.store).get_trials(deepcopy=False)
    assert [trial.values for trial in trials] == [
        [one.metrics["accuracy"], one.metrics["latency_ms.local"]] for one in found
    ]
    assert [trial.user_attrs[WARM_START]["trial"] for trial in trials[:12]] == [one.number for one in known]


def test_known_networks_are_the_first_generation(finished: Path, trained: Path) -> None:
    nas.search(TINY, f"directory={trained}", f"search.warm_start={finished}", "search.evaluations=2")
    trials = load(pipeline.existing_stages(trained).store).get_trials(deepcopy=False)
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in trials]
    assert generations == [0] * 12 + [1] * 2  # a generation has 6 networks


def test_the_other_run_is_not_needed_once_it_is_taken_over(
    finished: Path, trained: Path, tmp_path: Path, evaluated: list[Architecture]
) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    warm = f"search.warm_start={other}"
    first = nas.search(TINY, f"directory={trained}", warm, "search.evaluations=1")
    nas.search(TINY, f"directory={other}", "search.evaluations=14")  # it goes on, which is no matter to this run
    evaluated.clear()
    assert nas.search(TINY, f"directory={trained}", warm, "search.evaluations=1") == first
    shutil.rmtree(other)
    assert nas.search(TINY, f"directory={trained}", warm, "search.evaluations=2")[:13] == first
    assert len(evaluated) == 1


def test_a_process_killed_while_it_takes_over_is_followed_by_one_that_goes_on(
    finished: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.study import Study

    add, left = Study.add_trial, iter(range(5))

    def die(self: Study, trial: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        add(self, trial)  # type: ignore[arg-type]

    warm = (f"search.warm_start={finished}", "search.evaluations=1", ACCURATE)
    with monkeypatch.context() as patch:
        patch.setattr(Study, "add_trial", die)
        with pytest.raises(KeyboardInterrupt):
            nas.search(TINY, f"directory={trained}", *warm)
    assert len(pipeline.existing_stages(trained).evaluations()) == 5
    shutil.copytree(trained, tmp_path / "undisturbed")
    (tmp_path / "undisturbed" / "study.journal").unlink()
    assert nas.search(TINY, f"directory={trained}", *warm) == nas.search(
        TINY, f"directory={tmp_path / 'undisturbed'}", *warm
    )


def test_the_supernet_comes_along(finished: Path, tmp_path: Path, evaluated: list[Architecture]) -> None:
    """Another device needs a name and the run to begin with, and no training."""
    known = pipeline.existing_stages(finished).evaluations()
    path = tmp_path / "other-device"
    found = nas.search(TINY, f"directory={path}", f"search.warm_start={finished}", "search.evaluations=1")
    assert [one.architecture for one in found[:12]] == [one.architecture for one in known]
    assert len(evaluated) == 1
    for name in ("supernet.safetensors", "training.json"):
        assert (path / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("override", ["training.epochs=9", "space.options.head=48", "seed=1"])
def test_a_supernet_that_is_trained_otherwise_does_not_come_along(
    finished: Path, tmp_path: Path, override: str
) -> None:
    path = tmp_path / "other"
    with pytest.raises(UsageError, match=r"^search\.warm_start: the supernet in .*finished.* was made with ") as caught:
        nas.search(TINY, f"directory={path}", f"search.warm_start={finished}", override)
    assert override.partition("=")[0] in str(caught.value)
    assert not (path / "supernet.safetensors").exists()
    assert not (path / "calibration").exists()


def test_an_untrained_supernet_does_not_come_along(tmp_path: Path) -> None:
    (tmp_path / "untrained").mkdir()
    shutil.copy(TINY, tmp_path / "untrained" / "config.yaml")
    with pytest.raises(UsageError, match=r"^search\.warm_start: .*untrained has no trained supernet"):
        nas.search(TINY, f"directory={tmp_path / 'new'}", f"search.warm_start={tmp_path / 'untrained'}")


def test_the_seed_of_the_search_changes_the_search_alone(finished: Path, tmp_path: Path) -> None:
    """Networks that both searches evaluate have the same accuracy: they are judged on the same images."""
    options = ("search.evaluations=6", "search.sampler={name: random}", ACCURATE)
    runs = []
    for seed in (0, 1):
        path = tmp_path / str(seed)
        shutil.copytree(finished, path)
        (path / "study.journal").unlink()
        runs.append(nas.search(TINY, f"directory={path}", f"search.seed={seed}", *options))
    first, second = ({one.architecture: one.metrics["accuracy"] for one in run} for run in runs)
    assert set(first) != set(second)
    warm = f"search.warm_start={tmp_path / '0'}"
    both = nas.search(TINY, f"directory={tmp_path / 'both'}", warm, "search.seed=1", "search.evaluations=1", ACCURATE)
    assert {one.architecture: one.metrics["accuracy"] for one in both[:6]} == first
    with pytest.raises(UsageError, match=r"search\.seed = 0, now it is 1"):
        nas.search(TINY, f"directory={tmp_path / '0'}", "search.seed=1", *options)


def test_another_supernet_is_refused(finished: Path, trained: Path) -> None:
    weights = load_file(trained / "supernet.safetensors")
    name = next(key for key, tensor in weights.items() if tensor.is_floating_point())
    weights[name] = weights[name] + 1e-3
    save_file(weights, trained / "supernet.safetensors")
    with pytest.raises(UsageError, match="has other trained weights"):
        nas.search(TINY, f"directory={trained}", f"search.warm_start={finished}")
    assert not (trained / "study.journal").exists()


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("task.validation=0.5", "data"),
        ("search.recalibration_images=50", "search.recalibration_images"),
    ],
)
def test_other_ways_to_evaluate_are_refused(finished: Path, trained: Path, override: str, what: str) -> None:
    with pytest.raises(UsageError, match=r"^search\.warm_start: .*finished.* has ") as caught:
        nas.search(TINY, f"directory={trained}", f"search.warm_start={finished}", override)
    assert what in str(caught.value)
    assert not (trained / "study.journal").exists()


def test_what_is_no_searched_run_is_said_before_any_work(tmp_path: Path, trained: Path) -> None:
    path = tmp_path / "new"
    with pytest.raises(UsageError, match=r"search\.warm_start: .*nowhere is not a run"):
        nas.run(TINY, f"directory={path}", f"search.warm_start={tmp_path / 'nowhere'}")
    assert not (path / "calibration").exists()
    shutil.copy(TINY, trained / "config.yaml")
    with pytest.raises(UsageError, match=r"search\.warm_start: there is no study in .*trained"):
        nas.run(TINY, f"directory={path}", f"search.warm_start={trained}")


def test_warm_front_is_no_worse(finished: Path, trained: Path) -> None:
    """Without any evaluation of its own the run has the other one's front."""
    found = nas.search(TINY, f"directory={trained}", f"search.warm_start={finished}", "search.evaluations=1", ACCURATE)
    known = pipeline.existing_stages(finished).evaluations()
    values = np.array([[-one.metrics["accuracy"], one.metrics["macs_m"]] for one in found])
    for one in known:
        assert (values <= [-one.metrics["accuracy"], one.metrics["macs_m"]]).all(axis=1).any()
