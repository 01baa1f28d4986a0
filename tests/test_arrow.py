"""The one-arrow rule: nas -> latency_predictors -> search_spaces, and none back, wherever an import is written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: What each package must not import.
FORBIDDEN = {
    "search_spaces": {"latency_predictors", "nas", "optuna"},
    "latency_predictors": {"nas"},
}


def imports(source: str, package: str) -> set[str]:
    """Top-level names that a module of `package` imports, in any scope; relative imports are the package itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(package if node.level else (node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value.partition(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_no_import_goes_against_the_arrow(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {
        str(path.relative_to(ROOT)): sorted(against)
        for path in files
        if (against := imports(path.read_text(encoding="utf-8"), package) & FORBIDDEN[package])
    }
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        "import nas",
        "import torch, nas.search as s",
        "from nas.search import study",
        "def f():\n    from nas import search",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nas.config",
        "import importlib\nimportlib.import_module('nas.search')",
    ],
)
def test_the_reader_of_imports_sees(source: str) -> None:
    assert "nas" in imports(source, "search_spaces")


@pytest.mark.parametrize("source", ["import nasal", "from .nas import x", "x = 'import nas'", "# import nas"])
def test_the_reader_of_imports_passes_over(source: str) -> None:
    assert "nas" not in imports(source, "search_spaces")
