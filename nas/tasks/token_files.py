"""Texts as arrays of tokens in files that are kept, so that a second start neither trains a tokenizer nor uses one."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices.device import home
from nas.files import write_bytes, write_text
from nas.tasks.task import DataError
from nas.tasks.text_data import Documents
from nas.tasks.tokenizer import Tokenizer, check_installed

TokenArray = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True)
class TokenFiles:
    """A folder of tokenizers and tokens. Each file is named by a hash of what it was made of.

    Attributes:
        folder: can be deleted at any time.
    """

    folder: Path

    @classmethod
    def of_user(cls) -> "TokenFiles":
        """The folder ``$NASMYTH_HOME/tokens``, by default ``~/.nasmyth/tokens``."""
        return cls(home() / "tokens")

    def tokenizer(self, documents: Documents, vocabulary: int) -> Tokenizer:
        """``Tokenizer.train``, or what it gave before.

        Raises:
            DataError: as ``Tokenizer.train``; or the file cannot be written.
        """
        check_installed()
        path = self.folder / f"{_hash(documents, vocabulary, version('tokenizers'))}.json"
        with suppress(DataError):  # there is none yet, or a damaged one
            return Tokenizer.read(path)
        found = Tokenizer.train(documents, vocabulary)
        with _told(path):
            write_text(path, found.to_json())
        return found

    def tokens(self, documents: Documents, tokenizer: Tokenizer) -> TokenArray:
        """The tokens of documents, each after an end of documents; (tokens,), mapped from a file and read-only.

        They are uint16 where the tokenizer has no more than 65,536 tokens, else uint32.

        Raises:
            DataError: the tokenizer has no end of documents, or the file cannot be written.
        """
        path = self.folder / f"{_hash(documents, tokenizer.to_json(), version('tokenizers'))}.npy"
        with suppress(OSError, ValueError):  # there is none yet, or a damaged one
            return _mapped(path)
        small = len(tokenizer) <= 2**16
        end = np.array([tokenizer.end], np.uint32)
        parts = [part for document in documents for part in (end, tokenizer.encode(document))]
        content = io.BytesIO()
        np.save(content, np.concatenate(parts).astype(np.uint16 if small else np.uint32), allow_pickle=False)
        with _told(path):
            write_bytes(path, content.getvalue())
            return _mapped(path)


def _mapped(path: Path) -> TokenArray:
    array: TokenArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _hash(documents: Documents, *parameters: object) -> str:
    """32 hexadecimal digits."""
    digest = hashlib.sha256(repr(parameters).encode())
    for document in documents:
        digest.update(len(document).to_bytes(8, "little"))
        digest.update(document)
    return digest.hexdigest()[:32]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}), set NASMYTH_HOME to another folder") from error
