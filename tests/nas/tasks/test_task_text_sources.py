"""Texts from all kinds of sources, and how splits are cut from them."""

import gzip
import sys
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.tasks import DataError
from nas.tasks.text_data import TextData, first_part, set_aside
from nas.tasks.text_sources import load_text


def write(root: Path, **texts: bytes) -> Path:
    """Files named by keys, in which __ is a slash and the last _ a dot."""
    for name, text in texts.items():
        stem, _, suffix = name.replace("__", "/").rpartition("_")
        path = root / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text) if suffix == "gz" else text)
    return root


# ---- sources


def test_documentation_of_python_needs_no_download_and_is_always_the_same() -> None:
    data = load_text("python-documentation")
    assert data == load_text("python-documentation")
    assert (data.validation, data.test) == (None, None)
    assert sum(map(len, data.train)) > 300_000
    assert any(b'"if" statement' in document for document in data.train)


def test_a_file_is_one_document_packed_or_not(tmp_path: Path) -> None:
    text = "naïve\r\ntext\n".encode() + b"\xff"
    write(tmp_path, a_txt=text, b_gz=text, test_md=text)
    for name in ("a.txt", "b.gz", "test.md", str(tmp_path / "a.txt")):
        assert load_text(name, base=tmp_path).train == (text,)


def test_files_of_a_folder_are_documents_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, b_txt=b"2", a_gz=b"1", c__d_txt=b"3", latest_txt=b"4", notes_md=b"not text")
    assert load_text(str(tmp_path)) == TextData(str(tmp_path), (b"1", b"2", b"3", b"4"))


def test_names_of_files_and_folders_say_the_split(tmp_path: Path) -> None:
    write(tmp_path, books_train_gz=b"1", books_val_gz=b"2", test__a_txt=b"3", train__a_txt=b"4")
    data = load_text(".", base=tmp_path)
    assert (data.train, data.validation, data.test) == ((b"1", b"4"), (b"2",), (b"3",))


def test_a_pattern_takes_what_matches(tmp_path: Path) -> None:
    write(tmp_path, in__a_txt=b"1", in__b_txt=b"2", in__c_gz=b"3", in__d__e_txt=b"4")
    assert load_text("in/*.txt", base=tmp_path).train == (b"1", b"2")
    assert load_text("in/**/*.txt", base=tmp_path).train == (b"1", b"2", b"4")
    assert load_text(f"{tmp_path}/*/[bc].*").train == (b"2", b"3")


def test_rows_of_the_library_datasets_are_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def saved(name: str, **columns: list[Any]) -> str:
        split = datasets.Dataset.from_dict(columns)
        datasets.DatasetDict(train=split, valid=split.select([0])).save_to_disk(str(tmp_path / name))
        return f"hf:{name}"

    source = saved("two", title=["a", "b", "c", "d"], text=["naïve", "", "x", None])
    assert load_text(source, base=tmp_path) == TextData(source, ("naïve".encode(), b"x"), ("naïve".encode(),))
    assert load_text(f"{source}?limit=1", base=tmp_path).train == ("naïve".encode(),)
    assert load_text(saved("one", number=[1, 2], story=["a", "b"]), base=tmp_path).train == (b"a", b"b")
    with pytest.raises(DataError, match=r"hf:none: of the columns title, story, 2 hold strings and none is named text"):
        load_text(saved("none", title=["a"], story=["b"]), base=tmp_path)
    with pytest.raises(DataError, match="there is no text in train"):
        load_text(saved("empty", text=[""]), base=tmp_path)


def test_bad_sources_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, empty_txt=b" \n", damaged__a_txt=b"a", none__a_md=b"a", some__a_train_txt=b"a", some__b_txt=b"b")
    write(tmp_path, only__a_test_txt=b"a", only__b_test_txt=b"a")
    (tmp_path / "damaged" / "b.gz").write_bytes(gzip.compress(b"some text")[:-9])
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    for source, message in {
        "missing": "missing: there is no such source of texts at .*missing, give python-documentation, hf:NAME, a text",
        "empty.txt": r"empty.txt: is empty, remove it",
        "damaged": r"b.gz: cannot be read \(.*\), check that it is a text file or a gzip one",
        "none": r"none: has no file with the suffix .txt or .gz, put one there",
        "*.rst": r"no file matches, check the pattern",
        "some": r"b.txt: is for no split, unlike other files; put train, validation or test in its name",
        "only": r"no file is for training, put train in the name of one",
        "python-documentation": "this Python comes without pydoc_data, give a text file instead",
    }.items():
        with pytest.raises(DataError, match=message):
            load_text(source, base=tmp_path)


# ---- splits

TEXTS = st.lists(st.text("aé\n🙂", min_size=1, max_size=60).map(str.encode), min_size=1, max_size=9).map(tuple)


@given(TEXTS, st.floats(0.05, 0.95), st.integers(0, 3))
def test_what_is_set_aside_and_the_rest_are_all_of_the_text(texts: tuple[bytes, ...], share: float, seed: int) -> None:
    try:
        rest, taken = set_aside(texts, share, seed, "validation", "x")
    except DataError as error:
        assert "the text is too short to set aside" in str(error)  # noqa: PT017
        return
    assert set_aside(texts, share, seed, "validation", "x") == (rest, taken)
    assert all(rest)
    assert all(taken)
    assert sum(map(len, taken)) <= share * sum(map(len, texts)) + 4
    for part in (*rest, *taken):
        part.decode()
    pieces, whole, end = Counter((*rest, *taken)), Counter(texts), taken[-1]
    mended = (pieces - Counter([head, end]) + Counter([head + end]) for head in rest)
    assert pieces == whole or whole in mended


def test_whole_documents_are_set_aside_where_they_fit() -> None:
    texts = tuple(bytes([97 + i]) * 100 for i in range(20))
    rest, taken = set_aside(texts, 0.25, 0, "testing", "x")
    assert (len(rest), len(taken)) == (15, 5)
    assert {*rest, *taken} == set(texts)
    assert list(rest) == sorted(rest)
    assert taken != set_aside(texts, 0.25, 1, "testing", "x")[1]


def test_the_end_of_a_single_document_is_set_aside_from_a_line_on() -> None:
    text = b"".join(b"line %d\n" % i for i in range(100, 200))
    rest, taken = set_aside((text,), 0.1, 0, "testing", "x")
    assert rest + taken == (text[:810], text[810:]) == (text[:810], text[-90:])


def characters_within(text: str, limit: int) -> list[str]:
    ends = accumulate(len(character.encode()) for character in text)
    return [character for character, end in zip(text, ends, strict=True) if end <= limit]


@given(TEXTS, st.integers(1, 300))
def test_first_parts_are_whole_characters_and_the_same_share_of_each(texts: tuple[bytes, ...], limit: int) -> None:
    total = sum(map(len, texts))
    parts = first_part(texts, limit)
    assert sum(map(len, parts)) <= limit
    if total <= limit:
        assert parts == texts
        return
    kept = ["".join(characters_within(text.decode(), len(text) * limit // total)) for text in texts]
    assert parts == tuple(text.encode() for text in kept if text)


def test_missing_splits_come_from_the_training_text_and_present_ones_stay() -> None:
    texts = tuple(b"%d" % i * 50 for i in range(1000, 1100))
    splits = TextData("x", texts).splits(0.2, None, 0)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [76, 19, 5]
    assert {part for split in splits.values() for part in split} == set(texts)
    own = TextData("x", texts, (b"held out",), (b"for the end",)).splits(0.2, 6, 0)
    assert own == {"train": texts, "validation": (b"held o",), "test": (b"for th",)}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_bad_shares_are_told(share: float) -> None:
    with pytest.raises(DataError, match=f"share of text for validation is {share}, give a number between 0 and 1"):
        TextData("x", (b"a\nb\n" * 50,)).splits(share, None, 0)
    with pytest.raises(DataError, match="evaluation_bytes is 3, too few for a part of each document, give more"):
        TextData("x", (b"a\nb\n" * 50,), (b"a", b"b", b"c", b"d")).splits(0.1, 3, 0)
