"""Parts of a run that a configuration names and gives options: strategies of training, samplers of a search."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nas.errors import UsageError
from search_spaces.space import nearest


def check_name(kind: str, key: str, name: str, known: Collection[str]) -> None:
    """Refuse an unknown name.

    Args:
        kind: of the part, for people.
        key: of the configuration that holds the name.
        name: to be checked.
        known: all names.

    Raises:
        UsageError: naming the nearest one.
    """
    if name not in known:
        raise UsageError(f"there is no {kind} {name!r}{nearest(name, known)}; {key} is one of {', '.join(known)}")


def check_options(
    kind: str, constructor: Callable[..., Any], options: Mapping[str, Any], given: Collection[str] = ()
) -> dict[str, Any]:
    """The options, after a check against the parameters of the constructor and their types.

    Args:
        kind: of the part with its name, for people.
        constructor: takes the options.
        options: by name.
        given: parameters that are not options.

    Raises:
        UsageError: when the constructor has no such option.
        ValueError: naming the first option of another type.
    """
    known = [name for name in inspect.signature(constructor).parameters if name not in given]
    types = get_type_hints(constructor.__init__)
    checked = {}
    for option, value in options.items():
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UsageError(f"{kind} has no option {option!r}{nearest(option, known)}; {takes}")
        try:
            checked[option] = TypeAdapter(types[option], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{option} is {value!r}: {error.errors()[0]['msg']}") from error
    return checked
