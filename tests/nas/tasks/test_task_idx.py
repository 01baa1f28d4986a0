"""IDX files written with struct come back as they were, and damaged ones are named."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.tasks import DataError
from nas.tasks.sources import load_images

Array = np.ndarray[Any, Any]
LABELS = bytes([2, 0, 1, 1, 0, 2])


def pixels(seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 4), dtype=np.uint8)


def idx(shape: tuple[int, ...], values: bytes, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + values


def write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def write_pair(folder: Path, part: str, seed: int, mark: str = "-", end: str = "") -> None:
    write(folder, f"{part}-images{mark}idx3-ubyte{end}", idx((6, 5, 4), pixels(seed).tobytes()))
    write(folder, f"{part}-labels{mark}idx1-ubyte{end}", idx((6,), LABELS))


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_values_come_back(tmp_path: Path, mark: str, end: str) -> None:
    write_pair(tmp_path, "train", 0, mark, end)
    write_pair(tmp_path, "t10k", 1, mark, end)
    (tmp_path / "README").write_text("hello")
    data = load_images(str(tmp_path))
    assert data.test is not None
    assert data.classes == ("0", "1", "2")
    for part, seed in ((data.train, 0), (data.test, 1)):
        np.testing.assert_array_equal(part.images[:, 0].numpy(), pixels(seed))
        assert part.images.dtype == torch.uint8
        assert part.labels.tolist() == list(LABELS)


def test_test_pair_is_optional_but_whole(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 0)
    assert load_images(str(tmp_path)).test is None
    write(tmp_path, "t10k-labels-idx1-ubyte", idx((6,), LABELS))
    with pytest.raises(DataError, match=r"has no file t10k-images-idx3-ubyte or t10k-images-idx3-ubyte\.gz, add it"):
        load_images(str(tmp_path))


def test_size_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 0)
    with pytest.raises(DataError, match="size is for"):
        load_images(str(tmp_path), size=8)


IMAGES, TARGETS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "starts with nothing"),
        (IMAGES, idx((6, 5, 4), b"")[:10], "ends within its header"),
        (IMAGES, idx((6, 5, 4), bytes(119)), "announces 120 values but holds only 119"),
        (IMAGES, idx((6, 5, 4), bytes(121)), "announces 120 values but holds more"),
        (IMAGES, idx((2**32 - 1,) * 3, bytes(120)), "announces 7922816245.* values but holds only 120"),
        (IMAGES, idx((6, 20), bytes(120)), "starts with 00 00 08 02, not with 00 00 08 03"),
        (IMAGES, idx((6, 5, 4), bytes(480), kind=0x0D), "starts with 00 00 0d 03"),
        (IMAGES, b"\x89PNG" + bytes(100), "starts with 89 50 4e 47"),
        (IMAGES, idx((0, 5, 4), b""), r"images have shape \(0, 5, 4\)"),
        (TARGETS, idx((5,), LABELS[:5]), "6 images but 5 labels"),
        (TARGETS, idx((6,), LABELS[:5]), "announces 6 values but holds only 5"),
        (TARGETS, idx((6,), bytes([2, 0, 1, 1, 0, 7])), "train has the label 7, number the 4 classes"),
        (TARGETS, idx((6,), bytes(6)), "has 1 class"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, name: str, content: bytes, message: str, end: str) -> None:
    write_pair(tmp_path, "train", 0, end=end)
    write(tmp_path, name + end, content)
    with pytest.raises(DataError, match=message) as caught:
        load_images(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_labels(tmp_path: Path) -> None:
    write(tmp_path, f"{IMAGES}.gz", idx((6, 5, 4), bytes(120)))
    with pytest.raises(DataError, match="has no file train-labels-idx1-ubyte"):
        load_images(str(tmp_path))


def test_damaged_gzip(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", 0, end=".gz")
    path = tmp_path / f"{IMAGES}.gz"
    whole = path.read_bytes()
    for damaged in (b"hello", whole[:-9], whole[:60], whole[:-6] + b"\0\0" + whole[-4:], whole[:40] + whole[50:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: (cannot be read to its end|starts with)"):
            load_images(str(tmp_path))
