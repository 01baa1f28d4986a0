"""Weights that others have trained, in vision transformers: Hugging Face's ViT as an oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet


def reference(width: int = 32, layers: int = 3, hidden: int = 48, size: int = 24) -> nn.Module:
    """Hugging Face's network with heads of 8 features on patches of 8 pixels, in which no tensor has its first value."""
    config = transformers.ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 8,
        intermediate_size=hidden,
        image_size=size,
        patch_size=8,
        num_labels=5,
        layer_norm_eps=1e-6,
    )
    torch.manual_seed(0)
    network: nn.Module = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "vit",
        resolutions=(16, 24),
        classes=5,
        patches=(8,),
        widths=(16, 32),
        depths=(2, 3),
        heads=(2, 4),
        head_width=8,
        ratios=(1, 1.5),
    )


@pytest.fixture(scope="module")
def published() -> nn.Module:
    return reference()


@pytest.fixture(scope="module")
def loaded(space: SearchSpace, published: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Supernet:
    """A supernet with the weights of `published`, from the file that transformers writes."""
    folder = tmp_path_factory.mktemp("published")
    published.save_pretrained(folder)  # type: ignore[operator]
    supernet = space.build_supernet().eval()
    assert supernet.load_pretrained("transformers", folder / "model.safetensors").is_complete
    return supernet


def architecture(space: SearchSpace, width: int, layers: int, ratio: float, size: int = 24) -> Architecture:
    names = {"resolution": size, "width": width, "depth": layers}
    values = {
        choice.name: names.get(choice.name, width // 8 if choice.name.endswith("heads") else ratio)
        for choice in space.choices
    } | {"patch": 8}
    (found,) = space.architectures(space.codes([Architecture("vit", tuple(values.items()))]))
    return found


def logits(network: nn.Module, images: Tensor, **options: bool) -> Tensor:
    with torch.no_grad():
        result = network(images, **options)
    return result if isinstance(result, Tensor) else result.logits


def images(size: int = 24) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_largest_network_is_the_published_one(loaded: Supernet, published: nn.Module) -> None:
    expected = logits(published, images())
    network = loaded.extract(loaded.space.largest())
    torch.testing.assert_close(logits(network, images()), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1


def test_fewer_layers_are_the_first_ones(loaded: Supernet, published: nn.Module) -> None:
    shorter = reference(layers=2)
    shorter.load_state_dict({name: published.state_dict()[name] for name in shorter.state_dict()})
    network = loaded.extract(architecture(loaded.space, 32, 2, 1.5))
    torch.testing.assert_close(logits(network, images()), logits(shorter, images()), rtol=0, atol=1e-5)
    assert not torch.allclose(logits(shorter, images()), logits(published, images()), atol=1e-2)


@pytest.mark.parametrize(("width", "hidden"), [(16, 16), (16, 24), (32, 32)])
def test_narrower_networks_are_slices_from_the_first_entry(
    loaded: Supernet, published: nn.Module, width: int, hidden: int
) -> None:
    """Half the width has half the heads, since Hugging Face's heads divide the width."""
    narrow = reference(width=width, hidden=hidden)
    state = {
        name: published.state_dict()[name][tuple(slice(size) for size in tensor.shape)]
        for name, tensor in narrow.state_dict().items()
    }
    narrow.load_state_dict(state)
    network = loaded.extract(architecture(loaded.space, width, 3, hidden / width))
    torch.testing.assert_close(logits(network, images()), logits(narrow, images()), rtol=0, atol=1e-5)


def test_positions_of_smaller_images_are_interpolated(loaded: Supernet, published: nn.Module) -> None:
    expected = logits(published, images(16), interpolate_pos_encoding=True)
    network = loaded.extract(architecture(loaded.space, 32, 3, 1.5, size=16))
    torch.testing.assert_close(logits(network, images(16)), expected, rtol=0, atol=1e-5)


def by_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of Hugging Face's network by the names of timm, which has queries, keys and values in one."""
    words = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "vit.layernorm": "norm",
        "classifier": "head",
        "vit.layers": "blocks",
        "attention.o_proj": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
    }
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = name
        for theirs, word in words.items():
            ours = ours.replace(theirs, word)
        if "_proj" in ours:
            ours = ours.replace("attention.q_proj", "attn.qkv")
            if "attn.qkv" not in ours:
                continue
            parts = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            tensor = torch.cat(parts)
        renamed[ours] = tensor.clone()
    return renamed


def test_weights_by_the_names_of_timm(space: SearchSpace, published: nn.Module, tmp_path: Path) -> None:
    state = by_timm(dict(published.state_dict()))
    assert state["blocks.2.attn.qkv.weight"].shape == (96, 32)
    save_file(state, tmp_path / "vit.safetensors")
    supernet = space.build_supernet().eval()
    assert supernet.load_pretrained("vit", tmp_path / "vit.safetensors").is_complete
    supernet.activate(space.largest())
    torch.testing.assert_close(logits(supernet, images()), logits(published, images()), rtol=0, atol=1e-5)


def test_what_is_left_over_is_named(space: SearchSpace, published: nn.Module, tmp_path: Path) -> None:
    """A distillation token has no place here, and a network of two layers is not one of three."""
    state = by_timm(dict(published.state_dict()))
    state["dist_token"] = torch.zeros(1, 1, 32)
    del state["blocks.2.attn.qkv.weight"]
    save_file(state, tmp_path / "deit.safetensors")
    with pytest.raises(ValueError, match="dist_token") as error:
        space.build_supernet().load_pretrained("vit", tmp_path / "deit.safetensors")
    for part in ("query", "key", "value"):
        assert f"slots.layer3_attention.selfattention.{part}.weight" in str(error.value)
