"""CIFAR batches written here come back as they were; a pickle can name what it wants, nothing of it runs."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.tasks import DataError
from nas.tasks.array_pickle import load_pickle
from nas.tasks.sources import load_images

Array = np.ndarray[Any, Any]
ROWS = 4  # images of a batch


def values(batch: int) -> Array:
    return np.random.default_rng(batch).integers(0, 256, (ROWS, 3072), dtype=np.uint8)


def labels(batch: int) -> list[int]:
    return [(batch + row) % 3 for row in range(ROWS)]


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def python_10(root: Path) -> None:
    for batch, name in enumerate(["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]):
        write_pickle(root / name, {b"data": values(batch), b"labels": labels(batch), b"filenames": [b"a.png"] * ROWS})
    write_pickle(root / "test_batch", {b"data": values(5), b"labels": labels(5), b"batch_label": b"testing batch"})
    write_pickle(root / "batches.meta", {b"label_names": [b"cat", b"dog", b"emu"], b"num_vis": 3072})


def python_100(root: Path) -> None:
    for name, batches in (("train", range(5)), ("test", [5])):
        data = np.concatenate([values(batch) for batch in batches])
        fine = [label for batch in batches for label in labels(batch)]
        write_pickle(root / name, {b"data": data, b"fine_labels": fine, b"coarse_labels": [0] * len(fine)})
    write_pickle(root / "meta", {b"fine_label_names": [b"cat", b"dog", b"emu"], b"coarse_label_names": [b"animal"]})


def records(batch: int, before: bytes = b"") -> bytes:
    return b"".join(before + bytes([n]) + row.tobytes() for n, row in zip(labels(batch), values(batch), strict=True))


def binary_10(root: Path) -> None:
    for batch in range(5):
        (root / f"data_batch_{batch + 1}.bin").write_bytes(records(batch))
    (root / "test_batch.bin").write_bytes(records(5))
    (root / "batches.meta.txt").write_text("cat\ndog\nemu\n\n")


def binary_100(root: Path) -> None:
    (root / "train.bin").write_bytes(b"".join(records(batch, b"\x09") for batch in range(5)))
    (root / "test.bin").write_bytes(records(5, b"\x09"))
    (root / "fine_label_names.txt").write_text("cat\ndog\nemu\n")


@pytest.mark.parametrize("write", [python_10, python_100, binary_10, binary_100])
def test_batches_come_back(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    data = load_images(str(tmp_path))
    assert data.classes == ("cat", "dog", "emu")
    assert data.test is not None
    for part, batches in ((data.train, range(5)), (data.test, [5])):
        expected = np.concatenate([values(batch) for batch in batches])
        assert part.images.shape == (len(expected), 3, 32, 32)
        # The red of the pixel in row 1 and column 2 is byte 34, its green 1,024 bytes further on.
        np.testing.assert_array_equal(part.images[:, :2, 1, 2].numpy(), expected[:, [34, 1058]])
        np.testing.assert_array_equal(part.images.flatten(1).numpy(), expected)
        assert part.labels.tolist() == [label for batch in batches for label in labels(batch)]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (python_10, "data_batch_3"),
        (python_10, "batches.meta"),
        (python_100, "test"),
        (binary_10, "test_batch.bin"),
        (binary_100, "fine_label_names.txt"),
    ],
)
def test_missing_file(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"has no file {name}, unpack the archive again"):
        load_images(str(tmp_path))


class Attack:
    """Pickles to a call of the system."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_pickle_runs_nothing(tmp_path: Path) -> None:
    python_10(tmp_path)
    mark = tmp_path / "ran"
    for attack in (Attack(os.system, f"touch {mark}"), Attack(eval, f"open({str(mark)!r}, 'w')"), Attack(mark.touch)):
        for name in ("data_batch_2", "batches.meta"):
            whole = (tmp_path / name).read_bytes()
            hostile = pickle.dumps({b"data": attack}, protocol=2)
            pickle.loads(hostile)  # the attack is a real one
            assert mark.exists()
            mark.unlink()
            (tmp_path / name).write_bytes(hostile)
            with pytest.raises(DataError, match=rf"{name}: asks for \S+\.\S+, which is not data and was not run"):
                load_images(str(tmp_path))
            assert not mark.exists()
            (tmp_path / name).write_bytes(whole)


@pytest.mark.parametrize(
    "content",
    [
        np.array([None, 1]),  # an array of objects
        np.arange(3.0),
        np.zeros(3, [("a", "u1")]),
        np.float64(1),
        np.random.default_rng(0),
        {1, 2},
        Path("a"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    write_pickle(tmp_path / "batch", {b"data": content})
    with pytest.raises(DataError, match="batch: "):
        load_pickle(tmp_path / "batch")


def test_plain_values_and_byte_arrays_come_back(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = {b"a": [1, -2.5, None, True], b"b": (b"\xff", "text"), "c": array, "d": np.asfortranarray(array)}
    write_pickle(tmp_path / "batch", content)
    read = load_pickle(tmp_path / "batch")
    for name in "cd":
        np.testing.assert_array_equal(read.pop(name), content.pop(name))
    assert read == content


def test_batch_of_python_2_with_numpy_1(tmp_path: Path) -> None:
    """The opcodes that the published files consist of, written by hand."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02K\x03tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x06\x00\x01\x02\x03\x04\xfftb"
    )
    (tmp_path / "batch").write_bytes(b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x00K\x01eu.")
    read = load_pickle(tmp_path / "batch")
    np.testing.assert_array_equal(read[b"data"], [[0, 1, 2], [3, 4, 255]])
    assert read[b"labels"] == [0, 1]


def forged_array(shape: bytes, data: bytes) -> bytes:
    start = b"\x80\x02cnumpy\nndarray\n(tR(K\x01" + shape + b"cnumpy\ndtype\n(U\x02u1tR\x89"
    return start + b"T" + struct.pack("<I", len(data)) + data + b"tb."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x02}",
        forged_array(b"(K\x07t", b"123456"),
        forged_array(b"(J\xfe\xff\xff\xffJ\xfd\xff\xff\xfft", b"123456"),
        forged_array(b"(K\x06t", b"123456")[:-5],
        b"\x80\x02cnumpy\nndarray\n}b.",  # a state for the class itself
        b"\x80\x02c_codecs\nencode\nN}X\x04\x00\x00\x00markK\x01s\x86b.",
        b"\x80\x02U\x01xQ.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an entry of the extension registry
    ],
)
def test_damaged_or_forged_pickle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match="batch: ") as caught:
        load_pickle(tmp_path / "batch")
    assert "\n" not in str(caught.value)


def test_forged_array_is_read_when_it_fits(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(forged_array(b"(K\x06t", b"123456"))
    assert load_pickle(tmp_path / "batch").tolist() == list(b"123456")


def test_cut_batch_is_named(tmp_path: Path) -> None:
    python_10(tmp_path)
    path = tmp_path / "data_batch_2"
    whole = path.read_bytes()
    for length in np.random.default_rng(0).integers(0, len(whole), 30):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="data_batch_2: is damaged or not a pickle"):
            load_images(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "has no array data"),
        ({b"labels": labels(0)}, "has no array data"),
        ({b"data": values(0)[:, :3000], b"labels": labels(0)}, r"has no array data of shape \(n, 3072\)"),
        ({b"data": values(0)}, "has no list labels"),
        ({b"data": values(0), b"labels": [0.5] * ROWS}, "has no list labels of class numbers"),
        ({b"data": values(0), b"labels": [10**30] * ROWS}, "has no list labels of class numbers"),
        ({b"data": values(0), b"labels": [0]}, "4 images but 1 labels"),
        ({b"data": values(0), b"labels": [3] * ROWS}, "train has the label 3, number the 3 classes"),
    ],
)
def test_python_batch_that_does_not_fit(tmp_path: Path, content: Any, message: str) -> None:
    python_10(tmp_path)
    write_pickle(tmp_path / "data_batch_1", content)
    with pytest.raises(DataError, match=message):
        load_images(str(tmp_path))


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    python_10(tmp_path)
    for names in (None, [1, 2, 3]):
        write_pickle(tmp_path / "batches.meta", {b"label_names": names})
        with pytest.raises(DataError, match=r"batches\.meta: has no list label_names"):
            load_images(str(tmp_path))
    write_pickle(tmp_path / "batches.meta", {b"label_names": [b"cat", b"dog", b"emu", b"fox"]})
    with pytest.raises(DataError, match="class 'fox' has no training image"):
        load_images(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (records(0)[:-1], "has 12291 bytes, not a multiple of the 3073 of an image"),
        (b"", "0 images but 0 labels"),
        (b"\x07" + bytes(3072), "test has the label 7"),
    ],
)
def test_binary_batch_that_does_not_fit(tmp_path: Path, content: bytes, message: str) -> None:
    binary_10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_images(str(tmp_path))
