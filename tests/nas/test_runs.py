"""A run's directory: whose it is, and what may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import search_spaces
from nas.config import RunConfig, load, parse
from nas.errors import UsageError
from nas.files import locked
from nas.runs import Run
from search_spaces.supernet import Supernet


def config(folder: Path, **changes: Any) -> RunConfig:
    return parse({"name": "run", "directory": str(folder), **changes})


def supernet(*widths: int) -> Supernet:
    space = search_spaces.get(
        "convnet",
        resolutions=[8],
        in_channels=1,
        stem=8,
        widths=[list(widths)],
        strides=[1],
        depths=[[1]],
        group_width=4,
        head=16,
    )
    return space.build_supernet()


def make_parts(run: Run) -> None:
    """Every part on which a configuration may be fixed."""
    for file in (run.calibration_file("local"), run.weights_file, run.journal_file):
        file.parent.mkdir(exist_ok=True)
        file.touch()


FIXED: list[tuple[dict[str, Any], str, object, object]] = [
    ({"seed": 3}, "seed", 0, 3),
    ({"name": "other"}, "name", "run", "other"),
    ({"threads": 2}, "threads", None, 2),
    ({"devices": ["local", "board"]}, "devices", ["local"], ["local", "board"]),
    ({"training": {"epochs": 31}}, "training.epochs", 30.0, 31.0),
    ({"training": {"strategy": {"options": {"random_paths": 2}}}}, "training.strategy.options.random_paths", None, 2),
    ({"training": {"sync_batch_norm": True}}, "training.sync_batch_norm", False, True),
    ({"search": {"sampler": {"name": "random"}}}, "search.sampler.name", "screened", "random"),
    ({"search": {"limits": ["macs_m <= 5"]}}, "search.limits", [], ["macs_m <= 5"]),
    ({"space": {"options": {"head": 32}}}, "space.options.head", None, 32),
    ({"task": {"augmentation": {"flip": True, "scale": 0.1}}}, "task.augmentation.scale", 0.2, 0.1),
    ({"calibration": {"samples": 11}}, "calibration.samples", 10, 11),
    ({"engine": "ray"}, "engine", "local", "ray"),
]


@pytest.mark.parametrize(("change", "key", "old", "new"), FIXED, ids=[row[1] for row in FIXED])
def test_a_fixed_key_is_refused_with_both_values(
    tmp_path: Path, change: dict[str, Any], key: str, old: object, new: object
) -> None:
    run = Run.open(config(tmp_path, task={"augmentation": {"flip": True, "scale": 0.2}}))
    make_parts(run)
    change = {"task": {"augmentation": {"flip": True, "scale": 0.2}}, **change}
    before = run.config_file.read_bytes()
    with pytest.raises(UsageError) as caught:
        Run.open(config(tmp_path, **change))
    assert f"in {tmp_path} was made with {key} = {old!r}, now it is {new!r}" in str(caught.value)
    assert run.config_file.read_bytes() == before


@pytest.mark.parametrize(
    ("part", "free"),
    [
        (
            "nothing",
            [
                "space.name",
                "seed",
                "name",
                "devices",
                "search.limits",
                "calibration.samples",
                "training.epochs",
                "task.data",
            ],
        ),
        ("calibration/local.json", ["search.limits", "training.epochs", "task.data", "devices", "name"]),
        ("training.checkpoint", ["search.limits", "calibration.samples", "devices", "name"]),
        ("supernet.safetensors", ["search.limits", "calibration.samples", "devices", "name"]),
        ("study.journal", ["calibration.samples"]),
    ],
)
def test_a_key_may_change_until_a_part_depends_on_it(tmp_path: Path, part: str, free: list[str]) -> None:
    changes: dict[str, dict[str, Any]] = {
        "space.name": {"space": {"name": "mobilenetv3"}},
        "seed": {"seed": 1},
        "name": {"name": "other"},
        "devices": {"devices": ["board"]},
        "search.limits": {"search": {"limits": ["macs_m <= 5"]}},
        "calibration.samples": {"calibration": {"samples": 12}},
        "training.epochs": {"training": {"epochs": 3}},
        "task.data": {"task": {"data": "photos"}},
    }
    for key, change in changes.items():
        directory = tmp_path / key
        run = Run.open(config(directory))
        (directory / part).parent.mkdir(exist_ok=True)
        (directory / part).touch()
        if key in free:
            assert load(Run.open(config(directory, **change)).config_file) == config(directory, **change)
        else:
            with pytest.raises(UsageError, match=key):
                Run.open(config(directory, **change))
            assert load(run.config_file) == config(directory)


def test_a_section_that_comes_or_goes_is_shown_whole(tmp_path: Path) -> None:
    make_parts(Run.open(config(tmp_path)))
    with pytest.raises(UsageError, match=r"task\.augmentation = None, now it is {.*'flip': True.*}"):
        Run.open(config(tmp_path, task={"augmentation": {"flip": True}}))


def test_removing_an_option_is_refused_too(tmp_path: Path) -> None:
    make_parts(Run.open(config(tmp_path, space={"options": {"widths": [[8], [16]]}})))
    with pytest.raises(UsageError, match=r"space\.options\.widths = \[\[8\], \[16\]\], now it is None"):
        Run.open(config(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"evaluations": 500}},
        {"export": {"where": ["macs_m <= 5"], "maximize": "accuracy"}},
        {"export": {"minimize": "macs_m"}},
        {"calibration": {"max_seconds": 5.0}},
        {"training": {"checkpoint_seconds": 1.0}},
        {"training": {"processes": 2}},
    ],
)
def test_a_free_key_may_change_and_is_kept(tmp_path: Path, change: dict[str, Any]) -> None:
    make_parts(Run.open(config(tmp_path)))
    wanted = config(tmp_path, **change)
    run = Run.open(wanted)
    assert load(run.config_file) == wanted
    assert Run.existing(tmp_path) == (run, wanted)


def test_a_moved_run_is_the_same_run(tmp_path: Path) -> None:
    Run.open(config(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    assert Run.open(config(tmp_path / "new")).path == tmp_path / "new"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        Run.existing(tmp_path)
    (tmp_path / "config.yaml").write_text("nonsense: true")
    for attempt in (lambda: Run.existing(tmp_path), lambda: Run.open(config(tmp_path))):
        with pytest.raises(UsageError, match=r"config\.yaml: unknown key 'nonsense'"):
            attempt()


def test_weights_round_trip_and_the_checkpoint_goes(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.checkpoint_file.touch()
    torch.manual_seed(0)
    first, second = supernet(12, 16), supernet(12, 16)
    run.save_supernet(first, {"epochs": []})
    assert run.training() == {"epochs": []}
    assert not run.checkpoint_file.exists()
    run.load_supernet(second)
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(tensor, first.state_dict()[name]) for name, tensor in second.state_dict().items())


def test_weights_of_another_space_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(UsageError, match="no trained supernet yet"):
        run.load_supernet(supernet(12))
    run.save_supernet(supernet(12, 16), {})
    with pytest.raises(UsageError, match=r"supernet\.safetensors does not fit the space of this run") as caught:
        run.load_supernet(supernet(12, 20))
    assert "\n" not in str(caught.value)
    run.weights_file.write_bytes(b"damaged")
    with pytest.raises(UsageError, match=r"supernet\.safetensors cannot be read"):
        run.load_supernet(supernet(12, 16))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.exclusive():
        with pytest.raises(UsageError, match="another process is at work"), run.exclusive():
            pass
        with locked(run.locks / "worker-1.lock", wait=False):
            pass  # workers are not kept out
    with run.exclusive():
        pass


def test_an_error_of_the_work_itself_is_not_mistaken(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="of something else"), Run(tmp_path).exclusive():
        raise BlockingIOError("of something else")
