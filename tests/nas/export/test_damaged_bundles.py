"""Whatever a bundle from anybody says, reading it gives what it means or one sentence of what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import damaged, refused

import nas
from nas.errors import CheckFailed, UsageError
from nas.export.bundle import Bundle, verification
from nas.export.manifest import read_manifest

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LANGUAGE = {
    "kind": "language",
    "task": {"kind": "language"},
    "vocabulary": 400,
    "sequence_length": 64,
    "end": 0,
    "prompt": None,
    "context": 513,
    "states": ["layer1_state0"],
    "weights": "float32",
}


@pytest.fixture(scope="module")
def whole(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A copy of the run's bundle, of which each example damages one file and mends it."""
    return Bundle(Path(shutil.copytree(finished / "exports" / "chosen", tmp_path_factory.mktemp("whole") / "bundle")))


def is_modest(value: Any) -> bool:
    """Whether all numbers in it are so small that a space made with them is: one of a million layers takes its time."""
    parts = list(value.values()) if isinstance(value, dict) else value
    if isinstance(parts, list):
        return all(map(is_modest, parts))
    return not isinstance(value, int | float) or abs(value) < 1000


def read(path: Path) -> None:
    """All that a bundle is asked before anything is measured."""
    bundle = Bundle(path)
    assert bundle.layout.files
    assert bundle.predicted("phone", "inference") is None
    bundle.metric("accuracy")
    assert bundle.architecture.key == bundle.manifest["architecture"]
    if is_modest(bundle.manifest["space"]["options"]):
        bundle.network()
    bundle.check_files()


@pytest.mark.parametrize("name", ["manifest.json", "architecture.json"])
@SETTINGS
@given(data=st.data())
def test_any_damage(whole: Bundle, name: str, data: st.DataObject) -> None:
    file = whole.path / name
    before = file.read_bytes()
    content = data.draw(damaged(json.loads(before)))
    try:
        file.write_bytes(content)
        said = refused(lambda: read(whole.path), (UsageError, CheckFailed))
        assert file.read_bytes() == content
    finally:
        file.write_bytes(before)
    assert not said or (str(whole.path) in said and len(said) < 1000)


@SETTINGS
@given(data=st.data())
def test_any_damage_to_the_manifest_of_a_language_model(whole: Bundle, data: st.DataObject) -> None:
    file = whole.path.parent / "manifest.json"
    file.write_bytes(data.draw(damaged(whole.manifest | LANGUAGE)))
    said = refused(lambda: read_manifest(file), UsageError)
    assert not said or (str(whole.path.parent) in said and len(said) < 1000)


def test_the_manifest_of_a_language_model_is_read(whole: Bundle, tmp_path: Path) -> None:
    document = whole.manifest | LANGUAGE
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    assert read_manifest(tmp_path / "manifest.json") == document


def changed(bundle: Bundle, place: Sequence[str | int], value: Any) -> Bundle:
    """The bundle with another value at a place of its manifest."""
    document = json.loads((bundle.path / "manifest.json").read_text())
    *holders, last = place
    holder = document
    for key in holders:
        holder = holder[key]
    holder[last] = value
    (bundle.path / "manifest.json").write_text(json.dumps(document))
    return Bundle(bundle.path, bundle.own_space)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (["kind"], [], r"is a bundle of kind \[\], this release knows images, language; use the one that made it"),
        (["version"], {}, r"is a bundle of version \{\}, this release reads 1"),
        (["seed"], True, "has True as 'seed': input should be a valid integer; export the network again"),
        (["devices", "local"], 3, "has 3 as 'devices.local': input should be a valid dictionary; export"),
        (["devices", "local"], {"phases": {"a": {}}}, "has no key 'devices.local.phases.a.mean_ms'; export"),
        (["devices", "local", "references"], [{}], "has no key 'devices.local.references.0.values'; export"),
        (["limits"], ["macs_m < 3"], "has 'macs_m < 3' as 'limits.0': a limit reads 'metric <= number'"),
        (["task", "kind"], [], "as 'task': its kind is 'language' for texts, and is left out for images"),
        (["task", "size"], -1, "has -1 as 'task.size': input should be greater than 0"),
        (["metrics", "accuracy"], float("nan"), "has nan as 'metrics.accuracy': input should be a finite number"),
        (["classes"], "0123456789" * 500, r"has '0123456789.{1,40}' as 'classes': input should be a valid list"),
        (["metrics"], {}, "has no key 'metrics.accuracy'; export the network again"),
        (["architecture"], "0", "has a wrong 'architecture': .*architecture.json holds [0-9a-f]+; export"),
        (["space", "name"], "vit", "has a wrong 'space': space 'vit' has no option"),
        (["space", "options", "strides"], [[], 2], "has a wrong 'space': architecture.json is no network of it"),
    ],
)
def test_what_is_wrong_is_named(bundle: Bundle, place: Sequence[str | int], value: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as error:
        read(changed(bundle, place, value).path)
    assert str(error.value).startswith(str(bundle.path))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (
            ["input", "shape"],
            [1, 3, 8, 8],
            r"has a wrong 'input': the network takes images of the shape \[1, 1, 8, 8\]",
        ),
        (["metrics"], {}, "has no key 'metrics.accuracy'"),
    ],
)
def test_what_does_not_fit_the_network_is_named(
    bundle: Bundle, place: Sequence[str | int], value: Any, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        nas.verify(changed(bundle, place, value).path)


def test_a_bundle_calls_no_function_that_its_reader_did_not_name(bundle: Bundle, tmp_path: Path) -> None:
    """A manifest is data: `subprocess.getoutput` takes a command, as an option of a space."""
    space = {"name": "subprocess:getoutput", "options": {"cmd": f"touch {tmp_path / 'called'}"}}
    stranger = changed(bundle, ["space"], space)
    with pytest.raises(
        UsageError, match=r"names 'subprocess:getoutput' as the search space, which is not part of Nasmyth"
    ):
        nas.verify(stranger.path)
    assert not (tmp_path / "called").exists()


def test_a_space_of_ones_own_is_named(bundle: Bundle) -> None:
    name = "search_spaces.convnet.mixed:convnet"
    renamed = changed(bundle, ["space", "name"], name)
    with pytest.raises(UsageError, match="when it is yours, say so: 'nas verify --space' takes its name"):
        _ = renamed.space
    assert Bundle(bundle.path, name).space.size > 1
    assert verification(renamed.manifest) == f"nas verify . --space {name}"


def test_the_readme_says_how_to_verify(bundle: Bundle) -> None:
    assert verification(bundle.manifest) == "nas verify ."
    assert "\n`nas verify .` checks the network" in (bundle.path / "README.md").read_text()
