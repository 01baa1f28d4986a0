"""Search spaces: what can be built. Nothing here knows about devices or about studies."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from search_spaces.space import Architecture, Choice, SearchSpace, Slot, Variant, nearest
from search_spaces.workload import Op, Workload

__all__ = [
    "Architecture",
    "Choice",
    "Op",
    "SearchSpace",
    "Slot",
    "Variant",
    "Workload",
    "get",
    "names",
]

_BUILDERS = {
    "accel-nasbench": "search_spaces.tabular.accel_nasbench:accel_nasbench",
    "convnet": "search_spaces.convnet.mixed:convnet",
    "efficient-hybrid": "search_spaces.hybrid.space:efficient_hybrid",
    "efficientnet-lite": "search_spaces.convnet.efficientnet_lite:efficientnet_lite",
    "fbnet": "search_spaces.tabular.fbnet:fbnet",
    "fbnet-imagenet": "search_spaces.convnet.fbnet:fbnet_imagenet",
    "hat": "search_spaces.tabular.hat:hat",
    "hybrid-slm": "search_spaces.slm.space:hybrid_slm",
    "mnasnet": "search_spaces.convnet.mnasnet:mnasnet",
    "mobilenetv2": "search_spaces.convnet.mobilenet:mobilenetv2",
    "mobilenetv3": "search_spaces.convnet.mobilenetv3:mobilenetv3",
    "mobilenetv3-large": "search_spaces.convnet.mobilenet:mobilenetv3_large",
    "mobilenetv3-small": "search_spaces.convnet.mobilenet:mobilenetv3_small",
    "nasbench201": "search_spaces.tabular.nasbench201:nasbench201",
    "ofa-mobilenetv3": "search_spaces.convnet.ofa_mobilenetv3:ofa_mobilenetv3",
    "ofa-proxyless": "search_spaces.convnet.ofa_proxyless:ofa_proxyless",
    "ofa-resnet50": "search_spaces.convnet.ofa_resnet50:ofa_resnet50",
    "proxylessnas": "search_spaces.convnet.proxylessnas:proxylessnas",
    "vit": "search_spaces.vit.space:vit",
}


def names() -> list[str]:
    """The spaces that `get` knows by a short name."""
    return sorted(_BUILDERS)


def builder(name: str) -> Any:
    """The function that makes the space `name`: a short name, or `package.module:function` for a space of your own.

    Raises:
        ValueError: when there is no such space.
    """
    path = _BUILDERS.get(name, name)
    module, separator, function = path.partition(":")
    if not separator:
        raise ValueError(
            f"there is no search space {name!r}{nearest(name, names())}; there are {', '.join(names())}, "
            "and 'package.module:function' for a space of your own"
        )
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"search space {name!r} cannot be imported: {error}") from error


def get(name: str, **options: Any) -> SearchSpace:
    """The search space `name`, made with `options` (see the function named in `nas spaces NAME`).

    Raises:
        ValueError: when the space or one of the options is unknown, or an option has an impossible value.
    """
    function = builder(name)
    known = inspect.signature(function).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"space {name!r} has no option {option!r}{nearest(option, known)}; it takes {', '.join(known)}"
            )
    try:
        space = function(**options)
    except TypeError as error:
        raise ValueError(f"space {name!r} cannot be made with these options: {error}") from error
    if not isinstance(space, SearchSpace):
        raise ValueError(f"{name!r} returned {type(space).__name__}, not a search space")
    return space
