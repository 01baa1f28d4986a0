from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from digits_training import small_space

from nas.tasks import ImageClassification
from search_spaces import SearchSpace


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def task() -> ImageClassification:
    return ImageClassification.load("digits")
