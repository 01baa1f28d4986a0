"""Checkpoints of once-for-all that are of another form or do not fit, and the options of its spaces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import official_ofa
import pytest
import torch
from torch import Tensor

import search_spaces
from search_spaces.supernet import Supernet

ELASTIC = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [1, 2]}
SMALL = {
    "ofa-mobilenetv3": ("OFAMobileNetV3", {"width_mult": 0.25, **ELASTIC}, {"width": 0.25, "depths": (1, 2)}),
    "ofa-proxyless": ("OFAProxylessNASNets", {"width_mult": 0.25, **ELASTIC}, {"width": 0.25, "depths": (1, 2)}),
    "ofa-resnet50": (
        "OFAResNets",
        {"depth_list": [0, 1], "expand_ratio_list": [0.3, 0.6], "width_mult_list": [0.05, 0.1]},
        {"depths": (0, 1), "expansions": (0.3, 0.6), "widths": (0.05, 0.1)},
    ),
}  # fmt: skip


def supernet(space: str, **options: Any) -> Supernet:
    return search_spaces.get(
        space, **SMALL[space][2] | {"resolutions": (32,), "classes": 10} | options
    ).build_supernet()


def official(space: str) -> Any:
    kind, arguments, _ = SMALL[space]
    return official_ofa.network(kind, n_classes=10, **{name: _copy(value) for name, value in arguments.items()})


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value  # the package sorts its arguments in place


def loaded_state(space: str, weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    torch.save({"state_dict": weights}, path)
    network = supernet(space)
    assert network.load_pretrained("ofa", path).is_complete
    return network.state_dict()


@pytest.mark.parametrize("space", SMALL)
def test_names_of_older_releases(space: str, tmp_path: Path) -> None:
    """Without the elastic layers around torch's own, and with the first name of the mobile blocks."""
    network = official(space)
    weights = network.state_dict()
    older = {}
    for name, tensor in weights.items():
        plain = name.replace(".bn.bn.", ".bn.").replace(".linear.linear.", ".linear.").replace(
            ".conv.conv.weight", ".conv.weight"
        )  # fmt: skip
        older[re.sub(r"^(blocks\.\d+)\.conv\.(?=[a-z_]+\.)", r"\1.mobile_inverted_conv.", plain)] = tensor
    assert older.keys() != weights.keys()
    network.load_state_dict(older)  # the package knows these names too
    expected = loaded_state(space, weights, tmp_path / "new")
    for name, tensor in loaded_state(space, older, tmp_path / "old").items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("space", "missing", "here"),
    [
        ("ofa-mobilenetv3", "blocks.1.conv.depth_conv.conv.7to5_matrix",
         "slots.unit1_block1.mbconv.depthwise.kernel_matrices.7to5"),
        ("ofa-proxyless", "feature_mix_layer.conv.weight", "slots.head.head.expand.conv.weight"),
        ("ofa-resnet50", "input_stem.1.conv.bn.bn.running_var",
         "slots.stem_second.residualconvnormact.norm.running_var"),
    ],
)  # fmt: skip
def test_a_missing_tensor_is_named(space: str, missing: str, here: str, tmp_path: Path) -> None:
    weights = official(space).state_dict()
    del weights[missing]
    torch.save({"state_dict": weights}, tmp_path / "weights")
    network = supernet(space)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=f"1 not in the checkpoint: {re.escape(here)}. With partial=True"):
        network.load_pretrained("ofa", tmp_path / "weights")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    loaded = network.load_pretrained("ofa", tmp_path / "weights", partial=True)
    assert (loaded.missing, loaded.unused, loaded.mismatched) == ((here,), (), ())


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ("ofa-mobilenetv3", {"width": 0.5}, r"slots.head.head.classifier.weight \(10, 640\), not \(10, 320\)"),
        ("ofa-proxyless", {"width": 0.5}, r"slots.first.mbconv.project.weight \(8, 16, 1, 1\), not \(8, 8, 1, 1\)"),
        ("ofa-resnet50", {"widths": (0.05, 0.2)}, r"classifier.weight \(10, 408\), not \(10, 208\)"),
        ("ofa-mobilenetv3", {"classes": 1000}, r"2 of another shape: slots.head.head.classifier.bias \(1000,\)"),
    ],
)
def test_weights_of_another_size(space: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save({"state_dict": official(space).state_dict()}, tmp_path / "weights")
    with pytest.raises(ValueError, match=message):
        supernet(space, **options).load_pretrained("ofa", tmp_path / "weights")


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ("ofa-proxyless", {"depths": (1, 2, 3)}, "has 12 blocks and the space 'ofa-proxyless' has 17"),
        ("ofa-resnet50", {"depths": (0,)}, "has 14 blocks and the space 'ofa-resnet50' has 10"),
    ],
)
def test_weights_of_another_depth_are_not_loaded_in_part(
    space: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    torch.save({"state_dict": official(space).state_dict()}, tmp_path / "weights")
    with pytest.raises(ValueError, match=message):
        supernet(space, **options).load_pretrained("ofa", tmp_path / "weights", partial=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="has 0 blocks"):
        supernet("ofa-mobilenetv3").load_pretrained("ofa", tmp_path / "weights")


def test_choices_are_those_of_the_publication() -> None:
    """(9^2 + 9^3 + 9^4)^5 networks at 25 resolutions; widths of the official package, by hand."""
    assert search_spaces.get("ofa-mobilenetv3").size == 25 * (9**2 + 9**3 + 9**4) ** 5
    assert search_spaces.get("ofa-proxyless").size == 25 * (9**2 + 9**3 + 9**4) ** 5 * 9
    space = search_spaces.get("ofa-resnet50")
    options = {choice.name: choice.options for choice in space.choices}
    assert options["stem_inner_width"] == (24, 32)  # of 0.65 and 0.8 are the same
    assert options["stem_width"] == (40, 48, 64)
    assert [options[f"stage{stage}_width"] for stage in range(1, 5)] == [
        (168, 208, 256), (336, 408, 512), (664, 816, 1024), (1328, 1640, 2048)
    ]  # fmt: skip
    assert [options[f"stage{stage}_depth"] for stage in range(1, 5)] == [(2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4)]
    blocks = [sum(3**depth for depth in options[f"stage{stage}_depth"]) for stage in range(1, 5)]
    assert space.size == 8 * 2 * 2 * 3 * 3**4 * blocks[0] * blocks[1] * blocks[2] * blocks[3]


def test_the_stem_is_complete_where_depth_is_no_choice() -> None:
    space = search_spaces.get("ofa-resnet50", depths=(1,))
    assert space.smallest().values["stem_depth"] == 3
    assert "stem_second" in space.variants(space.smallest())


def test_named_architectures_only_at_the_published_width() -> None:
    """Their channels and last expansions are those of the published configurations."""
    space = search_spaces.get("ofa-proxyless")
    assert len(space.named) == 3
    variants = space.variants(space.architecture("tx2_gpu16@96ms_top1@75.8_finetune@25"))
    hidden = [variant.spec["hidden"] for name, variant in variants.items() if name.startswith("unit")]
    assert hidden == [72, 128, 192, 96, 224, 224, 416, 416, 312, 416, 384, 384, 768, 768, 1488, 1488, 992, 744]
    assert space.architecture("tx2_gpu16@96ms_top1@75.8_finetune@25").values["resolution"] == 172
    assert not search_spaces.get("ofa-proxyless", width=1.0).named
    assert len(search_spaces.get("ofa-proxyless", resolutions=(128, 224)).named) == 2


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ("ofa-mobilenetv3", {"width": 0}, "positive number of channels"),
        ("ofa-proxyless", {"width": -1.3}, "positive number of channels"),
        ("ofa-proxyless", {"kernels": (3, 4)}, "kernels must be odd"),
        ("ofa-resnet50", {"widths": ()}, "widths must be positive numbers"),
        ("ofa-resnet50", {"widths": (0.5, 0)}, "widths must be positive numbers"),
        ("ofa-resnet50", {"depths": (-1, 0)}, "depths must be 0 or more"),
        ("ofa-resnet50", {"resolutions": (0,)}, "resolutions must be positive numbers"),
        ("ofa-resnet50", {"expansions": (0.25, 0.26)}, "expansions 0.25 and 0.26 are the same at stage1_width = 208"),
    ],
)
def test_impossible_options(space: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get(space, **options)
