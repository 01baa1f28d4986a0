"""Loading weights that already exist: what matches, what does not, and what is said about it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import search_spaces
from search_spaces import SearchSpace
from search_spaces.pretrained import Checkpoint
from search_spaces.supernet import Supernet


def by_same_names(checkpoint: Checkpoint, supernet: Supernet) -> Mapping[str, Tensor]:
    """The file has the supernet's own names."""
    return {name: checkpoint.take(name) for name in supernet.state_dict() if name in checkpoint}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    small = search_spaces.get(
        "convnet", resolutions=(8,), stem=8, widths=((8, 16),), strides=(1,), depths=((1, 2),), group_width=4, head=16
    )
    return replace(small, pretrained={"own": by_same_names})


def other_weights(space: SearchSpace) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {n: t.clone() for n, t in space.build_supernet().state_dict().items()}


def is_unchanged(supernet: Supernet, before: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nested", "data_parallel"])
def test_every_tensor_is_replaced(space: SearchSpace, tmp_path: Path, kind: str) -> None:
    weights = other_weights(space)
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(weights, path)
    elif kind == "torch":
        torch.save(weights, path)
    elif kind == "nested":
        torch.save({"epoch": 3, "state_dict": weights}, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    supernet = space.build_supernet()
    loaded = supernet.load_pretrained("own", path)
    assert loaded.is_complete
    assert set(loaded.loaded) == set(weights)
    assert is_unchanged(supernet, weights)


def test_what_does_not_match_is_listed_and_nothing_is_changed(space: SearchSpace, tmp_path: Path) -> None:
    weights = other_weights(space)
    missing, *_, resized = sorted(name for name in weights if name.endswith("weight"))
    del weights[missing]
    weights[resized] = torch.zeros(1, 2, 3)
    weights["optimizer_state"] = torch.zeros(1)
    torch.save(weights, tmp_path / "weights.pt")
    supernet = space.build_supernet()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        supernet.load_pretrained("own", tmp_path / "weights.pt")
    for name in (missing, resized, "optimizer_state", "(1, 2, 3)", "partial=True"):
        assert name in str(error.value)
    assert is_unchanged(supernet, before)

    loaded = supernet.load_pretrained("own", tmp_path / "weights.pt", partial=True)
    assert loaded.missing == (missing,)
    assert loaded.unused == ("optimizer_state",)
    assert [text.split()[0] for text in loaded.mismatched] == [resized]
    state = supernet.state_dict()
    assert torch.equal(state[missing], before[missing])
    assert torch.equal(state[loaded.loaded[0]], weights[loaded.loaded[0]])


class Attack:
    """Would make a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_code_in_a_file_is_not_run(space: SearchSpace, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"weight": Attack(marker)}))
    torch.save({"weight": Attack(marker)}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(ValueError, match="no weights can be read"):
            space.build_supernet().load_pretrained("own", tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "content"), [("none.pt", None), ("text.pt", b"text"), ("text.safetensors", b"text"), ("empty.pt", b"")]
)
def test_a_file_that_is_none_raises(space: SearchSpace, tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        space.build_supernet().load_pretrained("own", tmp_path / name)


def test_a_file_without_weights_by_name_raises(space: SearchSpace, tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="weights by name"):
        space.build_supernet().load_pretrained("own", tmp_path / "list.pt")


def test_an_unknown_source_names_the_known_ones(space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no source of weights 'owm' \(did you mean 'own'"):
        space.build_supernet().load_pretrained("owm", tmp_path)


def test_a_name_that_no_architecture_has_raises(space: SearchSpace) -> None:
    named = replace(space, named={"MnasNet-A1": {"stage1_depth": 2}, "bad": {"stage9_depth": 2}})
    assert named.architecture("MnasNet-A1").values["stage1_depth"] == 2
    with pytest.raises(ValueError, match=r"no architecture 'MnasNet-A2' \(did you mean 'MnasNet-A1'"):
        named.architecture("MnasNet-A2")
    with pytest.raises(ValueError, match="unknown choices: stage9_depth"):
        named.architecture("bad")
