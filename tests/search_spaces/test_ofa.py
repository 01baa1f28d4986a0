"""Once-for-all's spaces against the supernets of its own package: the same weights give the same networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import official_ofa
import pytest
import torch
from torch import Tensor, nn

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet

TOLERANCE = 1e-5  # of the largest output
ELASTIC = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}


@dataclass(frozen=True)
class Published:
    """A supernet of the project's model zoo.

    Attributes:
        space: its name here.
        options: of the space.
        resolution: of the images of the comparison: small, and odd after some strides.
        network: class of the supernet there.
        arguments: of that class, as in the model zoo.
        counter: of MACs there.
        subnets: how many are compared.
    """

    space: str
    options: Mapping[str, Any]
    resolution: int
    network: str
    arguments: Mapping[str, Any]
    counter: str
    subnets: int = 100


RESNET = {
    "depth_list": [0, 1, 2], "expand_ratio_list": [0.2, 0.25, 0.35], "width_mult_list": [0.65, 0.8, 1.0],
}  # fmt: skip
PUBLISHED = {
    "mbv3_w1.0": Published(
        "ofa-mobilenetv3", {}, 40, "OFAMobileNetV3", {"width_mult": 1.0, **ELASTIC}, "MBv3LatencyTable"
    ),
    "mbv3_w1.2": Published(
        "ofa-mobilenetv3", {"width": 1.2}, 40, "OFAMobileNetV3", {"width_mult": 1.2, **ELASTIC}, "MBv3LatencyTable", 20
    ),
    "proxyless_w1.3": Published(
        "ofa-proxyless", {}, 40, "OFAProxylessNASNets", {"width_mult": 1.3, **ELASTIC}, "ProxylessNASLatencyTable"
    ),
    "resnet50": Published("ofa-resnet50", {}, 48, "OFAResNets", RESNET, "ResNet50LatencyTable"),
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """The supernet there and the one here with the same weights."""

    published: Published
    official: Any
    supernet: Supernet

    @property
    def space(self) -> SearchSpace:
        return self.supernet.space

    def architectures(self, space: SearchSpace) -> Sequence[Architecture]:
        return [space.smallest(), space.largest(), *space.sample(self.published.subnets - 2, seed=0)]

    def set_active(self, architecture: Architecture) -> None:
        self.official.set_active_subnet(**SETTINGS[self.published.network](architecture, self.official))


def mobile(architecture: Architecture, official: Any) -> dict[str, Any]:
    """The setting of the official supernet: values of inactive blocks have no effect there either."""
    values = architecture.values
    blocks = [f"unit{unit}_block{block}" for unit, group in enumerate(official.block_group_info, start=1)
              for block in range(1, len(group) + 1)]  # fmt: skip
    return {
        "ks": [values[f"{name}_kernel"] for name in blocks],
        "e": [values[f"{name}_expansion"] for name in blocks],
        "d": [values[f"unit{unit}_depth"] for unit in range(1, len(official.block_group_info) + 1)],
    }


def resnet(architecture: Architecture, official: Any) -> dict[str, Any]:
    """The setting of the official supernet: extra depths, and widths as indices."""
    values = architecture.values
    stages = range(1, 5)
    groups = official.grouped_block_index
    stem, last = official.input_stem[0], official.input_stem[2]
    widths = [official.blocks[group[0]].out_channel_list for group in groups]
    return {
        "d": [2 if values["stem_depth"] == 3 else 0,
              *(int(values[f"stage{s}_depth"]) - len(groups[s - 1]) + 2 for s in stages)],
        "e": [values[f"stage{s}_block{block}_expansion"] for s in stages for block in range(1, len(groups[s - 1]) + 1)],
        "w": [stem.out_channel_list.index(values["stem_inner_width"]), last.out_channel_list.index(values["stem_width"]),
              *(widths[s - 1].index(values[f"stage{s}_width"]) for s in stages)],
    }  # fmt: skip


SETTINGS = {"OFAMobileNetV3": mobile, "OFAProxylessNASNets": mobile, "OFAResNets": resnet}


@pytest.fixture(scope="module", params=PUBLISHED)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    published = PUBLISHED[request.param]
    official = official_ofa.network(published.network, **published.arguments)
    path = tmp_path_factory.mktemp("weights") / request.param
    torch.save({"state_dict": official.state_dict()}, path)
    supernet = search_spaces.get(published.space, **published.options, resolutions=(published.resolution,))
    supernet = supernet.build_supernet().eval()
    result = supernet.load_pretrained("ofa", path)
    assert result.is_complete
    # Every tensor came from the file, counters of batch normalisation too.
    assert set(result.loaded) == set(supernet.state_dict())
    path.unlink()
    return Loaded(published, official, supernet)


def agree(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
    # Outputs that do not depend on the image would agree whatever lies between.
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE * expected.abs().max()


@torch.no_grad()
def test_subnets_in_the_supernet(loaded: Loaded) -> None:
    x = official_ofa.images(2, loaded.published.resolution)
    for architecture in loaded.architectures(loaded.space):
        loaded.set_active(architecture)
        loaded.supernet.activate(architecture)
        agree(loaded.supernet(x), loaded.official(x))


@torch.no_grad()
def test_extracted_subnets(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (
        nn.Conv2d,
        nn.Linear,
    ):  # first values that the package then replaces; they would take most of the time
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)
    x = official_ofa.images(2, loaded.published.resolution)
    for architecture in loaded.architectures(loaded.space):
        loaded.set_active(architecture)
        agree(loaded.supernet.extract(architecture)(x), loaded.official.get_active_subnet().eval()(x))


def test_macs_are_those_that_the_package_counts(loaded: Loaded) -> None:
    space = search_spaces.get(loaded.published.space, **loaded.published.options, resolutions=(128, 172, 224))
    sample = loaded.architectures(space)
    expected = []
    for architecture in sample:
        loaded.set_active(architecture)
        resolution = int(architecture.values["resolution"])
        expected.append(official_ofa.macs(loaded.published.counter, loaded.official, resolution))
    np.testing.assert_array_equal(space.macs(space.codes(sample)), expected)


def test_parameters_are_those_of_the_official_subnets(loaded: Loaded) -> None:
    sample = loaded.architectures(loaded.space)[:6]
    for architecture, count in zip(sample, loaded.space.parameters(loaded.space.codes(sample)), strict=True):
        loaded.set_active(architecture)
        subnet = loaded.official.get_active_subnet(preserve_weight=False)
        assert count == sum(parameter.numel() for parameter in subnet.parameters())


def test_batch_normalisation_is_set_as_there(loaded: Loaded) -> None:
    norms = [part for part in loaded.supernet.extract(loaded.space.largest()).modules()
             if isinstance(part, nn.BatchNorm2d)]  # fmt: skip
    expected = loaded.official.get_bn_param()
    assert {(norm.eps, norm.momentum) for norm in norms} == {(expected["eps"], expected["momentum"])}
