"""Published networks: MACs and parameters against their papers, and exactly against counts by other code."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import search_spaces
from latency_predictors.devices import parity
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from search_spaces import Architecture, SearchSpace
from search_spaces.convnet import mnasnet
from search_spaces.convnet.proxylessnas import WIDTHS
from search_spaces.layers import Layers

# Millions of parameters and of MACs; the last digit is the precision.
PUBLISHED = {
    # Tan et al., CVPR 2019, table 1.
    ("mnasnet", "MnasNet-A1"): ("3.9", "312"),
    # Cai et al., ICLR 2019; 320 M is of the paper of once-for-all (ICLR 2020), table 2.
    ("proxylessnas", "ProxylessNAS-mobile"): ("4.1", "320"),
    ("proxylessnas", "ProxylessNAS-gpu"): ("7.1", "465"),
    ("proxylessnas", "ProxylessNAS-cpu"): ("4.4", "439"),
    # The README of the authors (github.com/facebookresearch/mobile-vision). The paper (Wu et al., CVPR 2019, table 3)
    # agrees for A (4.3 M, 249 M) and in the MACs of B, but has 4.5 M parameters for B, where the README has 4.8 M, and
    # 375 M MACs for C, which are those of C1, beside the 5.5 M parameters of C.
    ("fbnet-imagenet", "FBNet-A"): ("4.3", "249.4"),
    ("fbnet-imagenet", "FBNet-B"): ("4.8", "295.6"),
    ("fbnet-imagenet", "FBNet-B1"): ("4.1", "286.8"),
    ("fbnet-imagenet", "FBNet-C"): ("5.5", "383.0"),
    ("fbnet-imagenet", "FBNet-C1"): ("4.9", "374.2"),
    # The READMEs of the authors (github.com/tensorflow/models, research/slim/nets/mobilenet). The papers have 3.4 M
    # parameters for V2 (Sandler et al., CVPR 2018, table 4), and 219 M MACs for V3-Large (Howard et al., ICCV 2019).
    ("mobilenetv2", "MobileNetV2-1.0"): ("3.47", "300"),
    ("mobilenetv3-large", "MobileNetV3-Large-1.0"): ("5.4", "217"),
    ("mobilenetv3-large", "MobileNetV3-Large-0.75"): ("4.0", "155"),
    # Howard et al., ICCV 2019, table 3 (the first version of the paper has a wider head: 2.9 M, 66 M).
    ("mobilenetv3-small", "MobileNetV3-Small-1.0"): ("2.5", "56"),
}

# Parameters and MACs of other implementations at 224 px with 1000 classes, counted by torch's `FlopCounterMode`:
# ProxylessNAS of the package pytorchcv 0.0.74, the rest of geffnet 1.0.2. FBNet-C is that of the paper.
EXACT = {
    ("mnasnet", "MnasNet-A1"): (3_887_038, 311_579_072),
    ("proxylessnas", "ProxylessNAS-mobile"): (4_080_512, 320_427_584),
    ("proxylessnas", "ProxylessNAS-gpu"): (7_119_848, 465_260_160),
    ("proxylessnas", "ProxylessNAS-cpu"): (4_361_648, 439_243_864),
    ("fbnet-imagenet", "FBNet-C"): (5_572_200, 384_960_160),
    ("mobilenetv2", "MobileNetV2-1.0"): (3_504_872, 300_774_272),
    ("mobilenetv2", "MobileNetV2-1.4"): (6_108_776, 582_195_824),
    ("mobilenetv3-large", "MobileNetV3-Large-1.0"): (5_483_032, 216_589_760),
    ("mobilenetv3-large", "MobileNetV3-Large-0.75"): (3_993_528, 154_560_624),
    ("mobilenetv3-small", "MobileNetV3-Small-1.0"): (2_542_856, 56_510_400),
    ("mobilenetv3-small", "MobileNetV3-Small-0.75"): (2_041_872, 43_399_344),
}

SPACES = ("fbnet-imagenet", "mnasnet", "mobilenetv2", "mobilenetv3-large", "mobilenetv3-small", "proxylessnas")


@pytest.fixture(scope="module")
def spaces() -> dict[str, SearchSpace]:
    return {name: search_spaces.get(name) for name in SPACES}


def costs(space: SearchSpace, architecture: Architecture) -> tuple[int, int]:
    codes = space.codes([architecture])
    return int(space.parameters(codes)[0]), int(space.macs(codes)[0])


def is_near(count: int, published: str) -> bool:
    """Within one per cent of a number that rounds to the published one."""
    digits = len(published.partition(".")[2])
    return abs(count / 1e6 - float(published)) <= 0.01 * float(published) + 0.5 * 10**-digits


@pytest.mark.parametrize(("space", "name"), PUBLISHED)
def test_published_figures(spaces: dict[str, SearchSpace], space: str, name: str) -> None:
    parameters, macs = costs(spaces[space], spaces[space].architecture(name))
    assert is_near(parameters, PUBLISHED[space, name][0])
    assert is_near(macs, PUBLISHED[space, name][1])


@pytest.mark.parametrize(("space", "name"), EXACT)
def test_counts_of_other_implementations(spaces: dict[str, SearchSpace], space: str, name: str) -> None:
    assert costs(spaces[space], spaces[space].architecture(name)) == EXACT[space, name]


# --------------------------------------------------------------------------------------------------------- FBNet

# Weights and MACs of the authors' trained networks (mobile_cv/model_zoo/models/model_info/fbnet/model_info.json), which
# count neither biases nor normalisation.
FBNET_AUTHORS = {
    "FBNet-A": (4_286_480, 249_921_848),
    "FBNet-B": (4_777_296, 295_561_032),
    "FBNet-C": (5_520_784, 382_984_480),
}
# Channels and pixels of the layers in which these have two 3x3 depthwise convolutions instead of one of 5x5.
FBNET_TWICE = {"FBNet-A": [], "FBNet-B": [(192, 28)], "FBNet-C": [(192, 28), (672, 14)]}


@pytest.mark.parametrize("name", FBNET_AUTHORS)
def test_fbnet_is_the_network_of_its_authors(spaces: dict[str, SearchSpace], name: str) -> None:
    space = spaces["fbnet-imagenet"]
    architecture = space.architecture(name)
    with torch.device("meta"):
        network = space.build(architecture)
    vectors = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 1)
    saved = [channels * (25 - 2 * 9) for channels, _ in FBNET_TWICE[name]]
    saved_macs = [channels * (25 - 2 * 9) * size**2 for channels, size in FBNET_TWICE[name]]
    parameters, macs = costs(space, architecture)
    assert (parameters - vectors - sum(saved), macs - sum(saved_macs)) == FBNET_AUTHORS[name]


# --------------------------------------------------------------------------------------------------- MobileNetV2

# By multiplier: millions of parameters (without those of normalisation), and of MACs at 224, 192, 160, 128 and 96 px,
# of the authors' weights (github.com/tensorflow/models, research/slim/nets/mobilenet/README.md).
MOBILENETV2 = {
    1.4: ("6.06", ["582"]),
    1.3: ("5.34", ["509"]),
    1.0: ("3.47", ["300", "221", "154", "99", "56"]),
    0.75: ("2.61", ["209", "153", "107", "69", "39"]),
    0.5: ("1.95", ["97", "71", "50", "32", "18"]),
    0.35: ("1.66", ["59", "43", "30", "20", "11"]),
}


@pytest.mark.parametrize("width", MOBILENETV2)
def test_all_networks_of_mobilenetv2(spaces: dict[str, SearchSpace], width: float) -> None:
    space = spaces["mobilenetv2"]
    values = space.architecture(f"MobileNetV2-{width}").values
    parameters, all_macs = MOBILENETV2[width]
    for resolution, published in zip((224, 192, 160, 128, 96), all_macs, strict=False):
        architecture = Architecture("mobilenetv2", tuple((values | {"resolution": resolution}).items()))
        count, macs = costs(space, architecture)
        with torch.device("meta"):
            network = space.build(architecture)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert is_near(count - sum(2 * norm.num_features for norm in norms), parameters)
        assert abs(macs / 1e6 - float(published)) < 1.0  # the authors round down


# ---------------------------------------------------------------------------------------------- MnasNet, Proxyless


def mnasnet_by_hand(values: dict[str, Any]) -> tuple[int, int]:
    """Parameters and MACs at 224 px, from section 4.1 and figure 7 of the paper."""
    size, c = 112, 32
    parameters, macs = 27 * 32 + 2 * 32, 27 * 32 * 112**2
    for block, stride in enumerate((1, 2, 2, 2, 1, 2, 1), start=1):
        operation, kernel, ratio, out, layers = (
            values[f"block{block}_{part}"] for part in ("operation", "kernel", "squeeze_excite", "filters", "layers")
        )
        for layer in range(layers):
            after = size // (stride if layer == 0 else 1)
            gated = c
            if operation == "conv":
                gated = out
                parameters += kernel**2 * c * out + 2 * out
                macs += kernel**2 * c * out * after**2
            else:
                hidden = gated = c * {"sepconv": 1, "mbconv3": 3, "mbconv6": 6}[operation]
                if operation != "sepconv":
                    parameters += c * hidden + 2 * hidden
                    macs += c * hidden * size**2
                parameters += kernel**2 * hidden + 2 * hidden + hidden * out + 2 * out
                macs += (kernel**2 * hidden + hidden * out) * after**2
            if ratio:
                squeezed = int(c * ratio)
                parameters += 2 * gated * squeezed + gated + squeezed
                macs += 2 * gated * squeezed
            size, c = after, out
    return parameters + 1280 * c + 2 * 1280 + 1281 * 1000, macs + 1280 * c * size**2 + 1280 * 1000


def proxylessnas_by_hand(values: dict[str, Any]) -> tuple[int, int]:
    """Parameters and MACs at 224 px."""
    stem, c, *stages, head = WIDTHS[values["width"]]
    size, layer = 112, 0
    parameters = 27 * stem + 2 * stem + 9 * stem + 2 * stem + stem * c + 2 * c
    macs = (27 * stem + 9 * stem + stem * c) * size**2
    for out, stride, depth in zip(stages, (2, 2, 2, 1, 2, 1), (4, 4, 4, 4, 4, 1), strict=True):
        for place in range(depth):
            layer += 1
            kind = values[f"layer{layer}"]
            if kind == "skip":
                continue
            kernel, hidden = int(kind[1]), c * int(kind[4])
            after = size // (stride if place == 0 else 1)
            parameters += c * hidden + kernel**2 * hidden + hidden * out + 4 * hidden + 2 * out
            macs += c * hidden * size**2 + (kernel**2 * hidden + hidden * out) * after**2
            size, c = after, out
    return parameters + c * head + 2 * head + (head + 1) * 1000, macs + c * head * size**2 + head * 1000


@pytest.mark.parametrize(("name", "by_hand"), [("mnasnet", mnasnet_by_hand), ("proxylessnas", proxylessnas_by_hand)])
def test_costs_of_random_architectures_by_hand(spaces: dict[str, SearchSpace], name: str, by_hand: Any) -> None:
    for architecture in spaces[name].sample(20, seed=0):
        assert costs(spaces[name], architecture) == by_hand(architecture.values)


@pytest.mark.parametrize(("skip", "squeeze"), list(product(mnasnet.SKIPS, (0, 2))))
@pytest.mark.parametrize("kind", ["conv", "mbconv"])
def test_skips_of_mnasnet(kind: str, skip: str, squeeze: int) -> None:
    """What a layer adds to its output, against the same layer without."""
    torch.manual_seed(0)
    common = {"in_channels": 6, "out_channels": 6, "kernel": 3, "stride": 1, "squeeze": squeeze}
    inverted = {"hidden": 12, "activation": "relu", "gate": "relu_sigmoid"}

    def layer(name: str) -> nn.Module:
        number = mnasnet.SKIPS.index(name)
        if kind == "conv":
            return mnasnet.DenseConv(Layers(), skip=number, **common).eval()
        return mnasnet.InvertedResidual(Layers(), skip=number, **common, **inverted).eval()

    tested, plain = layer(skip), layer("none")
    plain.load_state_dict(tested.state_dict())
    x = torch.randn(2, 6, 5, 5)
    ones = F.conv2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3), padding=1)
    mean = F.conv2d(x, torch.ones(6, 1, 3, 3), padding=1, groups=6) / ones
    added: dict[str, Tensor] = {"none": torch.zeros_like(x), "identity": x, "pool": mean}
    with torch.no_grad():
        torch.testing.assert_close(tested(x), plain(x) + added[skip])


def test_squeeze_excite_of_mnasnet_is_a_sigmoid_after_relu() -> None:
    torch.manual_seed(0)
    layer = mnasnet.DenseConv(Layers(), 4, 4, kernel=3, stride=1, skip=0, squeeze=2).eval()
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        y = layer.norm(layer.conv(x)).relu()
        gate = layer.get_submodule("squeeze_excite")
        squeezed = gate.get_submodule("reduce")(y.mean((2, 3), keepdim=True)).relu()
        torch.testing.assert_close(layer(x), y * gate.get_submodule("expand")(squeezed).sigmoid())


# --------------------------------------------------------------------------------------------------------- names


def test_other_data_keeps_the_names() -> None:
    space = search_spaces.get("mnasnet", classes=10, in_channels=1, resolutions=[192, 224])
    assert space.architecture("MnasNet-A1").values["resolution"] == 224
    as_read_from_a_file = search_spaces.get("proxylessnas", depths=[4, 4, 4, 4, 4, 1])
    assert list(as_read_from_a_file.named) == ["ProxylessNAS-mobile", "ProxylessNAS-gpu", "ProxylessNAS-cpu"]
    assert "FBNet-A" in search_spaces.get("fbnet-imagenet", resolution=96).named


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mnasnet", {"stem": 16}),
        ("mnasnet", {"resolutions": (192,)}),
        ("proxylessnas", {"depths": (4, 4, 4, 4, 4, 2)}),
        ("fbnet-imagenet", {"heads": (1504,)}),
        ("mobilenetv2", {"head": 640}),
        ("mobilenetv3-small", {"features": 1280}),
    ],
)
def test_another_network_has_no_published_name(name: str, options: dict[str, Any]) -> None:
    space = search_spaces.get(name, **options)
    assert space.named == {}
    with pytest.raises(ValueError, match="has no architecture 'MnasNet-A1'; it has none with a name"):
        space.architecture("MnasNet-A1")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnasnet", {"strides": (1, 2)}, "must have one entry for each block"),
        ("mnasnet", {"operations": ("conv", "mbconv4")}, "unknown operation 'mbconv4'; there are sepconv, mbconv3"),
        ("mnasnet", {"skips": ("max",)}, "unknown skip 'max'; there are none, identity, pool"),
        ("mnasnet", {"kernels": (4,)}, "kernels must be odd"),
        ("mnasnet", {"depths": ((0, 1),) * 7}, "depths must be positive"),
        ("mnasnet", {"head": 0}, "head must be positive"),
        ("proxylessnas", {"strides": (2,)}, "one entry for each stage, and widths three more"),
        ("proxylessnas", {"widths": {"thin": (8, 8)}}, "one entry for each stage, and widths three more"),
        ("proxylessnas", {"kernels": (3, 6)}, "kernels must be odd"),
        ("fbnet-imagenet", {"depths": (1,)}, "must have one entry for each stage"),
        ("fbnet-imagenet", {"heads": (0,)}, "heads must be positive"),
        ("mobilenetv2", {"widths": (24,)}, "must have one entry for each stage"),
        ("mobilenetv2", {"width_multipliers": (0.0, 1.0)}, "width_multipliers must be positive"),
        ("mobilenetv3-large", {"squeeze_excite": (True,)}, "must have one entry for each stage"),
        ("mobilenetv3-small", {"expansions": ((0,),) * 4}, "expansions must be positive"),
    ],
)
def test_impossible_options_of_published_spaces(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get(name, **options)


def test_codes_of_named_architectures_differ(spaces: dict[str, SearchSpace]) -> None:
    for space in spaces.values():
        codes = space.codes([space.architecture(name) for name in space.named])
        assert len(np.unique(codes, axis=0)) == len(space.named) > 0


@pytest.mark.parametrize("name", SPACES)
def test_timing_graphs_of_published_spaces_give_what_torch_gives(name: str) -> None:
    size: dict[str, Any] = {"resolution": 32} if name == "fbnet-imagenet" else {"resolutions": (32,)}
    space = search_spaces.get(name, classes=10, **size)
    (architecture,) = space.sample(1, seed=0)
    model = timing_graph(space.workload(architecture))
    session = OnnxRuntime().prepare(model)
    parity.check(OnnxRuntime(), session, model, random_inputs(session, np.random.default_rng(0)))
