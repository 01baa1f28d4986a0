"""The supernet: what is shared, what is sorted, what is resized."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import search_spaces
from nas.testing.spaces import scrambled
from search_spaces import Architecture, SearchSpace
from search_spaces.convnet.blocks import Block, FusedMBConv, MBConv
from search_spaces.elastic import ElasticConv2d
from search_spaces.layers import Layers
from search_spaces.spec import ModuleSpec, cover
from search_spaces.supernet import resize


@pytest.fixture(scope="module")
def grouped_convnet() -> SearchSpace:
    """All kinds of block with elastic width."""
    return search_spaces.get(
        "convnet", resolutions=(16, 24), stem=16, widths=((16, 24),), strides=(1,), depths=((1, 2),), head=32
    )


def change(architecture: Architecture, **values: int | str) -> Architecture:
    return Architecture(architecture.space, tuple({**architecture.values, **values}.items()))


@torch.no_grad()
def test_a_new_supernet_behaves_as_the_largest_architecture(grouped_convnet: SearchSpace) -> None:
    supernet = scrambled(grouped_convnet)
    x = torch.randn(2, 3, 24, 24)
    output = supernet(x)
    torch.testing.assert_close(supernet.extract(grouped_convnet.largest())(x), output)
    supernet.activate(grouped_convnet.smallest())
    assert supernet(x).shape == output.shape
    assert not torch.allclose(supernet(x), output)


@torch.no_grad()
def test_choices_without_effect_change_nothing(small_mobilenetv3: SearchSpace) -> None:
    supernet, smallest = scrambled(small_mobilenetv3), small_mobilenetv3.smallest()
    x = torch.randn(2, 1, 8, 8)
    supernet.activate(smallest)
    output = supernet(x)
    supernet.activate(change(smallest, unit1_block2_kernel=5, unit1_block2_expansion=3))
    assert torch.equal(supernet(x), output)
    supernet.activate(change(smallest, unit1_block1_kernel=5))
    assert not torch.allclose(supernet(x), output)


@torch.no_grad()
def test_state_makes_another_supernet_the_same(grouped_convnet: SearchSpace) -> None:
    supernet, other = scrambled(grouped_convnet), grouped_convnet.build_supernet().eval()
    other.load_state_dict(supernet.state_dict())
    for architecture in grouped_convnet.sample(5, seed=0):
        supernet.activate(architecture)
        other.activate(architecture)
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(other(x), supernet(x))


@torch.no_grad()
def test_a_copy_is_activated_alone(grouped_convnet: SearchSpace) -> None:
    supernet = scrambled(grouped_convnet)
    x = torch.randn(2, 3, 24, 24)
    output = supernet(x)
    copy = deepcopy(supernet)
    copy.activate(grouped_convnet.smallest())
    assert torch.equal(supernet(x), output)


def test_small_and_large_share_weights(small_mobilenetv3: SearchSpace) -> None:
    supernet = scrambled(small_mobilenetv3)
    before = supernet.extract(small_mobilenetv3.smallest()).state_dict()
    supernet.activate(small_mobilenetv3.largest())
    supernet(torch.randn(2, 1, 12, 12)).square().mean().backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    after = supernet.extract(small_mobilenetv3.smallest()).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith(("weight", "bias"))}


def test_smaller_kernels_train_their_matrices(small_mobilenetv3: SearchSpace) -> None:
    supernet = scrambled(small_mobilenetv3)
    matrices = {name: p for name, p in supernet.named_parameters() if "kernel_matrices" in name}
    assert len(matrices) == 2  # one for the depthwise convolution of each block
    for architecture, reached in ((small_mobilenetv3.largest(), 0), (small_mobilenetv3.smallest(), 1)):
        supernet.activate(architecture)
        supernet(torch.randn(2, 1, 12, 12)).square().mean().backward()
        assert sum(p.grad is not None and bool(p.grad.any()) for p in matrices.values()) == reached


@torch.no_grad()
def test_images_of_another_size_are_resized(grouped_convnet: SearchSpace) -> None:
    supernet = scrambled(grouped_convnet)
    large, small = grouped_convnet.largest(), change(grouped_convnet.largest(), resolution=16)
    x = torch.randn(2, 3, 24, 24)
    supernet.activate(large)
    at_24 = supernet(x)
    supernet.activate(small)
    expected = supernet(F.interpolate(x, (16, 16), mode="bilinear", antialias=True))
    torch.testing.assert_close(supernet(x), expected)
    assert not torch.allclose(at_24, expected)
    assert resize(x, (24, 24)) is x


def test_example_inputs_have_the_shape_of_the_architecture(grouped_convnet: SearchSpace) -> None:
    supernet = scrambled(grouped_convnet)
    (smallest,) = supernet.example_inputs(grouped_convnet.smallest()).values()
    inputs = supernet.example_inputs(grouped_convnet.largest())
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {"images": (1, 3, 24, 24)}
    assert smallest.shape == (1, 3, 16, 16)


def test_extracted_networks_have_the_type_of_the_supernet(small_mobilenetv3: SearchSpace) -> None:
    supernet = scrambled(small_mobilenetv3).double()
    network = supernet.extract(small_mobilenetv3.smallest())
    assert all(parameter.dtype == torch.float64 for parameter in network.parameters())
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(x), supernet(x))


class TestSorting:
    @staticmethod
    def importance(reader: nn.Module) -> Tensor:
        return reader.get_parameter("weight").detach().abs().sum((0, 2, 3))

    @staticmethod
    def falls(values: Tensor) -> bool:
        return bool((values[1:] <= values[:-1]).all())

    def test_readers_fall_in_importance(self, grouped_convnet: SearchSpace) -> None:
        supernet = scrambled(grouped_convnet)
        blocks = [block for block in supernet.modules() if isinstance(block, Block)]
        assert not any(self.falls(self.importance(block.get_submodule("project"))) for block in blocks)
        supernet.sort_channels()
        assert {type(block).__name__ for block in blocks} == {"MBConv", "FusedMBConv", "GroupedMBConv"}
        for block in blocks:
            groups = block.groups if isinstance(block, FusedMBConv) else 1
            for part in self.importance(block.get_submodule("project")).chunk(groups):
                assert self.falls(part)

    @pytest.mark.parametrize("name", ["grouped_convnet", "small_mobilenetv3"])
    def test_momentum_copies_follow(self, name: str, request: pytest.FixtureRequest) -> None:
        """Copies in which every entry names its weight stay so, whatever was sorted twice."""
        supernet = scrambled(request.getfixturevalue(name))
        tensors = {id(tensor): tensor for tensor in (*supernet.parameters(), *supernet.buffers())}
        before = {key: tensor.detach().clone() for key, tensor in tensors.items()}
        companions = {key: 7 * tensor + 1 for key, tensor in before.items()}
        moved = supernet.sort_channels()
        for reordering in moved:
            assert sorted(reordering.order.tolist()) == list(range(reordering.tensor.shape[reordering.dim]))
            reordering.apply(companions[id(reordering.tensor)])
        for key, tensor in tensors.items():
            assert torch.equal(companions[key], 7 * tensor.detach() + 1)
        changed = {key for key, tensor in tensors.items() if not torch.equal(tensor, before[key])}
        assert changed
        assert changed <= {id(reordering.tensor) for reordering in moved}

    def test_squeezed_channels_fall_in_importance(self, small_mobilenetv3: SearchSpace) -> None:
        supernet = scrambled(small_mobilenetv3)
        supernet.sort_channels()
        found = [b.squeeze_excite for b in supernet.modules() if isinstance(b, MBConv) and b.squeeze_excite]
        assert len(found) == 2
        assert all(self.falls(self.importance(squeeze_excite.expand)) for squeeze_excite in found)

    @torch.no_grad()
    def test_a_smaller_network_keeps_the_most_important_channels(self) -> None:
        """Hidden channels that nothing reads are put last, so that leaving them out changes nothing."""
        space = search_spaces.get(
            "convnet", resolutions=(8,), stem=16, widths=((16,),), strides=(1,), depths=((1,),), kernels=(3,),
            expansions=(2, 3), blocks=("mbconv", "grouped", "fused"), head=16,
        )  # fmt: skip
        supernet = scrambled(space)
        for block in supernet.modules():
            if isinstance(block, Block) and isinstance(project := block.get_submodule("project"), ElasticConv2d):
                per_group = project.weight.shape[1] // getattr(block, "groups", 1)
                if project.in_channels == 48:  # every third one
                    dead = [c for c in range(48) if (c % per_group) % 3 == 1]
                    project.weight[:, dead] = 0
        for kind in ("mbconv", "grouped", "fused"):
            full = change(space.largest(), stage1_block1_kind=kind, stage1_block1_expansion=3)
            less = change(full, stage1_block1_expansion=2)
            x = torch.randn(2, 3, 8, 8)
            ordered = deepcopy(supernet)
            ordered.sort_channels()
            outputs = []
            for net, architecture in ((supernet, full), (supernet, less), (ordered, full), (ordered, less)):
                net.activate(architecture)
                outputs.append(net(x))
            expected, unsorted, sorted_full, sorted_less = outputs
            torch.testing.assert_close(sorted_full, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(sorted_less, expected, rtol=1e-4, atol=1e-4)
            assert not torch.allclose(unsorted, expected, rtol=1e-2)


class TestCover:
    def test_each_integer_is_the_largest(self) -> None:
        a = ModuleSpec.of(MBConv, hidden=8, kernel=5, activation="relu")
        b = ModuleSpec.of(MBConv, hidden=12, kernel=3, activation="relu")
        assert cover([a, b]) == ModuleSpec.of(MBConv, hidden=12, kernel=5, activation="relu")

    def test_other_arguments_and_classes_must_agree(self) -> None:
        relu, other = ModuleSpec.of(MBConv, activation="relu"), ModuleSpec.of(MBConv, activation="hardswish")
        with pytest.raises(ValueError, match=r"'activation' of .*MBConv.* cannot be elastic"):
            cover([relu, other])
        with pytest.raises(ValueError, match="cannot be elastic"):
            cover([ModuleSpec.of(MBConv, expand=True), ModuleSpec.of(MBConv, expand=False)])
        with pytest.raises(ValueError, match="different classes"):
            cover([ModuleSpec.of(MBConv, hidden=1), ModuleSpec.of(Layers, channels=1)])


def test_activation_is_cheap() -> None:
    """A training step activates several paths, so it must cost little beside a forward pass."""
    from time import perf_counter

    space = search_spaces.get("convnet")
    supernet = space.build_supernet()
    architectures = space.sample(30, seed=0)
    for architecture in architectures:
        supernet.activate(architecture)
    seconds = []
    for architecture in architectures:
        started = perf_counter()
        supernet.activate(architecture)
        seconds.append(perf_counter() - started)
    assert np.min(seconds) < 0.005
