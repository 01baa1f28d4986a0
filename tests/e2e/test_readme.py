"""What README.md says can be done, is done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"^<!-- test -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)

EXAMPLE = """
<!-- test -->
```sh
# a comment
cat <<EOF > file
`one` line
EOF
```
```sh
not tested
```
<!-- test -->
```python
not_shell()
```
Text.
<!-- test -->

```sh
not directly below
```
<!-- test -->
```sh
last
```
"""


def blocks(text: str) -> list[str]:
    """The commands of every fenced `sh` block that has `<!-- test -->` on the line above."""
    return _BLOCK.findall(text)


def readme() -> str:
    if not README.exists():
        pytest.skip("there is no README.md")
    return README.read_text(encoding="utf-8")


def test_blocks_are_found() -> None:
    assert blocks(EXAMPLE) == ["# a comment\ncat <<EOF > file\n`one` line\nEOF\n", "last\n"]


def test_commands_of_the_readme(tmp_path: Path) -> None:
    commands = blocks(readme())
    if not commands:
        pytest.skip("README.md has no block below '<!-- test -->'")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nas"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nas.cli "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NASMYTH_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    work = tmp_path / "work"
    work.mkdir()
    for block in commands:
        found = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=work, env=environment, capture_output=True, text=True
        )
        assert found.returncode == 0, f"{block}\nsays:\n{found.stdout}\n{found.stderr}"


def test_targets_of_make_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b", "\n".join(re.findall(r"`+[^`]+`+", readme()))))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
