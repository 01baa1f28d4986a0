"""`nas run` for a language model: from a text to a bundle that writes text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

import nas
from latency_predictors import Device
from nas.export.bundle import README, Bundle, write_files
from nas.export.check import Check
from nas.export.language_verification import LanguageVerifier
from nas.export.verification import Verification
from nas.pipeline import Result

CONFIG = Path(__file__).with_name("tiny_language.yaml")
WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "naïve", "dogs", "run", "to", "their", "house", "東京")
FILES = {
    "prefill.onnx", "decode.onnx", "weights.data", "tokenizer.json", "generate.py", "architecture.json",
    "weights.safetensors", "README.md", "manifest.json",
}  # fmt: skip


def text(words: int, seed: int) -> str:
    """Sentences in which each word decides which two may follow it."""
    rng, found = np.random.default_rng(seed), [0]
    for _ in range(words):
        found.append((2 * found[-1] + int(rng.integers(1, 3))) % len(WORDS))
    return " ".join(WORDS[number] + ("." if rng.random() < 0.1 else "") for number in found)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text(text(3000, 0), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASMYTH_DATA", str(folder))
        return nas.run(CONFIG, f"directory={folder / 'run'}")


@pytest.fixture
def bundle(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("NASMYTH_DATA", str(result.path.parent))
    return Bundle(Path(shutil.copytree(result.bundle.path, tmp_path / "bundle")))


def test_all_checks_are_made_and_pass(result: Result) -> None:
    names = [check.name for check in result.verification.checks]
    assert names == [
        "outputs equal torch's, prompt of 5 tokens, batch 1",
        "outputs equal torch's, next token after 5 tokens, batch 1",
        "outputs equal torch's, prompt of 23 tokens, batch 3",
        "outputs equal torch's, next token after 23 tokens, batch 3",
        names[4],
        "bits per byte on validation data",
        "bits per byte of the exported graphs, 8 sequences",
        "recall on validation data",
        "recall of the exported graphs, 8 sequences",
        "prefill_24 on local as predicted",
        "decode_40 on local as predicted",
        "limit on prefill_24_ms.local",
        "limit on memory_mb",
        "size of prefill.onnx, decode.onnx, weights.data",
    ]
    assert names[4].endswith("generated tokens equal torch's")
    failed = {check.name: check for check in result.verification.checks if not check.passed}
    assert not failed
    again = Verification.from_document(json.loads(json.dumps(result.verification.document())))
    assert again == result.verification


def test_bundle_has_what_it_says(result: Result) -> None:
    bundle = result.bundle
    assert {file.name for file in bundle.path.iterdir()} == FILES
    bundle.check_files()
    manifest = bundle.manifest
    assert manifest["states"] == list(bundle.space.input_shapes(bundle.architecture, "decode_40"))[1:]
    assert manifest["devices"]["local"]["phases"].keys() == {"prefill_24", "decode_40"}
    session = onnxruntime.InferenceSession(str(bundle.path / "decode.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["tokens", *manifest["states"]]
    assert [value.name for value in session.get_outputs()] == ["logits", *(f"{s}_next" for s in manifest["states"])]


def test_report_shows_both_phases_and_no_images(result: Result) -> None:
    page = (result.path / "report.html").read_text(encoding="utf-8")
    body = page[page.rindex("<body>") :]
    for words in (
        "Decode 40 (local)",
        "Prefill 24 (local)",
        "Bits per byte",
        "recall",
        "prefill_24 on local as predicted",
    ):
        assert words in body, words
    assert "image" not in body


def test_program_in_the_bundle_writes_what_torch_would(bundle: Bundle, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(bundle.path / "generate.py"), "the cat", "--tokens", "12"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=True)
    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    tokens = [bundle.manifest["end"], *tokenizer.encode("the cat").ids]
    start, network = len(tokens), bundle.network()
    with torch.inference_mode():
        for _ in range(12):
            token = int(network(torch.tensor([tokens]))[0, -1].argmax())
            if token == bundle.manifest["end"]:
                break
            tokens.append(token)
    expected = ("the cat" + tokenizer.decode(tokens[start:])).rstrip("\N{REPLACEMENT CHARACTER}")
    assert done.stdout.decode() == expected + "\n"


class Quick(LanguageVerifier):
    """Without measuring."""

    def _latency(self, phase: str) -> Any:
        return iter(())


def failed(bundle: Bundle) -> dict[str, Check]:
    found = Quick(bundle, Device.load("local")).run()
    return {check.name: check for check in found.checks if not check.passed}


def test_swapped_weights_are_found(bundle: Bundle) -> None:
    network = bundle.network()
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.2)
    kept = {name: (bundle.path / name).read_bytes() for name in FILES - {"manifest.json"}}
    files = {name: kept[name] for name in (*bundle.layout.models, *bundle.layout.others)}
    readme = kept[README].decode()
    changed = write_files(bundle.path, files, network, bundle.architecture, readme, bundle.manifest)
    found = failed(changed)
    assert len([name for name in found if name.startswith("outputs equal torch's")]) == 4
    assert "bits per byte on validation data" in found
    assert "bits per byte of the exported graphs, 8 sequences" in found


def test_other_data_is_found(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text(text(3000, 1), encoding="utf-8")
    monkeypatch.setenv("NASMYTH_DATA", str(tmp_path))
    found = failed(bundle)
    assert list(found) == ["metrics of the task"]
    assert "other data" in found["metrics of the task"].found


def test_memory_is_measured_in_each_phase(bundle: Bundle) -> None:
    file = bundle.path / "manifest.json"
    names = [f"{phase}_peak_memory_mb" for phase in ("prefill_24", "decode_40")]
    limits = [f"{names[0]}.local <= 1e4", f"{names[1]}.local <= 1e-6", "peak_memory_mb.local <= 1e4"]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"limits": limits}))
    found = Quick(Bundle(bundle.path), Device.load("local")).run()
    missed = [check for check in found.checks if not check.passed]
    assert [check.name for check in missed] == ["peak_memory_mb on local", f"limit on {names[1]}.local"]
    assert "did you mean" in missed[0].found  # a phase must be named
    assert all(1 < found.measured[name] < 1e4 for name in names)
    assert found.notes.keys() == {f"{name} on local" for name in names}


def test_a_finished_run_is_not_done_again(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_DATA", str(result.path.parent))
    stamp = (result.bundle.path / "manifest.json").stat().st_mtime_ns
    again = nas.run(CONFIG, f"directory={result.path}")
    assert again.verification == result.verification
    assert (again.bundle.path / "manifest.json").stat().st_mtime_ns == stamp


def test_eight_bit_weights(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_DATA", str(result.path.parent))
    bundle = nas.export(result.path, tmp_path / "small", weights="int8")
    assert bundle.manifest["weights"] == "int8"
    assert bundle.size_mb < result.bundle.size_mb
    assert not failed(bundle)


def test_fine_tuned_before_the_export(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivered graphs have the new weights, and the figures are those of them."""
    monkeypatch.setenv("NASMYTH_DATA", str(result.path.parent))
    bundle = nas.export(result.path, tmp_path / "tuned", finetune=2)
    found = bundle.manifest["finetuned"]
    assert found["used"]
    assert found["bits_per_byte_after"] < found["bits_per_byte_before"]
    assert found["bits_per_byte_before"] == pytest.approx(result.bundle.manifest["metrics"]["bits_per_byte"])
    kept = {name: found[f"{name}_after"] for name in ("bits_per_byte", "recall")}
    assert bundle.manifest["metrics"] == {**result.bundle.manifest["metrics"], **kept}
    assert "fine-tuned alone for 2 epoch(s)" in (bundle.path / README).read_text(encoding="utf-8")
    assert not failed(bundle)
