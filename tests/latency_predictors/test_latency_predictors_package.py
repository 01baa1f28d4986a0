from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import latency_predictors

FOLDER = Path(latency_predictors.__file__).parent


def test_public_names_exist() -> None:
    for name in latency_predictors.__all__:
        assert getattr(latency_predictors, name) is not None
    assert callable(latency_predictors.reference_set)
    assert {"gaussian_process", "lookup_table", "nonnegative", "roofline"} <= {*latency_predictors.names()}


def test_nothing_here_imports_the_framework() -> None:
    files = list(FOLDER.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("nas", "optuna")], path


def test_importing_is_light() -> None:
    code = "import sys, latency_predictors; print(*(m for m in ('onnx', 'onnxruntime', 'scipy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert done.stdout.strip() == ""
