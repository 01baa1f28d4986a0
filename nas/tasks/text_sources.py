"""From the name of a source to its texts."""

import glob
import gzip
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nas.tasks.hugging_face import PREFIXES, SPLITS, read_hugging_face_text
from nas.tasks.sources import Source
from nas.tasks.task import DataError
from nas.tasks.text_data import TextData

DOCUMENTATION = "python-documentation"
SUFFIXES = (".txt", ".gz")
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class TextReader:
    """One kind of source."""

    kind: str
    """What a user can give, for messages."""
    recognises: Callable[[Source], bool]
    read: Callable[[Source], TextData]


def read_documentation() -> TextData:
    """The topics of ``help()`` that Python brings along, about 450 kB of English in documents of one topic each.

    They differ from one version of Python to the next.

    Raises:
        DataError: this Python comes without them.
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise DataError(f"{DOCUMENTATION}: this Python comes without pydoc_data, give a text file instead") from error
    return TextData.of(DOCUMENTATION, {"train": [text.encode() for _, text in sorted(topics.items())]})


def read_text_files(paths: Iterable[Path], root: Path) -> TextData:
    """Read files with one document each, in the order of their paths; those with the suffix .gz are compressed.

    A file is for the split whose name (train, validation, valid, val or test) is a word in its path below ``root``, such
    as in ``books_train.txt.gz`` or ``test/a.txt``. If no file has such a word, all are for training; one file alone is
    so in any case.

    Raises:
        DataError: there is no file, one is damaged, or only some of them are for a split.
    """
    ordered = sorted(paths)
    if not ordered:
        raise DataError(f"{root.absolute()}: has no file with the suffix {' or '.join(SUFFIXES)}, put one there")
    named = {path: _split_of(path.relative_to(root)) for path in ordered} if len(ordered) > 1 else {}
    if not any(named.values()):
        named = dict.fromkeys(ordered, "train")
    splits: dict[str, list[bytes]] = {}
    for path, split in named.items():
        if split is None:
            raise DataError(f"{path}: is for no split, unlike other files; put train, validation or test in its name")
        splits.setdefault(split, []).append(_read_file(path))
    if "train" not in splits:
        raise DataError(f"{root.absolute()}: no file is for training, put train in the name of one")
    return TextData.of(str(root), splits)


READERS = (
    TextReader(DOCUMENTATION, lambda source: source.name == DOCUMENTATION, lambda source: read_documentation()),
    TextReader(
        "hf:NAME",
        lambda source: source.name.startswith(PREFIXES),
        lambda source: read_hugging_face_text(source.name, source.base),
    ),
    TextReader(
        "a text file", lambda source: source.path.is_file(), lambda source: read_text_files([source.path], source.path)
    ),
    TextReader(
        "a folder of .txt and .gz files",
        lambda source: source.path.is_dir(),
        lambda source: read_text_files(_files_below(source.path), source.path),
    ),
    TextReader(
        "a pattern such as books/*.txt",
        lambda source: _WILDCARD.search(source.name) is not None,
        lambda source: read_text_files(_matching(source.path), _fixed_part(source.path)),
    ),
)
"""The first that recognises a source reads it."""


def load_text(source: str, *, base: Path | None = None) -> TextData:
    """Load the texts that ``source`` names into memory.

    Args:
        source: ``python-documentation``, which the installed Python brings along; ``hf:NAME`` for a data set of the
            Hugging Face Hub; or the path of a text file (one with the suffix .gz is compressed), of a folder with .txt
            and .gz files at any depth, or a pattern of paths.
        base: where a relative path starts; by default the current directory.

    Raises:
        DataError: there is no such source, it cannot be read, or it has no text.
    """
    asked = Source(source, base or Path())
    reader = next((reader for reader in READERS if reader.recognises(asked)), None)
    if reader is None:
        raise DataError(
            f"{source}: there is no such source of texts at {asked.path.absolute()}, "
            f"give {', '.join(each.kind for each in READERS[:-1])} or {READERS[-1].kind}"
        )
    return reader.read(asked)


def _files_below(folder: Path) -> list[Path]:
    return [path for path in chain(*(folder.rglob(f"*{suffix}") for suffix in SUFFIXES)) if path.is_file()]


def _matching(pattern: Path) -> list[Path]:
    found = [path for path in map(Path, glob.glob(str(pattern), recursive=True)) if path.is_file()]
    if not found:
        raise DataError(f"{pattern.absolute()}: no file matches, check the pattern")
    return found


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    first = next(number for number, part in enumerate(pattern.parts) if _WILDCARD.search(part))
    return Path(*pattern.parts[:first])


def _split_of(path: Path) -> str | None:
    words = re.split(r"[^a-z]+", str(path).lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def _read_file(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}), check that it is a text file or a gzip one") from error
    if not content.strip():
        raise DataError(f"{path}: is empty, remove it or put text into it")
    return content
