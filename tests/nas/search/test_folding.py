"""A folded network against the network itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nas.search.folding import fold
from nas.training.recalibration import recalibrate

CONVNET: dict[str, Any] = {
    "resolutions": [12],
    "widths": [[16, 24], [24, 32]],
    "strides": [1, 2],
    "depths": [[1, 2], [1, 2]],
    "head": 32,
}
MOBILENETV3: dict[str, Any] = {
    "resolutions": [12],
    "classes": 10,
    "stem_stride": 1,
    "widths": [16, 24],
    "strides": [2, 2],
    "activations": ["relu", "hardswish"],
    "squeeze_excite": [False, True],
    "depths": [1, 2],
    "head": 32,
    "features": 48,
}


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def normalised(network: nn.Module, images: Tensor) -> nn.Module:
    """With statistics and affine weights that make a difference."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    recalibrate(network, [images])
    return network


@pytest.mark.parametrize(("name", "options"), [("convnet", CONVNET), ("mobilenetv3", MOBILENETV3)])
def test_random_networks_compute_the_same(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    space = search_spaces.get(name, **options)
    images = torch.randn(16, 3, 12, 12)
    kinds: set[type[nn.Module]] = set()
    for architecture in (space.smallest(), space.largest(), *space.sample(8, seed=0)):
        network = normalised(space.build(architecture), images)
        kinds |= {type(module) for module in network.modules()}
        before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        with torch.no_grad():
            expected = network(images)
            folded = fold(network, images[:1])
            found = folded(images)
        assert norms(network) > 5
        assert norms(folded) == 0
        assert any(getattr(module, "inplace", False) for module in folded.modules())
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
        assert not any(getattr(module, "inplace", False) for module in network.modules())
    assert len(kinds) > 8  # every block was among them


class TwoReaders(nn.Module):
    """The convolution is read by the normalisation and by the sum; the normalisation by activation and sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.norm(y)
        result: Tensor = self.act(z) + y + z
        return result


class SharedConv(nn.Module):
    """One convolution in two places with different normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.conv(self.first(self.conv(x))))
        return result


class Returned(nn.Module):
    """What the normalisation and the activation read is part of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.conv(x)
        z = self.norm(y)
        return y, z, self.act(z)


@pytest.mark.parametrize(("make", "left"), [(TwoReaders, 1), (SharedConv, 2), (Returned, 1)])
def test_what_others_read_stays(make: type[nn.Module], left: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 5)
    network = normalised(make(), images)
    folded = fold(network, images[:1])
    assert norms(folded) == left
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.ReLU(), nn.Conv2d(3, 3, 1)],  # the images stay as they are
        [nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)],
        [nn.ConvTranspose2d(3, 3, 2), nn.BatchNorm2d(3)],
        [nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.GELU()],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Dropout(), nn.Hardswish()],
        [nn.Flatten(), nn.Linear(75, 8), nn.LayerNorm(8), nn.ReLU()],
    ],
)
def test_unknown_patterns_stay(layers: list[nn.Module]) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 5)
    kept = images.clone()
    network = nn.Sequential(*layers).eval()
    folded = fold(network, images[:1])
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network(images))
    assert torch.equal(images, kept)
    assert norms(folded) == norms(network)


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fold(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), torch.zeros(1, 3, 4, 4))
