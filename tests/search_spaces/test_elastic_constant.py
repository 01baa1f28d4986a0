"""Elastic constants and group normalisation against the static ones."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from search_spaces.constant import Constant
from search_spaces.elastic import ElasticConstant, ElasticGroupNorm
from search_spaces.elastic.layer import ElasticLayers, copy_active
from search_spaces.layers import Layers


def squares(size: int) -> Tensor:
    return torch.arange(size) ** 2.0


def cubes(size: int) -> Tensor:
    return torch.arange(size) ** 3.0


def test_a_constant_of_every_size() -> None:
    elastic = ElasticLayers([0]).constant(squares, 5)
    assert isinstance(elastic, ElasticConstant)
    for size in (3, 5, 4, 3):
        static = Layers().constant(squares, size)
        elastic.activate(static)
        assert torch.equal(elastic(), squares(size))
        assert torch.equal(static(), squares(size))
        with torch.device("meta"):
            skeleton = Constant(squares, size)
        copy_active(elastic, skeleton)
        assert torch.equal(skeleton(), squares(size))


def test_it_is_saved_by_the_static_layer_only() -> None:
    elastic = ElasticConstant(squares, 5)
    elastic.activate(Constant(squares, 3))
    elastic()
    assert elastic.state_dict() == {}
    assert list(Constant(squares, 3).state_dict()) == ["value"]
    assert not [*elastic.parameters(), *Constant(squares, 3).parameters()]


def test_it_follows_to_another_type_and_device() -> None:
    elastic = ElasticConstant(squares, 5).double()
    elastic.activate(Constant(squares, 3))
    assert elastic().dtype == torch.float64
    moved = deepcopy(elastic).to("meta")
    moved.activate(Constant(squares, 4))
    assert moved().is_meta
    moved.activate(Constant(squares, 3))  # made before it was moved
    assert moved().is_meta


@pytest.mark.parametrize("template", [Constant(cubes, 3), nn.Linear(3, 3)])
def test_a_constant_of_another_kind_raises(template: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot become"):
        ElasticConstant(squares, 5).activate(template)


def test_a_larger_constant_raises() -> None:
    with pytest.raises(ValueError, match="size = 6 is more than the 5"):
        ElasticConstant(squares, 5).activate(Constant(squares, 6))


def test_group_norm_of_the_first_channels() -> None:
    elastic = ElasticLayers([0]).group_norm(6)
    assert isinstance(elastic, ElasticGroupNorm)
    with torch.no_grad():
        elastic.weight.uniform_()
        elastic.bias.uniform_()
    x = torch.randn(2, 4, 3, 3)
    static = nn.GroupNorm(1, 4)
    elastic.activate(static)
    copy_active(elastic, static)
    normal = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), correction=0, keepdim=True)
    expected = normal * elastic.weight[:4, None, None] + elastic.bias[:4, None, None]
    torch.testing.assert_close(elastic(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(static(x), elastic(x))
    with pytest.raises(ValueError, match="cannot become"):
        elastic.activate(nn.GroupNorm(2, 4))
