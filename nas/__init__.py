"""Nasmyth: hardware-aware neural architecture search, from images to an ONNX network verified on the device."""

# The packages nas.search and nas.export are imported first, so that the functions of those names stay visible here.
import nas.export
import nas.search  # noqa: F401
from nas.api import export, run, search, verify

__all__ = ["export", "run", "search", "verify"]
