"""Splits, batches, loss and metric of image classification."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.utils.data import TensorDataset

from nas.tasks import Augmentation, DataError, ImageClassification, Mixing, Task, TaskMetric
from nas.tasks.image_data import ImageData, image_set


def rows_as_bytes(images: Tensor) -> list[bytes]:
    return [image.tobytes() for image in images.numpy()]


def make_data(n: int = 200, classes: int = 4, test: int = 40, channels: int = 3) -> ImageData:
    """Random images, all different, with unequal classes: the last one has twice the images of the others."""
    rng = np.random.default_rng(0)
    labels = np.minimum(np.arange(n + test) % (classes + 1), classes - 1)
    images = rng.integers(0, 200, (n + test, 8, 6, channels), dtype=np.uint8)
    return ImageData(
        "made up",
        tuple(f"class {i}" for i in range(classes)),
        image_set(images[:n], labels[:n], "train"),
        test=image_set(images[n:], labels[n:], "test") if test else None,
    )


def all_batches(batches: Any) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


# ---- splits


def test_digits_splits_are_disjoint_and_stratified() -> None:
    task = ImageClassification.load("digits")
    assert isinstance(task, Task)
    assert (len(task.test), len(task.validation), len(task.train)) == (360, 216, 1221)
    total = Counter(torch.cat([task.train.labels, task.validation.labels, task.test.labels]).tolist())
    for part in (task.train, task.validation, task.test):
        counts = Counter(part.labels.tolist())
        for label, count in total.items():
            assert abs(counts[label] - count * len(part) / 1797) < 1.5
    parts = [set(rows_as_bytes(part.images)) for part in (task.train, task.validation, task.test)]
    assert len(set.union(*parts)) == sum(len(part) for part in parts)


def test_validation_comes_from_train_and_never_from_test() -> None:
    data = make_data()
    task = ImageClassification(data, validation=0.25, seed=3)
    assert data.test is not None
    assert torch.equal(task.test.images, data.test.images)
    assert sorted(rows_as_bytes(torch.cat([task.train.images, task.validation.images]))) == sorted(
        rows_as_bytes(data.train.images)
    )
    assert Counter(task.validation.labels.tolist()) == {0: 10, 1: 10, 2: 10, 3: 20}
    _, expected = train_test_split(
        data.train.images.numpy(), test_size=0.25, random_state=3, stratify=data.train.labels.numpy()
    )
    np.testing.assert_array_equal(task.validation.images.numpy(), expected)


def test_images_keep_their_labels_through_the_splits() -> None:
    data = make_data(test=0)
    label_of = dict(zip(rows_as_bytes(data.train.images), data.train.labels.tolist(), strict=True))
    task = ImageClassification(data)
    for part in (task.train, task.validation, task.test):
        assert [label_of[image] for image in rows_as_bytes(part.images)] == part.labels.tolist()


def test_own_validation_set_is_kept() -> None:
    data = make_data()
    own = ImageData(data.origin, data.classes, data.train, validation=data.test, test=data.test)
    task = ImageClassification(own)
    assert task.train is data.train
    assert task.validation is data.test


def test_the_seed_decides_the_splits_and_the_fingerprint_tells() -> None:
    first, again, other = (ImageClassification.load("digits", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train.images, again.train.images)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.fingerprint) == 16


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_fingerprint_sees_one_pixel_and_one_label(split: str) -> None:
    tasks = [ImageClassification(make_data()) for _ in range(3)]
    getattr(tasks[1], split).images[-1, -1, -1, -1] ^= 1
    getattr(tasks[2], split).labels[-1] ^= 1
    assert len({task.fingerprint for task in tasks}) == 3


# ---- batches


def test_batches_are_normalised_in_stored_order() -> None:
    task = ImageClassification(make_data(), augmentation=Augmentation(flip=True))
    pixels = task.train.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(task.mean, pixels.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(task.std, pixels.std((0, 2, 3)), rtol=1e-9)
    assert (task.in_channels, task.image_size) == (3, (8, 6))
    expected = (pixels - np.reshape(task.mean, (1, 3, 1, 1))) / np.reshape(task.std, (1, 3, 1, 1))

    batches = list(task.batches("train", 32))

    assert [len(target) for _, target in batches] == [32, 32, 32, 32, 32, 10]
    inputs, targets = all_batches(batches)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)
    assert torch.equal(targets, task.train.labels)
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std((0, 2, 3), correction=0), 1, atol=1e-5)


def test_mean_and_std_can_be_given() -> None:
    mean, std = [0.5, 0.25, 0.0], [0.5, 1.0, 0.125]
    task = ImageClassification(make_data(), mean=mean, std=std)
    assert (task.mean, task.std) == (tuple(mean), tuple(std))
    inputs, _ = all_batches(task.batches("test", 16))
    pixels = task.test.images.numpy().astype(np.float64) / 255
    expected = (pixels - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-6)
    default = ImageClassification(make_data())
    assert ImageClassification(make_data(), mean=mean).std == default.std
    assert ImageClassification(make_data(), std=std).mean == default.mean


def test_constant_channel_gives_finite_inputs() -> None:
    data = make_data(channels=1)
    black = image_set(np.zeros((50, 8, 6), np.uint8), np.arange(50) % 4, "black")
    task = ImageClassification(ImageData("black", data.classes, black, test=black))
    assert all(bool((inputs == 0).all()) for inputs, _ in task.batches("test", 16))


def test_limit_takes_a_fixed_fair_sample_in_stored_order() -> None:
    ordered = make_data(n=1000, test=1000)
    assert ordered.test is not None
    by_class = ordered.test.subset(ordered.test.labels.argsort(stable=True))
    task = ImageClassification(ImageData("sorted", ordered.classes, ordered.train, test=by_class))
    inputs, targets = all_batches(task.batches("test", 64, limit=200))
    again, _ = all_batches(task.batches("test", 50, limit=200))
    assert torch.equal(inputs, again)
    assert targets.tolist() == sorted(targets.tolist())
    assert min(Counter(targets.tolist()).values()) > 20  # 40 of the smaller classes are expected
    everything, _ = all_batches(task.batches("test", 64, limit=5000))
    assert len(everything) == 1000


def test_shuffled_batches_begin_with_a_fair_sample_in_a_fixed_order() -> None:
    ordered = make_data(n=1000, test=1000)
    assert ordered.test is not None
    by_class = ordered.test.subset(ordered.test.labels.argsort(stable=True))
    task = ImageClassification(ImageData("sorted", ordered.classes, ordered.train, test=by_class))
    inputs, targets = all_batches(task.batches("test", 64, shuffled=True))
    again, _ = all_batches(task.batches("test", 50, shuffled=True))
    stored, _ = all_batches(task.batches("test", 64))
    assert torch.equal(inputs, again)
    assert sorted(map(bytes, inputs.numpy())) == sorted(map(bytes, stored.numpy()))
    for part in (targets[:200], targets[-200:]):
        assert min(Counter(part.tolist()).values()) > 20  # 40 of the smaller classes are expected


def test_an_epoch_shows_each_image_once_in_random_order() -> None:
    task = ImageClassification(make_data(), augmentation=Augmentation())  # 170 images
    inputs, targets = all_batches(task.train_batches(16, torch.Generator().manual_seed(0)))
    assert len(targets) == 16 * task.steps_per_epoch(16) == 160
    stored = {image: (place, label) for place, (image, label) in enumerate(zip(*stored_train(task), strict=True))}
    found = [stored[image] for image in rows_as_bytes(inputs)]
    assert [label for _, label in found] == targets.tolist()
    places = [place for place, _ in found]
    assert len(set(places)) == 160
    assert places != sorted(places)


def stored_train(task: ImageClassification) -> tuple[list[bytes], list[int]]:
    inputs, targets = all_batches(task.batches("train", 512))
    return rows_as_bytes(inputs), targets.tolist()


def test_the_generator_decides_the_epoch() -> None:
    task = ImageClassification(make_data())
    generator = torch.Generator().manual_seed(7)
    first, _ = all_batches(task.train_batches(16, generator))
    second, _ = all_batches(task.train_batches(16, generator))
    again, _ = all_batches(task.train_batches(16, torch.Generator().manual_seed(7)))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    task = ImageClassification(make_data())
    assert task.steps_per_epoch(1000) == 1
    ((inputs, _),) = task.train_batches(1000, torch.Generator())
    assert len(inputs) == len(task.train)


def test_recalibration_batches_repeat_and_are_augmented() -> None:
    task = ImageClassification(make_data(), augmentation=Augmentation(crop_padding=2, flip=True))
    first, targets = all_batches(task.recalibration_batches(100, 48, seed=1))
    again, _ = all_batches(task.recalibration_batches(100, 48, seed=1))
    other, _ = all_batches(task.recalibration_batches(100, 48, seed=2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(targets) == 100
    stored, _ = stored_train(task)
    assert len(set(rows_as_bytes(first)) - set(stored)) > 90
    assert [len(batch) for _, batch in task.recalibration_batches(100, 48, seed=1)] == [34, 33, 33]
    assert sum(len(batch) for _, batch in task.recalibration_batches(9999, 48, seed=1)) == len(task.train)


def test_recalibration_uses_different_training_images() -> None:
    task = ImageClassification(make_data(), augmentation=Augmentation())
    inputs, targets = all_batches(task.recalibration_batches(100, 48, seed=1))
    stored = dict(zip(*stored_train(task), strict=True))
    found = rows_as_bytes(inputs)
    assert len(set(found)) == 100
    assert [stored[image] for image in found] == targets.tolist()
    other, _ = all_batches(task.recalibration_batches(100, 48, seed=2))
    assert set(rows_as_bytes(other)) != set(found)


# ---- mixing


def mixed_task(**options: Any) -> ImageClassification:
    return ImageClassification(make_data(), augmentation=Augmentation(), **options)


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0)])
def test_training_batches_are_mixed_with_shares_as_targets(mixing: Mixing) -> None:
    task = mixed_task(mixing=mixing)
    inputs, targets = all_batches(task.train_batches(16, torch.Generator().manual_seed(0)))
    again, _ = all_batches(task.train_batches(16, torch.Generator().manual_seed(0)))
    assert torch.equal(inputs, again)
    assert (inputs.dtype, targets.dtype, targets.shape) == (torch.float32, torch.float32, (160, 4))
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert ((targets > 0.01).sum(1) == 2).any()
    # The first batch is the one without mixing, with the mixing drawn after it.
    plain, labels = next(mixed_task().train_batches(16, torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(0)
    torch.randperm(len(task.train), generator=generator)
    expected, shares = mixing(plain, torch.eye(4)[labels], generator)
    assert torch.equal(inputs[:16], expected)
    assert torch.equal(targets[:16], shares)


def test_mixing_leaves_all_other_batches_alone() -> None:
    mixed, plain = mixed_task(mixing=Mixing(1.0, 1.0)), mixed_task()
    for batches in (
        lambda task: task.recalibration_batches(100, 48, seed=1),
        lambda task: task.batches("train", 32),
        lambda task: task.batches("validation", 32),
    ):
        for found, expected in zip(all_batches(batches(mixed)), all_batches(batches(plain)), strict=True):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)


# ---- loss and metric


def smoothed_cross_entropy(logits: Tensor, shares: np.ndarray, weights: np.ndarray, smoothing: float) -> np.ndarray:
    """For each row, from the definition: shares moved towards the uniform ones, and each class with its weight."""
    negative = -np.log(np.exp(logits.double().numpy()) / np.exp(logits.double().numpy()).sum(1, keepdims=True))
    smooth = (1 - smoothing) * shares + smoothing / shares.shape[1]
    return (smooth * weights * negative).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_loss_of_shares_and_of_indices_equals_its_definition(smoothing: float, class_weights: Any) -> None:
    task = ImageClassification(make_data(), label_smoothing=smoothing, class_weights=class_weights)
    labels = task.train.labels.numpy()
    weights = np.ones(4)
    if class_weights == "balanced":
        weights = compute_class_weight("balanced", classes=np.arange(4), y=labels)
        assert weights.max() > 1.5 * weights.min()
        assert task.class_weights is not None
        np.testing.assert_allclose(task.class_weights, weights, rtol=1e-6)
    logits = torch.randn((50, 4), generator=torch.Generator().manual_seed(0))
    shares = torch.rand((50, 4), generator=torch.Generator().manual_seed(1)).softmax(1)
    target = torch.arange(50) ** 2 % 4

    rows = smoothed_cross_entropy(logits, shares.numpy(), weights, smoothing)
    assert float(task.loss(logits, shares)) == pytest.approx(rows.mean(), rel=1e-5)
    rows = smoothed_cross_entropy(logits, np.eye(4)[target], weights, smoothing)
    assert float(task.loss(logits, target)) == pytest.approx(rows.sum() / weights[target].sum(), rel=1e-5)


def test_balanced_loss_under_autocast_and_its_gradient() -> None:
    task = ImageClassification(make_data(), class_weights="balanced", label_smoothing=0.1)
    logits = torch.randn((8, 4), generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    for target in (torch.arange(8) % 4, torch.full((8, 4), 0.25)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = task.loss(logits, target)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(task.loss(logits.detach().float(), target)), rel=1e-2)


def test_class_weights_come_from_the_images_left_for_training() -> None:
    data = make_data(n=60)
    task = ImageClassification(data, validation=0.5, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(4), y=task.train.labels.numpy())
    np.testing.assert_allclose(task.class_weights, expected, rtol=1e-6)
    assert ImageClassification(data).class_weights is None


def test_balanced_needs_an_image_of_each_class() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2] * 3)
    images = torch.zeros((63, 1, 4, 4), dtype=torch.uint8)
    train = image_set(images[:, 0].numpy(), labels.numpy(), "few")
    data = ImageData("few", ("a", "b", "rare"), train, test=train)
    task = ImageClassification(data, validation=0.9)
    assert 2 not in task.train.labels.tolist()
    with pytest.raises(DataError, match="no image of class 'rare' is left for training, give a smaller validation"):
        ImageClassification(data, validation=0.9, class_weights="balanced")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_correct_equal_their_definition(smoothing: float) -> None:
    task = ImageClassification(make_data(), label_smoothing=smoothing)
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(50) % 4
    shares = logits.double().softmax(1).numpy()
    uniform = -np.log(shares).mean()
    expected = (1 - smoothing) * log_loss(target.numpy(), shares, labels=range(4)) + smoothing * uniform
    assert float(task.loss(logits, target)) == pytest.approx(expected, rel=1e-5)
    assert task.correct(logits, target) == round(50 * accuracy_score(target.numpy(), shares.argmax(1)))


def test_accuracy_from_scores_of_batches_is_that_of_the_whole_split() -> None:
    task = ImageClassification(make_data())
    assert task.metrics == (TaskMetric("accuracy", "maximize"),)
    assert task.space_options == {"in_channels": 3, "classes": 4}
    assert task.evaluation_size("accuracy", "test") == 40
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 4))
    total, count = 0.0, 0.0
    for images, target in task.evaluation_batches("accuracy", "test", 7, shuffled=True):
        scores = task.score("accuracy", network(images), target)
        assert scores.total.shape == scores.count.shape == target.shape
        total, count = total + float(scores.total.sum()), count + float(scores.count.sum())
    images, target = all_batches(task.batches("test", 40))
    assert total / count == accuracy_score(target.numpy(), network(images).argmax(1).numpy())
    for call in (
        lambda: task.evaluation_batches("recall", "test", 7),
        lambda: task.evaluation_size("recall", "test"),
        lambda: task.score("recall", network(images), target),
    ):
        with pytest.raises(DataError, match="there is no metric 'recall' of this task, give one of accuracy"):
            call()


# ---- construction


def test_load_passes_its_options_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x_train=rng.integers(0, 256, (100, 9, 9), np.uint8), y_train=np.arange(100) % 2)
    augmentation = Augmentation(cutout=3)
    task = ImageClassification.load(
        "a.npz", base=tmp_path, validation=0.5, seed=4, augmentation=augmentation, label_smoothing=0.2
    )
    assert (len(task.test), len(task.validation), len(task.train)) == (20, 40, 40)
    assert task.augmentation is augmentation
    assert task.label_smoothing == 0.2
    assert ImageClassification.load("a.npz", base=tmp_path).augmentation == Augmentation.default(1, (9, 9))
    with pytest.raises(DataError, match=r"a\.npz: size is for"):
        ImageClassification.load("a.npz", base=tmp_path, size=4)


def test_from_torch_datasets() -> None:
    data = make_data()
    assert data.test is not None
    train, test = (TensorDataset(part.images, part.labels) for part in (data.train, data.test))
    task = ImageClassification.from_datasets(train, test, data.classes, seed=5)
    assert task.fingerprint == ImageClassification(data, seed=5).fingerprint
    assert len(ImageClassification.from_datasets(train, validation=0.3).validation) == 48


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ImageClassification(make_data(), validation=0.0), "made up: the share of images for validation is 0"),
        (lambda: ImageClassification(make_data(), validation=1.5), "give a number between 0 and 1"),
        (lambda: ImageClassification(make_data(n=10)), "made up: 10 images of 4 classes are too few to set 15% aside"),
        (lambda: ImageClassification(make_data(n=10, test=0)), "20% aside for testing"),
        (lambda: ImageClassification(make_data(), label_smoothing=math.nan), "label_smoothing is nan"),
        (lambda: ImageClassification(make_data(), class_weights="equal"), "is 'equal', give one of none, balanced"),  # type: ignore[arg-type]
        (lambda: ImageClassification(make_data(), mean=[0.5]), "mean has 1 values, the images have 3 channels"),
        (lambda: ImageClassification(make_data(), std=[0.5] * 4), "std has 4 values, the images have 3 channels"),
        (lambda: ImageClassification(make_data(), mean=[0.5, 0.5, 1.5]), r"mean is \[.*\], give numbers from 0 to 1"),
        (lambda: ImageClassification(make_data(), mean=[0.5, -0.1, 0.5]), "give numbers from 0 to 1"),
        (lambda: ImageClassification(make_data(), mean=[0.5, math.nan, 0.5]), "give numbers from 0 to 1"),
        (lambda: ImageClassification(make_data(), std=[0.5, 0.0, 0.5]), "give numbers from above 0 to 1"),
        (lambda: ImageClassification(make_data(), std=[58.0, 57.0, 57.0]), "as for pixel values from 0 to 1"),
        (lambda: ImageClassification(make_data(), augmentation=Augmentation(crop_padding=6)), "need less than 6"),
        (lambda: ImageClassification(make_data()).steps_per_epoch(0), "batch_size is 0"),
        (lambda: next(ImageClassification(make_data()).batches("test", 8, limit=0)), "limit is 0"),
        (lambda: next(ImageClassification(make_data()).recalibration_batches(0, 8, 0)), "images is 0"),
        (
            lambda: next(ImageClassification(make_data()).batches("tset", 8)),  # type: ignore[arg-type]
            "no split 'tset', give one of train, validation, test",
        ),
    ],
)
def test_what_cannot_be_done_is_said(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build()
