"""Delivery: choosing a network, exporting it as ONNX, and verifying the export on the device."""
