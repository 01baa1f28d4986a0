"""Damaged files: documents with a change somewhere, and texts that are none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

#: What may stand in place of a value. JSON as Python reads it has also infinite numbers and halves of characters.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.just([]),
    st.just({}),
    st.just([[1, "a"], None]),
    st.just({"a": {"b": [1]}}),
).map(copy.deepcopy)  # which is changed in turn


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """A document in which one to three values, at any depth, are gone or are others."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(_places(document)))
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = draw(VALUES)
        if not _places(document):
            break
    return document


def damaged(document: Any) -> st.SearchStrategy[bytes]:
    """Bytes of a file: a changed document, one that ends early, or anything."""
    text = json.dumps(document).encode()
    ends = st.integers(0, len(text) - 1).map(lambda end: text[:end])
    deep = st.sampled_from([b"[" * 5_000, b'{"a":' * 5_000, b"1" * 5_000])
    return st.one_of(
        changed(document).map(lambda found: json.dumps(found).encode()), ends, st.binary(max_size=30), deep
    )


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every holder and key below a document."""
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    else:
        return []
    return [(document, key) for key, _ in items] + [place for _, value in items for place in _places(value)]


def refused(read: Callable[[], object], error: type[Exception] | tuple[type[Exception], ...] = ValueError) -> str:
    """What the documented error says, or nothing when there was none; any other error goes on."""
    try:
        read()
    except error as found:
        return str(found) or "an error without a word"
    return ""
