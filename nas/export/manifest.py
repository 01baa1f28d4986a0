"""What must be in the manifest of a bundle, which may come from anybody."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from nas.config import AnyTaskConfig
from nas.errors import UsageError
from nas.files import read_json
from nas.search.limits import parse
from nas.section import Positive

FORMAT_VERSION = 1
IMAGES, LANGUAGE = "images", "language"

Above = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    """Further keys are of other releases."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Space(_Part):
    name: str
    options: dict[str, Any]


class _Reference(_Part):
    values: dict[str, str | int | float]
    latency_ms: Above


class _Quantity(_Part):
    mean: float
    low: float
    high: float


class _Phase(_Part):
    """What was predicted on a device."""

    mean_ms: float
    low_ms: float
    high_ms: float
    quantities: dict[str, _Quantity] = {}
    references: Annotated[list[_Reference], Field(min_length=1)]


class _Phases(_Part):
    phases: dict[str, _Phase]


def _phases(device: Any) -> str:
    return "several" if isinstance(device, dict) and "phases" in device else "one"


_Device = Annotated[Annotated[_Phases, Tag("several")] | Annotated[_Phase, Tag("one")], Discriminator(_phases)]


def _limit(text: str) -> str:
    parse(text)
    return text


class _FineTuned(_Part):
    epochs: float
    used: bool


class _Manifest(_Part):
    """Of networks of all kinds."""

    architecture: str
    data_fingerprint: str
    devices: dict[str, _Device]
    files: dict[str, str]
    finetuned: _FineTuned | None = None
    limits: list[Annotated[str, AfterValidator(_limit)]]
    metrics: dict[str, float]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    space: _Space
    task: AnyTaskConfig
    weights_mb: Above


class _Input(_Part):
    name: str
    shape: Annotated[list[Positive], Field(min_length=4, max_length=4)]
    mean: list[float]
    std: list[float]


class _ImageManifest(_Manifest):
    classes: list[str]
    input: _Input


class _LanguageManifest(_Manifest):
    context: Positive | None
    end: Annotated[int, Field(ge=0)]
    prompt: Positive | None
    sequence_length: Positive
    states: list[str]
    vocabulary: Positive
    weights: Literal["float32", "int8"]


#: By the kind that a manifest names; one that names none is of images.
_KINDS: Mapping[str, type[_Manifest]] = MappingProxyType({IMAGES: _ImageManifest, LANGUAGE: _LanguageManifest})


def read_manifest(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`, with every key that this release uses, each of its type.

    Raises:
        UsageError: when the file is missing or damaged, or of another version or kind; or a key is missing or has a
            value that cannot be: the message names it.
    """
    document = read_json(path, "export the network again")
    version, kind = (
        (document.get("version"), document.get("kind", IMAGES)) if isinstance(document, dict) else (None, None)
    )
    if version != FORMAT_VERSION:
        raise UsageError(f"{path.parent} is a bundle of version {_short(version)}, this release reads {FORMAT_VERSION}")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(
            f"{path.parent} is a bundle of kind {_short(kind)}, this release knows {', '.join(_KINDS)}; use the one that made it"
        )
    try:
        _KINDS[kind].model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{path} {_sentence(error)}; export the network again") from error
    checked: dict[str, Any] = document
    return checked


def _sentence(error: ValidationError) -> str:
    """What is wrong with the first key that is."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in _without_tag(problem["loc"]))
    if problem["type"] == "missing":
        return f"has no key {key!r}"
    message = problem["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
    return f"has {_short(problem['input'])} as {key!r}: {message[:1].lower()}{message[1:]}"


def _without_tag(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of an error, without what pydantic puts in it to say which member of a union it means."""
    behind = {"task": 1, "devices": 2}.get(str(place[0]) if place else "")
    return place if behind is None else (*place[:behind], *place[behind + 1 :])


def _short(value: Any) -> str:
    return reprlib.repr(value)
