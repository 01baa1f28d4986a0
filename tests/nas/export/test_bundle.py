from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.config import load
from nas.errors import CheckFailed, UsageError
from nas.export.bundle import Bundle, check_target
from nas.export.image_bundle import write_bundle
from nas.stages import load_task

FILES = ["README.md", "architecture.json", "model.onnx", "weights.safetensors"]


def edit_manifest(bundle: Bundle, edit: Callable[[dict[str, Any]], object]) -> Bundle:
    file = bundle.path / "manifest.json"
    manifest = json.loads(file.read_text())
    edit(manifest)
    file.write_text(json.dumps(manifest))
    return Bundle(bundle.path)


def test_fresh_bundle_is_accepted(bundle: Bundle) -> None:
    bundle.check_files()
    assert sorted(path.name for path in bundle.path.iterdir()) == sorted([*FILES, "manifest.json"])
    hashes = {name: hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() for name in FILES}
    assert bundle.manifest["files"] == hashes
    assert bundle.manifest["architecture"] == bundle.architecture.key


@pytest.mark.parametrize("name", FILES)
def test_changed_file_is_named(bundle: Bundle, name: str) -> None:
    file = bundle.path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckFailed, match=rf"{re.escape(str(file))} was changed after the export"):
        bundle.check_files()


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(CheckFailed, match=rf"{re.escape(str(bundle.path / name))} is missing"):
        bundle.check_files()


def test_file_without_hash_is_refused(bundle: Bundle) -> None:
    forged = edit_manifest(bundle, lambda manifest: manifest["files"].clear())
    with pytest.raises(CheckFailed, match="was changed"):
        forged.check_files()


def test_manifest_leads_nowhere_else(bundle: Bundle) -> None:
    outside = bundle.path.parent / "outside"
    outside.write_text("not part of the bundle")
    names = {"../outside": "0", str(outside): "0", "..": "0"}
    edit_manifest(bundle, lambda manifest: manifest["files"].update(names)).check_files()
    moved = bundle.path / "model.onnx"
    moved.rename(bundle.path.parent / "model.onnx")
    manifest = bundle.manifest["files"]
    forged = edit_manifest(
        bundle, lambda data: data.update(files={**manifest, "../model.onnx": manifest["model.onnx"]})
    )
    with pytest.raises(CheckFailed, match=rf"{re.escape(str(moved))} is missing"):
        forged.check_files()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda manifest: manifest.update(version=2), "a bundle of version 2, this release reads 1"),
        (lambda manifest: manifest.pop("version"), "a bundle of version None"),
        (lambda manifest: manifest.pop("limits"), "has no key 'limits'"),
        (lambda manifest: manifest.pop("files"), "has no key 'files'"),
    ],
)
def test_other_manifest_is_refused(bundle: Bundle, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        edit_manifest(bundle, edit).check_files()


def test_damaged_manifest_is_refused(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text('{"version": 1,')
    with pytest.raises(UsageError, match=r"manifest\.json cannot be read"):
        bundle.check_files()


def test_weights_of_another_network_are_refused(bundle: Bundle) -> None:
    other = bundle.space.build(bundle.space.largest())
    write_bundle(bundle.path, bundle.model, other, bundle.architecture, bundle.manifest)
    changed = Bundle(bundle.path)
    changed.check_files()
    with pytest.raises(CheckFailed, match=r"weights.safetensors does not fit architecture.json"):
        changed.network()


def rewritten(bundle: Bundle, path: Path) -> Bundle:
    return write_bundle(path, bundle.model, bundle.network(), bundle.architecture, bundle.manifest)


def test_older_bundle_is_replaced(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "again"
    write_bundle(path, b"older", nn.Identity(), bundle.space.smallest(), bundle.manifest)
    assert Bundle(path).model == b"older"
    rewritten(bundle, path).check_files()
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name in FILES[1:]} == {
        name: (bundle.path / name).read_bytes() for name in FILES[1:]
    }
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again", "bundle"]


def test_empty_directory_is_used(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rewritten(bundle, tmp_path / "empty").check_files()


def test_other_directory_and_file_are_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    for occupied in (thesis / "chapter", tmp_path / "letter"):
        occupied.write_text("mine")
    for path in (thesis, tmp_path / "letter"):
        with pytest.raises(UsageError, match="exists and is not a bundle; choose another directory"):
            check_target(path)
        with pytest.raises(UsageError, match="exists and is not a bundle; choose another directory"):
            rewritten(bundle, path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if bundle.path not in path.parents) == [
        "bundle", "letter", "thesis", "thesis/chapter",
    ]  # fmt: skip
    assert (thesis / "chapter").read_text() == (tmp_path / "letter").read_text() == "mine"


def test_killed_export_leaves_the_old_bundle_or_none(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every renaming may be the last thing that a process does."""
    path = tmp_path / "again"
    for survived in range(3):
        rewritten(bundle, path)
        done = 0
        rename = Path.rename

        def killed(self: Path, target: Path, allowed: int = survived, rename: Any = rename) -> Path:
            nonlocal done
            if done == allowed:
                raise KeyboardInterrupt
            done += 1
            result: Path = rename(self, target)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed)
            with contextlib.suppress(KeyboardInterrupt):
                rewritten(bundle, path)
        assert done == min(survived, 2)
        if path.exists():
            Bundle(path).check_files()
        rewritten(bundle, path).check_files()


def code_block(text: str) -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert isinstance(code, str)
    return code


def test_code_of_the_readme_runs(bundle: Bundle, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_block((bundle.path / "README.md").read_text())
    assert len(code.splitlines()) == 3
    config = load(finished / "config.yaml")
    task = load_task(config.task, config.seed)
    images = task.test.images
    monkeypatch.chdir(bundle.path)
    names: dict[str, Any] = {"images": images.numpy()}
    exec(code, names)
    with torch.inference_mode():
        expected = torch.cat([bundle.network()(batch) for batch, _ in task.batches("test", 100)]).numpy()
    assert names["logits"].shape == (len(images), 10)
    np.testing.assert_allclose(names["logits"], expected, rtol=1e-3, atol=1e-4)
