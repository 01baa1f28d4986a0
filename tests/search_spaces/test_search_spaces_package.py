"""The registry: names, options, spaces of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces

OWN_SPACE = """
from search_spaces import Choice, SearchSpace

def space(*, widths=(1, 2)):
    return SearchSpace("own", (Choice("width", tuple(widths)),), ())

def broken():
    return 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_space_of_my_own.py").write_text(OWN_SPACE)
    monkeypatch.syspath_prepend(tmp_path)
    return "a_space_of_my_own"


@pytest.mark.parametrize("name", search_spaces.names())
def test_every_name_makes_a_space_of_that_name(name: str) -> None:
    space = search_spaces.get(name)
    assert space.name == name
    assert search_spaces.get(name, **space.options).fingerprint == space.fingerprint


def test_names_are_sorted_and_complete() -> None:
    assert search_spaces.names() == sorted(search_spaces.names())
    assert {"convnet", "mobilenetv3"} <= set(search_spaces.names())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no search space 'mobilenet_v3' \(did you mean 'mobilenetv3'\?\)"):
        search_spaces.get("mobilenet_v3")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no option 'resolution' \(did you mean 'resolutions'\?\)"):
        search_spaces.get("convnet", resolution=(32,))


def test_a_space_of_your_own(own_module: str) -> None:
    assert search_spaces.get(f"{own_module}:space", widths=(1, 2, 3)).size == 3
    with pytest.raises(ValueError, match="has no option 'width'"):
        search_spaces.get(f"{own_module}:space", width=3)


@pytest.mark.parametrize("name", ["no_such_module:space", "{own}:nothing", ":space"])
def test_a_space_that_cannot_be_imported(name: str, own_module: str) -> None:
    name = name.format(own=own_module)
    with pytest.raises(ValueError, match=f"search space '{name}' cannot be imported"):
        search_spaces.get(name)


def test_a_function_that_makes_no_space(own_module: str) -> None:
    with pytest.raises(ValueError, match="returned int, not a search space"):
        search_spaces.get(f"{own_module}:broken")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("convnet", {"resolutions": 32}, "cannot be made with these options"),
        ("convnet", {"resolutions": ()}, "resolutions must be positive numbers"),
        ("convnet", {"resolutions": (32, 32)}, "choice 'resolution' needs at least one option and no repeats"),
        ("convnet", {"strides": (1, 2)}, "must have one entry for each stage"),
        ("convnet", {"blocks": ("mbconv", "mbcon")}, "unknown kind of block 'mbcon'; there are mbconv, grouped, fused"),
        ("convnet", {"group_width": 16}, "must divide every number of channels and be smaller; 16 is not fit"),
        ("convnet", {"group_width": 12}, "must divide every number of channels and be smaller; 16 is not fit"),
        ("convnet", {"kernels": (3, 4)}, "kernels must be odd"),
        ("convnet", {"depths": ((0, 1), (1,), (1,), (1,))}, "depths must be positive"),
        ("mobilenetv3", {"widths": (24, 40)}, "must have one entry for each unit"),
        ("mobilenetv3", {"kernels": (2,)}, "kernels must be odd"),
        ("mobilenetv3", {"depths": (0, 1)}, "depths must be positive"),
        ("mobilenetv3", {"expansions": ()}, "expansions must be positive"),
    ],
)
def test_impossible_options(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get(name, **options)
