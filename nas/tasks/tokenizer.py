"""Byte-level tokenizers: any bytes become tokens, and tokens the same bytes again."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.tasks.task import DataError

END = "<|endoftext|>"
"""The token between documents of a tokenizer that is trained here."""
ENDS = (END, "</s>", "<|end_of_text|>", "<eos>", "<s>")
"""Such tokens of other tokenizers."""
SMALLEST = 257
"""All bytes and the end of a document."""
PIECE = 2**16
"""Bytes that are encoded at once, up to the end of a line: bounds the memory, and lets pieces be encoded in parallel."""
PIECES = 64

Tokens = NDArray[np.uint32]
_NOT_UTF8 = re.compile("([\udc80-\udcff]+)")
_PROBE = "Don't  panic:\n\n\tnaïve 東京 ﬁ 🙂\r\n  1234567 "


class Tokenizer:
    """A byte-level tokenizer of the library ``tokenizers``.

    Args:
        backend: a byte-level BPE without a normaliser.
        origin: for messages.

    Raises:
        DataError: it cannot write any bytes, or changes them.
    """

    def __init__(self, backend: Any, origin: str) -> None:
        self._backend = backend
        backend.encode_special_tokens = True  # "<|endoftext|>" in a text is text
        backend.no_padding()
        backend.no_truncation()
        self.origin = origin
        self._check()

    @classmethod
    def train(cls, documents: Iterable[bytes], vocabulary: int) -> "Tokenizer":
        """Byte pair encoding (Sennrich et al., ACL 2016) over bytes, trained on texts; the same ones give the same.

        Args:
            documents: to be trained on; what is not UTF-8 in them is passed over.
            vocabulary: number of tokens, among them all bytes and the end of a document.

        Raises:
            DataError: the library is missing, or the vocabulary is too small, or too large for the texts.
        """
        if vocabulary < SMALLEST:
            raise DataError(f"vocabulary is {vocabulary}, give at least {SMALLEST}: the bytes and an end of documents")
        library = _library()
        backend = library.Tokenizer(library.models.BPE())
        backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END],
            initial_alphabet=sorted(byte_characters()),
            show_progress=False,
        )
        pieces = (piece.decode(errors="ignore") for document in documents for piece in _pieces(document))
        backend.train_from_iterator(pieces, trainer)
        if backend.get_vocab_size() < vocabulary:
            raise DataError(
                f"vocabulary is {vocabulary}, but the training text is so short that it gives no more than "
                f"{backend.get_vocab_size()} tokens; give that number or more text"
            )
        return cls(backend, "the trained tokenizer")

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        """The tokenizer in a file ``tokenizer.json``.

        Raises:
            DataError: the library or the file is missing, or it does not hold a byte-level tokenizer.
        """
        library = _library()
        if not path.is_file():
            raise DataError(f"{path.absolute()}: there is no such file, give the path of a tokenizer.json")
        try:
            backend = library.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise DataError(
                f"{path}: is not a file of the library tokenizers ({error}), give a tokenizer.json"
            ) from error
        return cls(backend, str(path))

    def to_json(self) -> str:
        """The content of a ``tokenizer.json``."""
        text: str = self._backend.to_str()
        return text

    def __len__(self) -> int:
        """The number of tokens."""
        size: int = self._backend.get_vocab_size()
        return size

    @cached_property
    def end(self) -> int:
        """The token that stands between documents.

        Raises:
            DataError: there is none.
        """
        known = (self._backend.token_to_id(name) for name in ENDS)
        found = next((number for number in known if number is not None), None)
        if found is None:
            raise DataError(f"{self.origin}: has no token for the end of a document, add one of {', '.join(ENDS)}")
        return int(found)

    @cached_property
    def bytes_of(self) -> tuple[bytes, ...]:
        """What each token stands for; special ones stand for nothing."""
        values = byte_characters()
        added = self._backend.get_added_tokens_decoder()
        found = []
        for number in range(len(self)):
            if number in added:
                found.append(b"" if added[number].special else added[number].content.encode())
            else:
                found.append(bytes(values[character] for character in self._backend.id_to_token(number)))
        return tuple(found)

    @cached_property
    def byte_counts(self) -> NDArray[np.int64]:
        """How many bytes each token stands for, shape (tokens,)."""
        return np.array([len(content) for content in self.bytes_of])

    def encode(self, text: bytes) -> Tokens:
        """The tokens of a text, uint32 (tokens,); bytes that are not UTF-8 become tokens of one byte each."""
        found: list[Sequence[int]] = []
        ahead = _pieces(text)
        while pieces := list(islice(ahead, PIECES)):
            parts = [
                part for piece in pieces for part in _NOT_UTF8.split(piece.decode(errors="surrogateescape")) if part
            ]
            plain = iter(self._backend.encode_batch_fast([part for part in parts if not _NOT_UTF8.match(part)]))
            found.extend(self._single(part) if _NOT_UTF8.match(part) else next(plain).ids for part in parts)
        return np.fromiter(chain.from_iterable(found), np.uint32)

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The text of tokens."""
        return b"".join(self.bytes_of[token] for token in tokens)

    def _single(self, part: str) -> list[int]:
        return [self._byte_tokens[value] for value in part.encode(errors="surrogateescape")]

    @cached_property
    def _byte_tokens(self) -> dict[int, int]:
        return {value: self._backend.token_to_id(character) for character, value in byte_characters().items()}

    def _check(self) -> None:
        """Refuse a tokenizer that loses something."""
        problem = None
        if self._backend.normalizer is not None:
            problem = "has a normaliser, which changes texts"
        elif None in self._byte_tokens.values():
            problem = "is not byte-level: some bytes have no token"
        elif max(self._backend.get_vocab().values()) >= len(self):
            problem = "has numbers without tokens"
        elif self.decode(self.encode(_PROBE.encode())) != _PROBE.encode():
            problem = "does not give back what it is given, such as spaces"
        if problem is not None:
            raise DataError(f"{self.origin}: {problem}; give one like that of GPT-2, or none to train one")


def byte_characters() -> dict[str, int]:
    """The character by which a byte is written in byte-level vocabularies, with the byte (Radford et al., 2019).

    Printable characters of Latin-1 stand for themselves, the others for those from U+0100 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    return {chr(value): value for value in printable} | {chr(256 + i): value for i, value in enumerate(others)}


def _pieces(text: bytes) -> Iterator[bytes]:
    """A text in pieces that end with a line, of about ``PIECE`` bytes where lines are short."""
    start = 0
    while start < len(text):
        newline = text.find(b"\n", start + PIECE - 1)
        end = len(text) if newline < 0 else newline + 1
        yield text[start:end]
        start = end


def check_installed() -> None:
    """Refuse to work with texts without the library.

    Raises:
        DataError: it is missing.
    """
    _library()


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise DataError("texts need the library tokenizers, pip install 'nasmyth[language]'") from error
    return tokenizers
