"""Tokens and tokenizers are made once, and again when their file is damaged or what they were made of changed."""

from pathlib import Path

import numpy as np
import pytest

from nas.tasks import DataError
from nas.tasks.token_files import TokenFiles
from nas.tasks.tokenizer import Tokenizer

pytest.importorskip("tokenizers")

DOCUMENTS = (b"to be or not to be", b"\xffthat is", b"the question")


def test_tokens_are_the_documents_each_after_an_end(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path)
    tokenizer = files.tokenizer(DOCUMENTS, 260)
    tokens = files.tokens(DOCUMENTS, tokenizer)
    assert tokens.dtype == np.uint16
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable
    parts = np.split(tokens, np.flatnonzero(tokens == tokenizer.end))
    assert parts[0].size == 0
    assert tuple(tokenizer.decode(part.tolist()) for part in parts[1:]) == DOCUMENTS


def test_a_large_vocabulary_needs_four_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.train(DOCUMENTS, 260)
    for size, dtype in ((2**16, np.uint16), (2**16 + 1, np.uint32)):
        monkeypatch.setattr(Tokenizer, "__len__", lambda self, size=size: size)
        monkeypatch.setattr(Tokenizer, "encode", lambda self, text, size=size: np.array([size - 1], np.uint32))
        tokens = TokenFiles(tmp_path / str(size)).tokens((b"a",), tokenizer)
        assert tokens.dtype == dtype
        assert tokens.tolist() == [tokenizer.end, size - 1]


def test_a_second_start_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TokenFiles(tmp_path)
    tokenizer = files.tokenizer(DOCUMENTS, 260)
    tokens = files.tokens(DOCUMENTS, tokenizer)
    texts: list[bytes] = []
    encode = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text: [texts.append(text), encode(self, text)][1])
    monkeypatch.delattr(Tokenizer, "train")
    again = files.tokenizer(DOCUMENTS, 260)
    assert again.to_json() == tokenizer.to_json()
    np.testing.assert_array_equal(files.tokens(DOCUMENTS, again), tokens)
    assert not set(texts) & set(DOCUMENTS)


def test_other_texts_vocabularies_and_tokenizers_have_other_files(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path)
    first = files.tokenizer(DOCUMENTS, 260)
    second = files.tokenizer(DOCUMENTS, 261)
    files.tokenizer((b"".join(DOCUMENTS),), 260)
    assert len(list(tmp_path.glob("*.json"))) == 3
    for documents, tokenizer in ((DOCUMENTS, first), (DOCUMENTS, second), (DOCUMENTS[:2], first)):
        files.tokens(documents, tokenizer)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path)
    tokenizer = files.tokenizer(DOCUMENTS, 260)
    expected = files.tokens(DOCUMENTS, tokenizer).copy()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-2])
    again = files.tokenizer(DOCUMENTS, 260)
    assert again.to_json() == tokenizer.to_json()
    np.testing.assert_array_equal(files.tokens(DOCUMENTS, again), expected)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").write_text("a file")
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"tokens/.*json: cannot be written \(.*\), set NASMYTH_HOME to another folder"):
        TokenFiles.of_user().tokenizer(DOCUMENTS, 260)
