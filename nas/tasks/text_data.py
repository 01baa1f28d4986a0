"""Texts in up to three splits, and how a split is cut from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.tasks.task import DataError

Documents = tuple[bytes, ...]
TEST_SHARE = 0.05


@dataclass(frozen=True)
class TextData:
    """The documents of each split, in UTF-8 as a rule; any bytes are allowed.

    Attributes:
        origin: where they come from, for messages.
        train: documents to train on.
        validation: documents to compare networks on, where the data has its own.
        test: documents for the final networks, where the data has its own.
    """

    origin: str
    train: Documents
    validation: Documents | None = None
    test: Documents | None = None

    def __post_init__(self) -> None:
        for name, documents in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if documents is not None and not any(documents):
                raise DataError(f"{self.origin}: there is no text in {name}, give one that is not empty")

    @classmethod
    def of(cls, origin: str, splits: Mapping[str, Sequence[bytes]]) -> "TextData":
        """The data of splits by name; documents without text are left out."""
        kept: dict[str, Any] = {name: tuple(filter(None, documents)) for name, documents in splits.items()}
        return cls(origin, **kept)

    def splits(self, validation: float, evaluation_bytes: int | None, seed: int) -> dict[str, Documents]:
        """The documents of train, validation and test; those that are missing are set aside from the training text.

        Args:
            validation: share of the training text, of what is left of it after the test text.
            evaluation_bytes: to which validation and test are each shortened, see ``first_part``.
            seed: decides what is set aside.

        Raises:
            DataError: a number is out of range, or there is too little text.
        """
        train, test, held_out = self.train, self.test, self.validation
        if test is None:
            train, test = set_aside(train, TEST_SHARE, seed, "testing", self.origin)
        if held_out is None:
            train, held_out = set_aside(train, validation, seed, "validation", self.origin)
        judged = {"validation": first_part(held_out, evaluation_bytes), "test": first_part(test, evaluation_bytes)}
        if not all(judged.values()):
            raise DataError(f"evaluation_bytes is {evaluation_bytes}, too few for a part of each document, give more")
        return {"train": train, **judged}


def set_aside(documents: Documents, share: float, seed: int, purpose: str, origin: str) -> tuple[Documents, Documents]:
    """Divide documents into the rest and those for a purpose, both in their order.

    Whole documents are taken, in a random order, that fit into the share of the bytes. If they are less than half of it
    (there are few documents, and long ones), the share is filled with the end of the longest one that is left, from the
    start of a line on.

    Args:
        documents: to divide.
        share: of the bytes, between 0 and 1.
        seed: decides which documents.
        purpose: for messages.
        origin: of the documents, for messages.

    Raises:
        DataError: the share is out of range, or too small or too large for one part to have any text.
    """
    if not 0 < share < 1:
        raise DataError(f"the share of text for {purpose} is {share}, give a number between 0 and 1")
    wanted = round(share * sum(map(len, documents)))
    chosen = _whole_documents(documents, wanted, seed)
    rest = [document for number, document in enumerate(documents) if number not in chosen]
    taken = [documents[number] for number in sorted(chosen)]
    missing = wanted - sum(map(len, taken))
    if missing > wanted / 2:
        longest = max(range(len(rest)), key=lambda number: len(rest[number]))
        cut = line_start(rest[longest], len(rest[longest]) - missing)
        taken.append(rest[longest][cut:])
        rest[longest] = rest[longest][:cut]
    if not any(rest) or not any(taken):
        raise DataError(f"{origin}: the text is too short to set aside {share:g} of it for {purpose}, give more text")
    return tuple(filter(None, rest)), tuple(filter(None, taken))


def first_part(documents: Documents, limit: int | None) -> Documents:
    """The first part of each document, the same share of all, together ``limit`` bytes at most; whole characters."""
    total = sum(map(len, documents))
    if limit is None or total <= limit:
        return documents
    ends = (character_start(document, len(document) * limit // total) for document in documents)
    return tuple(filter(None, (document[:end] for document, end in zip(documents, ends, strict=True))))


def line_start(text: bytes, position: int) -> int:
    """The first start of a line at or after a position, or of a character when there is no further line."""
    newline = text.find(b"\n", max(0, position - 1))
    return newline + 1 if 0 <= newline < len(text) - 1 else character_start(text, position)


def character_start(text: bytes, position: int) -> int:
    """The start of the UTF-8 character that a position is in; the position itself where the text is not UTF-8."""
    for start in range(position, max(-1, position - 4), -1):
        if start >= len(text) or text[start] & 0xC0 != 0x80:
            return start
    return position


def _whole_documents(documents: Documents, wanted: int, seed: int) -> set[int]:
    """Numbers of documents with as many bytes as wanted at most, but never of all."""
    chosen: set[int] = set()
    room = wanted
    for number in np.random.default_rng(seed).permutation(len(documents)).tolist():
        if 0 < len(documents[number]) <= room:
            chosen.add(number)
            room -= len(documents[number])
    return chosen
