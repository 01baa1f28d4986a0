from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from search_spaces import SearchSpace


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or changes the user's own devices."""
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    """Networks of 8 x 8 pixels that run in well under a millisecond."""
    return search_spaces.get(
        "convnet",
        resolutions=(8,),
        in_channels=1,
        stem=16,
        widths=((16,), (32,)),
        strides=(1, 2),
        depths=((1, 2), (1, 2)),
        head=64,
    )


@pytest.fixture(scope="session")
def convnet() -> SearchSpace:
    """The default convnet space."""
    return search_spaces.get("convnet")
