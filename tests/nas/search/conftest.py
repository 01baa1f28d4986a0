from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from synthetic_search import small_space, tiny_space

from search_spaces import SearchSpace


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on many threads, and children are forked."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return tiny_space()
