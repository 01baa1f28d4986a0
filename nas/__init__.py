"""Nasmyth: hardware-aware neural architecture search, from images to an ONNX network verified on the device."""
