"""What the library datasets writes comes back, with and without streaming; no test touches the network."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.tasks import DataError
from nas.tasks.image_data import ImageData, ImageSet
from nas.tasks.sources import load_images

datasets = pytest.importorskip("datasets")
hub = pytest.importorskip("huggingface_hub")

Array = np.ndarray[Any, Any]
KINDS = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies go to a folder of the test, and the Hub cannot be reached."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def pixels(seed: int, size: tuple[int, int] = (4, 5)) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (6, *size, 3), dtype=np.uint8)


def split(seed: int, size: tuple[int, int] = (4, 5), **changes: list[Any]) -> Any:
    columns: dict[str, list[Any]] = {
        "photo": [Image.fromarray(image) for image in pixels(seed, size)],
        "kind": [0, 1, 2, 2, 1, 0],
        "note": ["x"] * 6,
    }
    kinds = {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=KINDS), "note": datasets.Value("string")}
    return datasets.Dataset.from_dict(columns | changes, features=datasets.Features(kinds))


def saved(root: Path, **splits: Any) -> Path:
    datasets.DatasetDict(splits).save_to_disk(str(root / "saved"))
    return root / "saved"


def parquet(root: Path, **splits: Any) -> Path:
    (root / "data").mkdir()
    for name, part in splits.items():
        part.to_parquet(str(root / "data" / f"{name}-00000-of-00001.parquet"))
    return root / "data"


def check(part: ImageSet | None, seed: int, rows: int = 6) -> None:
    assert part is not None
    np.testing.assert_array_equal(part.images.permute(0, 2, 3, 1).numpy(), pixels(seed)[:rows])
    assert part.labels.tolist() == [0, 1, 2, 2, 1, 0][:rows]


@pytest.mark.parametrize("way", ["hf", "hf-stream"])
@pytest.mark.parametrize("write", [saved, parquet])
def test_splits_come_back(tmp_path: Path, write: Any, way: str, cache: Path) -> None:
    path = write(tmp_path, train=split(0), validation=split(1), test=split(2))
    data = load_images(f"{way}:{path}")
    assert data.classes == tuple(KINDS)
    check(data.train, 0)
    check(data.validation, 1)
    check(data.test, 2)
    assert bool(list(cache.rglob("*.arrow"))) == (write is parquet and way == "hf")


def test_one_set_and_one_file(tmp_path: Path) -> None:
    split(0).save_to_disk(str(tmp_path / "one"))
    split(1).to_parquet(str(tmp_path / "one.parquet"))
    for name, seed in (("one", 0), ("one.parquet", 1)):
        data = load_images(f"hf:{name}", base=tmp_path)
        check(data.train, seed)
        assert data.test is None


def test_one_held_out_split_is_the_test_set_and_others_are_passed_over(tmp_path: Path) -> None:
    data = load_images(f"hf:{saved(tmp_path, train=split(0), valid=split(1), extra=split(2))}")
    check(data.test, 1)
    assert data.validation is None


@pytest.mark.parametrize("way", ["hf", "hf-stream"])
def test_limit(tmp_path: Path, way: str) -> None:
    path = parquet(tmp_path, train=split(0), test=split(1))
    data = load_images(f"{way}:{path}?limit=4")
    check(data.train, 0, 4)
    check(data.test, 1, 4)
    check(load_images(f"{way}:{path}?limit=100").train, 0)
    with pytest.raises(DataError, match="class 'emu' has no training image"):
        load_images(f"{way}:{path}?limit=2")


def test_images_in_files(tmp_path: Path) -> None:
    """A folder that the library itself reads as images: its rows hold paths, not bytes."""
    for name in KINDS:
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for row, image in enumerate(pixels(KINDS.index(name))[:2]):
            Image.fromarray(image).save(tmp_path / "photos" / "train" / name / f"{row}.png")
    expected = load_images(str(tmp_path / "photos"))
    for way in ("hf", "hf-stream"):
        data = load_images(f"{way}:photos", base=tmp_path)
        assert data.classes == expected.classes
        np.testing.assert_array_equal(data.train.images.numpy(), expected.train.images.numpy())
        assert data.train.labels.tolist() == expected.train.labels.tolist()


def test_most_classes_decide_between_labels(tmp_path: Path) -> None:
    fine = split(0)
    coarse = datasets.ClassLabel(names=["animal", "thing"])
    both = fine.add_column("coarse", [0] * 6).cast_column("coarse", coarse)
    both = both.select_columns(["coarse", "photo", "kind"])
    assert load_images(f"hf:{saved(tmp_path, train=both)}").classes == tuple(KINDS)


def test_test_images_without_published_labels_are_left_out(tmp_path: Path) -> None:
    data = load_images(f"hf:{saved(tmp_path, train=split(0), validation=split(1), test=split(2, kind=[-1] * 6))}")
    check(data.test, 1)
    assert data.validation is None


def test_size(tmp_path: Path) -> None:
    path = saved(tmp_path, train=split(0), test=split(1, (8, 6)))
    with pytest.raises(
        DataError, match=r"test, row 0: is 8 pixels high and 6 wide but .* train, row 0 is 4 high and 5"
    ):
        load_images(f"hf:{path}")
    data = load_images(f"hf:{path}", size=(3, 7))
    assert data.train.images.shape == data.test.images.shape == (6, 3, 3, 7)  # type: ignore[union-attr]
    with Image.fromarray(pixels(0)[0]) as first:
        wanted = np.asarray(first.resize((7, 3), Image.Resampling.BILINEAR, box=(0, 0.928571, 5, 3.071429)))
    np.testing.assert_allclose(data.train.images[0].permute(1, 2, 0).numpy().astype(int), wanted, atol=1)


def png(image: Array) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def raw(seed: int, **changes: list[Any]) -> Any:
    """A split whose image bytes and labels are stored as they are."""
    return split(seed, photo=[png(image) for image in pixels(seed)], **changes)


def with_image(row: int, image: Any) -> Any:
    images: list[Any] = [png(each) for each in pixels(0)]
    images[row] = image
    return split(0, photo=images)


@pytest.mark.parametrize("way", ["hf", "hf-stream"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_image(3, {"bytes": b"hello", "path": None}), "train, row 3: is not an image that can be read"),
        (lambda: with_image(3, None), "train, row 3: has no image or no label"),
        (lambda: raw(0, kind=[0, 1, 2, None, 1, 0]), "train, row 3: has no image or no label"),
        (lambda: raw(0, kind=[0, 1, 1, 1, 1, 0]), "class 'emu' has no training image"),
        (lambda: raw(0, kind=[0, 1, 2, -1, 1, 0]), "train has the label -1"),
        (lambda: raw(0, kind=[-1] * 6), "train has the label -1"),
        (lambda: raw(0).remove_columns("photo"), "columns kind, note, 0 are of type Image and 1 of type ClassLabel"),
        (lambda: raw(0).cast_column("kind", datasets.Value("int64")), "1 are of type Image and 0 of type ClassLabel"),
    ],
)
def test_sets_that_do_not_fit(tmp_path: Path, make: Any, message: str, way: str) -> None:
    path = saved(tmp_path, train=make())
    with pytest.raises(DataError, match=message) as caught:
        load_images(f"{way}:{path}")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_split(tmp_path: Path) -> None:
    path = parquet(tmp_path, train=split(0), test=split(1).select([]))
    with pytest.raises(DataError, match=r'cannot be loaded \(Instruction "test" corresponds to no data!\)'):
        load_images(f"hf:{path}")
    with pytest.raises(DataError, match="test holds no images"):
        load_images(f"hf-stream:{path}")


def test_missing_image_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone.png"
    stored = datasets.DatasetDict(train=with_image(3, {"bytes": None, "path": str(gone)}))
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **options: stored)
    with pytest.raises(DataError, match=r"cannot be loaded \(.*No such file.*gone\.png"):
        load_images("hf:me/pets")


def test_no_training_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the splits test, extra, one must be train"):
        load_images(f"hf:{saved(tmp_path, test=split(0), extra=split(1))}")


@pytest.mark.parametrize("source", ["hf:", "hf-stream:?limit=3", "hf:a?limit=0", "hf:a?size=3", "hf:a:b:c"])
def test_malformed_source(source: str) -> None:
    with pytest.raises(DataError, match="is not of the form hf:NAME, hf:NAME:CONFIG or hf-stream:NAME"):
        load_images(source)


@pytest.mark.parametrize("way", ["hf", "hf-stream"])
def test_what_cannot_be_loaded_says_why(tmp_path: Path, way: str) -> None:
    with pytest.raises(DataError, match=f"^{way}:nobody/nothing: cannot be loaded .*Hub.*, check the name") as caught:
        load_images(f"{way}:nobody/nothing", base=tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "bad.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be loaded"):
        load_images(f"{way}:bad.parquet", base=tmp_path)
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(DataError, match="script: cannot be loaded"):
        load_images(f"{way}:script", base=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the library datasets, pip install 'nasmyth\[datasets\]'"):
        load_images("hf:uoft-cs/cifar10")


def test_name_and_configuration_reach_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_dataset(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments, options))
        return datasets.DatasetDict(train=split(0))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read: list[ImageData] = [load_images(source) for source in ("hf:me/pets", "hf:me/pets:big", "hf-stream:me/pets")]
    assert calls == [
        (("me/pets", None), {"streaming": False}),
        (("me/pets", "big"), {"streaming": False}),
        (("me/pets", None), {"streaming": True}),
    ]
    for data in read:
        check(data.train, 0)
