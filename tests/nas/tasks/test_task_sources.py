"""Reading images: what comes out equals what was written, and bad input is named."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import Dataset, IterableDataset

from nas.tasks import DataError
from nas.tasks.datasets import read_datasets
from nas.tasks.sources import load_images

Array = np.ndarray[Any, Any]


def random_array(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def arrays(**changes: Array | None) -> dict[str, Array]:
    """A good set of arrays, with changes; None takes one out."""
    good: dict[str, Array | None] = {
        "x_train": random_array(12, 6, 5, 3),
        "y_train": np.arange(12) % 3,
        "x_test": random_array(6, 6, 5, 3, seed=1),
        "y_test": np.arange(6) % 3,
    }
    return {name: array for name, array in (good | changes).items() if array is not None}


def save_image(path: Path, pixels: Array, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def refusal(path: Path, **options: Any) -> str | None:
    """The message of the DataError that reading raises; any other exception fails the test."""
    try:
        load_images(str(path), **options)
    except DataError as error:
        return str(error)
    return None


# ---- the embedded set


def test_digits_keep_their_values() -> None:
    data = load_images("digits")
    digits = load_digits()
    assert data.train.images.shape == (1797, 1, 8, 8)
    np.testing.assert_allclose(data.train.images[:, 0].numpy() * (16 / 255), digits.images, atol=0.04)
    assert int(data.train.images.max()) == 255
    assert data.train.labels.tolist() == digits.target.tolist()
    assert data.classes == tuple("0123456789")
    assert data.test is None


# ---- npz


def test_npz_gives_its_arrays(tmp_path: Path) -> None:
    stored = arrays(classes=np.array(["cat", "dog", "emu"]))
    np.savez_compressed(tmp_path / "pets.npz", **stored)
    data = load_images("pets.npz", base=tmp_path)
    assert data.classes == ("cat", "dog", "emu")
    assert data.test is not None
    for part, name in ((data.train, "train"), (data.test, "test")):
        np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1).numpy(), stored[f"x_{name}"])
        assert part.labels.dtype == torch.int64
        assert part.labels.tolist() == stored[f"y_{name}"].tolist()


def test_npz_of_grey_images_without_test(tmp_path: Path) -> None:
    grey = random_array(12, 6, 5)
    np.savez(tmp_path / "grey.npz", x_train=grey, y_train=(np.arange(12) % 3).astype(np.uint8))
    data = load_images(str(tmp_path / "grey.npz"))
    assert data.test is None
    assert data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), grey)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "a.npz", **arrays())
    assert len(load_images("~/a.npz", base=Path("/nowhere")).train) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, "holds the arrays x_test, x_train, y_test, it needs x_train, y_train"),
        ({"x_train": None, "y_train": None, "x_test": None, "y_test": None}, "holds the arrays none"),
        ({"y_test": None}, "may hold x_test with y_test"),
        ({"x_val": np.zeros(3)}, "x_val, .* nothing else"),
        ({"x_train": np.zeros((12, 6, 5, 3), np.float32)}, "train: images are float32, store them as uint8"),
        ({"x_train": random_array(12, 30)}, r"train: images have shape \(12, 30\)"),
        ({"x_train": random_array(0, 6, 5, 3), "y_train": np.arange(0)}, r"shape \(0, 6, 5, 3\)"),
        ({"x_train": random_array(12, 3, 6, 5)}, "seem to have channels first"),
        ({"x_test": random_array(6, 6, 6, 3)}, r"test images have .* \(3, 6, 6\) but those of train \(3, 6, 5\)"),
        ({"y_train": np.arange(11) % 3}, "12 images but 11 labels"),
        ({"y_test": np.arange(7) % 3}, "6 images but 7 labels"),
        ({"y_train": np.arange(12.0) % 3}, "labels are float64"),
        ({"y_train": (np.arange(12) % 3)[:, None]}, r"shape \(12, 1\), store integers of shape \(n,\)"),
        ({"y_train": np.arange(12) % 3 - 1}, "train has the label -1, number the 3 classes of train 0 to 2"),
        ({"y_train": np.arange(12) % 3 * 10**9}, "train has the label 2000000000"),
        ({"y_test": np.arange(6)}, "test has the label 5"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "has 1 class, classification needs at least 2"),
        ({"classes": np.array(["a", "b"])}, "train has the label 2, number the 2 classes"),
        ({"classes": np.array(list("abcd"))}, "class 'd' has no training image"),
        ({"classes": np.array(["a", "a", "b"])}, "two classes have the same name"),
        ({"classes": np.array([["a", "b", "c"]])}, r"classes has shape \(1, 3\)"),
        ({"x_train": np.array([None] * 12)}, "holds Python objects, write plain arrays with numpy.savez"),
    ],
)
def test_npz_that_does_not_fit(tmp_path: Path, changes: dict[str, Array | None], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays(**changes))
    with pytest.raises(DataError, match=message) as caught:
        load_images("bad.npz", base=tmp_path)
    assert str(tmp_path / "bad.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_npz_is_named_or_harmless(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "damaged.npz"
    save(path, **arrays())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 10, len(whole) - 1, *rng.integers(0, len(whole), 40)]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"damaged\.npz: is damaged"):
            load_images(str(path))
    refused = 0
    for place in rng.integers(0, len(whole), 150):  # a changed date or comment does no harm; nothing else may escape
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        message = refusal(path)
        assert message is None or str(path) in message
        refused += message is not None
    assert refused > 75


def test_single_array_and_other_content_under_the_name_npz(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    for name in ("one.npz", "text.npz"):
        with pytest.raises(DataError, match=rf"{name}: is damaged, not an \.npz file"):
            load_images(name, base=tmp_path)
    with zipfile.ZipFile(tmp_path / "texts.npz", "w") as archive:
        archive.writestr("x_train", "hello")
        archive.writestr("y_train", "hello")
    with pytest.raises(DataError, match=r"texts\.npz: train: images are \|S5"):
        load_images("texts.npz", base=tmp_path)


# ---- sources in general


@pytest.mark.parametrize("source", ["cifar", "missing.npz", "readme.txt"])
def test_unknown_source_says_what_there_is(tmp_path: Path, source: str) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(
        DataError, match=r"give digits, hf:NAME, a \.npz file, .* or a folder with a folder for"
    ) as caught:
        load_images(source, base=tmp_path)
    assert str(tmp_path / source) in str(caught.value)


def test_size_is_for_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"digits: size is for hf:NAME, \.tar shards, .*, leave it out"):
        load_images("digits", size=16)
    with pytest.raises(DataError, match="size is 0"):
        load_images(str(tmp_path), size=0)


# ---- folders


def test_folder_of_grey_png_keeps_every_pixel(tmp_path: Path) -> None:
    pixels = random_array(6, 5, 4)
    for i, image in enumerate(pixels):
        save_image(tmp_path / ("b_cat" if i < 3 else "a_dog") / f"{i}.png", image)
    (tmp_path / "b_cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    data = load_images(str(tmp_path))
    assert data.classes == ("a_dog", "b_cat")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(data.train.images[:, 0].numpy(), pixels[[3, 4, 5, 0, 1, 2]])
    assert data.validation is None
    assert data.test is None


def test_folder_with_one_colour_image_is_rgb(tmp_path: Path) -> None:
    grey, colour = random_array(4, 4), random_array(4, 4, 3)
    save_image(tmp_path / "a" / "1.png", grey)
    save_image(tmp_path / "b" / "1.PNG", colour)
    images = load_images(str(tmp_path)).train.images.numpy()
    np.testing.assert_array_equal(images[0], np.stack([grey] * 3))
    np.testing.assert_array_equal(images[1], colour.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("folders", "sets"),
    [
        (("train", "test"), {"train": 2, "test": 2, "validation": None}),
        (("train", "val"), {"train": 2, "test": 2, "validation": None}),
        (("train", "val", "test"), {"train": 2, "test": 2, "validation": 2}),
        (("train",), {"train": 2, "test": None, "validation": None}),
    ],
)
def test_folders_of_splits(tmp_path: Path, folders: tuple[str, ...], sets: dict[str, int | None]) -> None:
    grey_level = {"train": 10, "val": 20, "test": 30}
    for folder in folders:
        for label in "ab":
            save_image(tmp_path / folder / label / "1.png", np.full((4, 4), grey_level[folder], np.uint8))
    data = load_images(str(tmp_path))
    found = {"train": data.train, "test": data.test, "validation": data.validation}
    assert {name: part and len(part) for name, part in found.items()} == sets
    assert int(data.train.images.max()) == 10
    if data.test is not None:
        assert int(data.test.images.min()) == (30 if "test" in folders else 20)


def test_images_are_scaled_and_cropped_at_the_centre(tmp_path: Path) -> None:
    # Three stripes of 20 columns; the middle 20x20 is the green one.
    stripes = np.zeros((20, 60, 3), np.uint8)
    for i in range(3):
        stripes[:, 20 * i : 20 * (i + 1), i] = 200
    save_image(tmp_path / "a" / "wide.png", stripes)
    save_image(tmp_path / "b" / "tall.png", stripes.transpose(1, 0, 2))
    data = load_images(str(tmp_path), size=10)
    assert data.train.images.shape == (2, 3, 10, 10)
    inner = data.train.images[:, :, 1:-1, 1:-1]
    assert (inner[:, 1] == 200).all()
    assert (inner[:, [0, 2]] == 0).all()
    assert load_images(str(tmp_path), size=(6, 12)).train.images.shape == (2, 3, 6, 12)


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    save_image(tmp_path / "train" / "a" / "1.png", random_array(4, 6))
    save_image(tmp_path / "train" / "b" / "1.png", random_array(4, 6))
    assert load_images(str(tmp_path)).train.images.shape == (2, 1, 4, 6)
    save_image(tmp_path / "test" / "b" / "odd.png", random_array(6, 4))
    with pytest.raises(
        DataError, match=r"odd\.png: is 6 pixels high and 4 wide but .*1\.png is 4 high and 6 wide, give"
    ):
        load_images(str(tmp_path))


def test_images_turned_by_the_camera_have_the_size_that_is_seen(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = random_array(4, 6)
    save_image(tmp_path / "a" / "1.png", pixels)
    save_image(tmp_path / "b" / "1.png", np.rot90(pixels), exif=turned)
    np.testing.assert_array_equal(load_images(str(tmp_path)).train.images[:, 0].numpy(), [pixels, pixels])


def test_large_jpeg_is_near_its_colours_and_upright(tmp_path: Path) -> None:
    half = np.zeros((400, 600, 3), np.uint8)
    half[:, 300:] = (240, 30, 90)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held so that the picture must be turned clockwise by a quarter
    save_image(tmp_path / "a" / "1.jpg", half, quality=95)
    save_image(tmp_path / "b" / "1.jpeg", half, quality=95, exif=turned)
    plain, upright = load_images(str(tmp_path), size=8).train.images.numpy().astype(int)
    bright = np.array([240, 30, 90])[:, None, None]
    assert np.abs(plain[:, :, :3]).max() < 6
    assert np.abs(plain[:, :, 5:] - bright).max() < 6
    assert np.abs(upright[:, :3]).max() < 6
    assert np.abs(upright[:, 5:] - bright).max() < 6


def test_jpeg_keeps_its_detail(tmp_path: Path) -> None:
    for label in "ab":
        save_image(tmp_path / label / "1.jpg", random_array(128, 128, 3), quality=95)
    with Image.open(tmp_path / "a" / "1.jpg") as whole:
        expected = np.asarray(whole.resize((100, 100), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(load_images(str(tmp_path), size=100).train.images[0].numpy(), expected)


def two_classes(root: Path) -> None:
    for label in "ab":
        save_image(root / label / "1.png", random_array(4, 4))


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.bmp", "cut.gif"])
def test_damaged_image_is_named_or_harmless(tmp_path: Path, name: str) -> None:
    two_classes(tmp_path)
    file = io.BytesIO()
    Image.fromarray(random_array(16, 16, 3)).save(file, Image.registered_extensions()[Path(name).suffix])
    whole, path = file.getvalue(), tmp_path / "b" / name
    for length in (0, 4, 20, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{name}: is not an image that can be read"):
            load_images(str(tmp_path))
    for place in range(0, len(whole), 1 + len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        message = refusal(tmp_path, size=8)
        assert message is None or str(path) in message


def test_sixteen_bits_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    two_classes(tmp_path)
    save_image(tmp_path / "a" / "0.png", random_array(4, 4, 3))
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "b" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: has more than 8 bits"):
        load_images(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: (root / "empty").mkdir(), "empty: holds no images"),
        (lambda root: (root / "a" / "more").mkdir(), "more: folders inside a class are not read"),
        (lambda root: (root / "a").rename(root / "test"), "has a test or val folder but no train"),
        (lambda root: (root / "b").rename(root.parent / "b"), "has 1 class, classification needs at least 2"),
        (lambda root: (root / "b").rename(root / "train"), "a: only test and val may stand beside train"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, make: Any, message: str) -> None:
    root = tmp_path / "data"
    two_classes(root)
    make(root)
    with pytest.raises(DataError, match=message) as caught:
        load_images(str(root))
    assert str(root) in str(caught.value)


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test: has no class folders"):
        load_images(str(tmp_path))
    save_image(tmp_path / "test" / "c" / "1.png", random_array(4, 4))
    with pytest.raises(DataError, match="c: there is no training folder of that name"):
        load_images(str(tmp_path))


def test_folder_without_classes(tmp_path: Path) -> None:
    save_image(tmp_path / "1.png", random_array(4, 4))
    with pytest.raises(DataError, match="has no class folders"):
        load_images(str(tmp_path))


# ---- torch datasets


class Items(Dataset[tuple[Any, Any]]):
    """A list as a dataset."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[tuple[Any, Any]]):
    """A dataset without a length."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter([(PIXELS[0], 0)])


PIXELS = random_array(2, 5, 4, 3)


@pytest.mark.parametrize(
    "convert",
    [
        lambda pixels: pixels,
        lambda pixels: pixels / 255,
        lambda pixels: Image.fromarray(pixels),
        lambda pixels: torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        lambda pixels: torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255,
    ],
)
def test_every_kind_of_item_keeps_its_pixels(convert: Any) -> None:
    train = Items([(convert(PIXELS[0]), 1), (convert(PIXELS[1]), torch.tensor(0))])
    data = read_datasets(train, Items([(convert(PIXELS[1]), np.int32(1))]), ("no", "yes"))
    np.testing.assert_array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), PIXELS)
    assert data.train.labels.tolist() == [1, 0]
    assert data.classes == ("no", "yes")
    assert data.test is not None
    np.testing.assert_array_equal(data.test.images[0].permute(1, 2, 0).numpy(), PIXELS[1])


def test_grey_items() -> None:
    grey = PIXELS[0, :, :, 0]
    data = read_datasets(Items([(grey, 0), (Image.fromarray(grey), 1), (torch.from_numpy(grey.copy())[None], 1)]))
    assert data.classes == ("0", "1")
    for image in data.train.images:
        np.testing.assert_array_equal(image[0].numpy(), grey)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PIXELS[0], r"item 1: is not a pair"),
        ((torch.zeros(5, 4), 1), r"item 1: the image is a Tensor of shape \(5, 4\)"),
        (("cat.png", 1), "item 1: the image is a str"),
        ((Image.new("RGBA", (4, 5)), 1), "item 1: the image is a Pillow image in mode RGBA"),
        ((PIXELS[0] / 127.0, 1), "item 1: the image is float64 but not uint8 or floats from 0 to 1"),
        ((np.full((5, 4, 3), np.nan), 1), "do not normalise"),
        ((PIXELS[0].astype(np.int64), 1), "item 1: the image is int64"),
        ((PIXELS[0][:3], 1), r"item 1: has shape \(3, 4, 3\), the first image \(5, 4, 3\)"),
        ((PIXELS[0], 0.5), "item 1: the label is 0.5"),
        ((PIXELS[0], "cat"), "item 1: the label is 'cat'"),
        ((PIXELS[0], 7), "train has the label 7"),
    ],
)
def test_items_that_do_not_fit(bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_datasets(Items([(PIXELS[0], 0), bad]))


def test_datasets_without_length_or_content() -> None:
    with pytest.raises(DataError, match="train dataset: has no length"):
        read_datasets(Stream())
    with pytest.raises(DataError, match="test dataset: is empty"):
        read_datasets(Items([(PIXELS[0], 0), (PIXELS[1], 1)]), Items([]))
