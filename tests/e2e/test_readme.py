"""What README.md says can be done, is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from user_commands import run, user_folder

from nas.pipeline import existing_stages

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


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which all commands of README.md were carried out, one block after the other."""
    commands = blocks(readme())
    if not commands:
        pytest.skip("README.md has no block below '<!-- test -->'")
    work = user_folder(tmp_path_factory.mktemp("readme"))
    for block in commands:
        run(work, "bash", "-euvo", "pipefail", "-c", block)
    return work


def test_commands_leave_what_the_readme_says(work: Path) -> None:
    assert (work / "runs" / "quickstart" / "report.html").stat().st_size > 1_000_000  # plotly is inside
    for bundle in (work / "runs" / "quickstart" / "exports" / "chosen", work / "small"):
        assert {file.name for file in bundle.iterdir()} == {
            "model.onnx",
            "architecture.json",
            "weights.safetensors",
            "manifest.json",
            "README.md",
        }


def test_ends_of_the_quickstart_supernet_are_accurate(work: Path) -> None:
    stages = existing_stages(work / "runs" / "quickstart")
    ends = {"largest": (stages.space.largest(), 0.97), "smallest": (stages.space.smallest(), 0.94)}
    for name, (architecture, least) in ends.items():
        found = stages.evaluator.accuracy(stages.evaluator.network(architecture), architecture, "test")
        assert found >= least, f"{name}: {found:.2%} on test images"


def test_targets_of_make_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)\b", "\n".join(re.findall(r"`+[^`]+`+", readme()))))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
