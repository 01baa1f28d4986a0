"""Published architectures, given only where the space is the one of their paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from search_spaces.space import Choice, SearchSpace, Value

#: Options that a published architecture may be used with at other values: its layers stay the same.
_FREE = ("resolution", "resolutions", "in_channels", "classes")


def published(
    builder: Callable[..., SearchSpace],
    options: Mapping[str, Any],
    choices: Sequence[Choice],
    named: Mapping[str, Mapping[str, Value]],
) -> dict[str, Mapping[str, Value]]:
    """Those of `named` that a space made with `options` has.

    With stages of another shape the same choices would give another network, which the published name would be wrong
    for; a resolution that the space does not offer cannot be chosen.

    Args:
        builder: whose default options are those of the paper.
        options: what the space is made with.
        choices: of the space.
        named: values of the choices for each architecture.
    """
    defaults = {name: parameter.default for name, parameter in signature(builder).parameters.items()}
    if any(json.dumps(options[name]) != json.dumps(default) for name, default in defaults.items() if name not in _FREE):
        return {}
    offered = {choice.name: choice.options for choice in choices}
    return {
        name: values for name, values in named.items() if all(value in offered[key] for key, value in values.items())
    }
