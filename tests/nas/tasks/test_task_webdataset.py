"""Tar files written with tarfile come back as they were; no source runs a command."""

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.tasks import DataError
from nas.tasks.sources import load_images

pytest.importorskip("webdataset")

Array = np.ndarray[Any, Any]
File = tuple[str, bytes]


def pixels(seed: int, rows: int = 4, size: tuple[int, int] = (4, 5)) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (rows, *size, 3), dtype=np.uint8)


def encoded(image: Array, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def samples(seed: int, rows: int = 4) -> list[File]:
    """Images of classes 0, 1, 0, 1 with their labels and something else."""
    files = []
    for row, image in enumerate(pixels(seed, rows)):
        name = f"sub.dir/{row:04}" if row == 0 else f"{row:04}"
        files += [(f"{name}.PNG", encoded(image)), (f"{name}.cls", f"{row % 2}\n".encode()), (f"{name}.json", b"{}")]
    return files


def write(path: Path, files: list[File]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def rows_of(part: Any) -> Array:
    array: Array = part.images.permute(0, 2, 3, 1).numpy()
    return array


def test_one_shard(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [("README", b"hello"), *samples(0)])
    data = load_images("a.tar", base=tmp_path)
    np.testing.assert_array_equal(rows_of(data.train), pixels(0))
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.classes == ("0", "1")
    assert data.test is None


def test_pattern_of_shards_in_its_order(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"train-{number:03}.tar", samples(number))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    data = load_images(str(tmp_path / "train-{000..002}.tar"))
    np.testing.assert_array_equal(rows_of(data.train), np.concatenate([pixels(number) for number in range(3)]))
    assert data.classes == ("cat", "dog")
    data = load_images("train-{002,000}.tar", base=tmp_path)
    np.testing.assert_array_equal(rows_of(data.train), np.concatenate([pixels(2), pixels(0)]))


def test_folder_of_shards(tmp_path: Path) -> None:
    for number, name in enumerate(["train-0", "train-1", "val-0", "test-0"]):
        write(tmp_path / f"{name}.tar", samples(number))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    data = load_images(str(tmp_path))
    np.testing.assert_array_equal(rows_of(data.train), np.concatenate([pixels(0), pixels(1)]))
    np.testing.assert_array_equal(rows_of(data.validation), pixels(2))
    np.testing.assert_array_equal(rows_of(data.test), pixels(3))
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("suffix", "kind", "options"),
    [("jpg", "JPEG", {"quality": 98}), ("jpeg", "JPEG", {"quality": 98}), ("webp", "WEBP", {"lossless": True})],
)
def test_kinds_of_images(tmp_path: Path, suffix: str, kind: str, options: Any) -> None:
    grey = np.random.default_rng(0).integers(100, 110, (2, 8, 8), dtype=np.uint8)
    files = [[(f"{n}.{suffix}", encoded(grey[n], kind, **options)), (f"{n}.cls", str(n).encode())] for n in range(2)]
    write(tmp_path / "a.tar", files[0] + files[1])
    images = load_images(str(tmp_path / "a.tar")).train.images
    np.testing.assert_allclose(images[:, 0].numpy().astype(int), grey, atol=0 if kind == "WEBP" else 3)


def test_size(tmp_path: Path) -> None:
    odd = [("odd.png", encoded(pixels(9, 1, (7, 5))[0])), ("odd.cls", b"1")]
    write(tmp_path / "a.tar", samples(0) + odd)
    with pytest.raises(
        DataError, match=r"a\.tar: odd\.png: is 7 pixels high and 5 wide but .*0000\.png is 4 high and 5"
    ):
        load_images(str(tmp_path / "a.tar"))
    assert load_images(str(tmp_path / "a.tar"), size=6).train.images.shape == (5, 3, 6, 6)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("x.png", b"hello"), ("x.cls", b"1")], r"x\.png: is not an image that can be read"),
        ([("x.png", encoded(pixels(0)[0])[:60]), ("x.cls", b"1")], r"x\.png: is not an image that can be read"),
        ([("x.png", encoded(pixels(0)[0]))], r"x: has no \.cls file"),
        ([("x.cls", b"1")], r"x: has 0 images \(\.jpg, \.jpeg, \.png, \.webp\), a sample needs one"),
        ([("x.png", b""), ("x.jpg", b""), ("x.cls", b"1")], "x: has 2 images"),
        ([("x.png", encoded(pixels(0)[0])), ("x.cls", b"cat")], r"x\.cls: is b'cat', write the number of the class"),
        ([("x.png", encoded(pixels(0)[0])), ("x.cls", b"1" * 5000)], r"x\.cls: is b'1{20}'"),
        ([("x.png", encoded(pixels(0)[0])), ("x.cls", b"-1")], "train has the label -1"),
        ([("x.png", encoded(pixels(0)[0])), ("x.cls", b"7")], "train has the label 7"),
        ([("x.png", b""), ("x.png", b"")], "is damaged, has a file twice, or is not a tar"),
    ],
)
def test_samples_that_do_not_fit(tmp_path: Path, files: list[File], message: str) -> None:
    write(tmp_path / "a.tar", samples(0) + files)
    with pytest.raises(DataError, match=message) as caught:
        load_images(str(tmp_path / "a.tar"))
    assert str(tmp_path / "a.tar") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(0))
    (tmp_path / "classes.txt").write_text("cat\ndog\nemu\n")
    with pytest.raises(DataError, match="class 'emu' has no training image"):
        load_images(str(tmp_path))


def test_shards_without_samples(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(0))
    write(tmp_path / "test-0.tar", [])
    with pytest.raises(DataError, match="test holds no images"):
        load_images(str(tmp_path))


def test_damaged_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, samples(0))
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:100], whole[:560], bytes(100) + whole[100:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.tar(: is damaged|: train holds no images)"):
            load_images(str(path))


@pytest.mark.parametrize("name", ["none.tar", "none-{0..1}.tar", "a-{0,1}.tar"])
def test_missing_shards(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a-0.tar", samples(0))
    with pytest.raises(DataError, match=r"(none|none-0|a-1)\.tar: there is no such file"):
        load_images(name, base=tmp_path)


def test_unbalanced_brace(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a brace without its partner"):
        load_images("train-{0..1.tar", base=tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pipe:touch ran; cat a.tar", "is a command or an address"),
        ("PIPE:touch ran; cat a.tar", "is a command or an address"),
        ("a.tar::pipe:touch ran; cat a.tar", "is a command or an address"),
        ("http://localhost:9/a.tar", "is a command or an address"),
        ("gs://bucket/a.tar", "is a command or an address"),
        ("{pipe:touch ran; cat a.tar,b}.tar", "there is no such file"),
        ("{pipe,file}:touch ran; cat a.tar", "there is no such file"),
    ],
)
def test_commands_and_addresses_are_not_opened(
    tmp_path: Path, source: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.tar", samples(0))
    with pytest.raises(DataError, match=message):
        load_images(source)
    assert not (tmp_path / "ran").exists()


def test_file_that_is_called_like_a_command_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself would run this name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train-0.tar").write_bytes(b"")
    write(tmp_path / "train-pipe:touch ran;.tar", samples(0))
    (tmp_path / "train-0.tar").unlink()
    np.testing.assert_array_equal(rows_of(load_images(str(tmp_path)).train), pixels(0))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("library", "name"), [("braceexpand", "a.tar"), ("webdataset.tariterators", ".")])
def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str) -> None:
    write(tmp_path / "a.tar", samples(0))
    write(tmp_path / "train-0.tar", samples(0))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"needs the library webdataset, pip install 'nasmyth\[webdataset\]'"):
        load_images(name, base=tmp_path)
