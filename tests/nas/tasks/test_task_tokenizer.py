"""Byte-level tokenizers lose no byte, and agree with other implementations."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.tasks import DataError
from nas.tasks.text_sources import load_text
from nas.tasks.tokenizer import END, PIECE, Tokenizer, byte_characters

tokenizers = pytest.importorskip("tokenizers")

WORDS = b"low low low low low lower lower newest newest newest newest newest newest widest widest widest"


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return Tokenizer.train(load_text("python-documentation").train[:20], 600)


ANY = st.binary(max_size=80)
TRICKY = st.sampled_from([END.encode(), b"\r\n \n", "ﬁ é 🙂".encode(), b"\xf0\x9f", b"\xed\xa0\x80", b"  the def "])


@given(st.lists(ANY | TRICKY, max_size=6).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_any_bytes_come_back(trained: Tokenizer, text: bytes) -> None:
    tokens = trained.encode(text)
    assert trained.decode(tokens.tolist()) == text
    assert int(trained.byte_counts[tokens].sum()) == len(text)
    assert trained.end not in tokens


def test_texts_longer_than_a_piece_come_back(trained: Tokenizer) -> None:
    text = b"a line of words\n" * (3 * PIECE // 16) + b"in the " * PIECE + b"\nend"
    tokens = trained.encode(text)
    assert trained.decode(tokens.tolist()) == text
    assert len(tokens) < len(text) / 2


def test_trained_merges_are_those_of_the_definition() -> None:
    """The textbook algorithm: the most frequent pair of neighbours becomes one symbol, until two are."""
    rng = np.random.default_rng(0)
    words = {f"Ġ{''.join(rng.choice(list('abcdef'), 6))}": int(count) for count in rng.integers(50, 1000, 40)}
    symbols = {word: list(word) for word in words}
    merges: list[list[str]] = []
    while len(merges) < 30:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(symbols[word], symbols[word][1:], strict=False):
                pairs[pair] += count
        (best, most), (_, second) = pairs.most_common(2)
        if most == second:
            break
        merges.append(list(best))
        symbols = {word: merged(parts, best) for word, parts in symbols.items()}
    assert len(merges) >= 5
    text = "".join(word.replace("Ġ", " ") * count for word, count in words.items()).encode()
    assert json.loads(Tokenizer.train([text], 257 + len(merges)).to_json())["model"]["merges"] == merges


def merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def test_tokens_equal_those_of_transformers(trained: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.json").write_text(trained.to_json())
    other = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = load_text("python-documentation").train[30]
    assert trained.encode(text).tolist() == other.encode(text.decode(), add_special_tokens=False)
    assert (len(trained), trained.end) == (600, other.convert_tokens_to_ids(END)) == (len(other), 0)
    assert other.decode(trained.encode(text)) == text.decode()


def test_bytes_are_written_as_in_gpt_2() -> None:
    conversion = pytest.importorskip("transformers.convert_slow_tokenizer")
    assert {value: character for character, value in byte_characters().items()} == conversion.bytes_to_unicode()


def test_training_and_files_give_the_same_again(trained: Tokenizer, tmp_path: Path) -> None:
    assert Tokenizer.train(load_text("python-documentation").train[:20], 600).to_json() == trained.to_json()
    (tmp_path / "a.json").write_text(trained.to_json())
    again = Tokenizer.read(tmp_path / "a.json")
    assert again.to_json() == trained.to_json()
    assert again.encode(f"{END} a".encode()).tolist() == trained.encode(f"{END} a".encode()).tolist()


def made(tmp_path: Path, change: Any) -> Path:
    backend = tokenizers.Tokenizer.from_str(Tokenizer.train([WORDS], 260).to_json())
    change(backend)
    backend.save(str(tmp_path / "made.json"))
    return tmp_path / "made.json"


def add_tokens(backend: Any) -> None:
    backend.add_tokens(["    "])
    backend.add_special_tokens(["<pad>"])


def test_added_tokens_have_the_bytes_of_their_text(tmp_path: Path) -> None:
    found = Tokenizer.read(made(tmp_path, add_tokens))
    assert found.bytes_of[-2:] == (b"    ", b"")
    text = b"if x:\n    low <pad>"
    assert 260 in found.encode(text)
    assert found.decode(found.encode(text).tolist()) == text


def lower(backend: Any) -> None:
    backend.normalizer = tokenizers.normalizers.Lowercase()


def add_space(backend: Any) -> None:
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)


def lose_spaces(backend: Any) -> None:
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lower, "has a normaliser"),
        (add_space, "does not give back"),
        (lose_spaces, "does not give back"),
        (lambda backend: setattr(backend, "model", tokenizers.models.BPE({"a": 0}, [])), "is not byte-level"),
    ],
)
def test_tokenizers_that_lose_something_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"made.json: {message}.*; give one like that of GPT-2, or none to train one"):
        Tokenizer.read(made(tmp_path, change))


def test_bad_input_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="vocabulary is 256, give at least 257"):
        Tokenizer.train([WORDS], 256)
    with pytest.raises(
        DataError, match=r"vocabulary is 5000, but .* so short that it gives no more than (\d+) tokens"
    ) as e:
        Tokenizer.train([WORDS], 5000)
    most = int(str(e.value).split("no more than ")[1].split()[0])
    assert len(Tokenizer.train([WORDS], most)) == most
    with pytest.raises(DataError, match=r"none.json: there is no such file, give the path of a tokenizer.json"):
        Tokenizer.read(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad.json: is not a file of the library tokenizers"):
        Tokenizer.read(tmp_path / "bad.json")
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(byte_characters())}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(DataError, match="has no token for the end of a document, add one of"):
        _ = Tokenizer(backend, "x").end
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"needs? the library tokenizers, pip install 'nasmyth\[language\]'"):
        Tokenizer.train([WORDS], 300)
