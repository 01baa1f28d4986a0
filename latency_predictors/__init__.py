"""Latency predictors: how fast an architecture will be on a device, after about ten measurements there."""

from __future__ import annotations

from latency_predictors.bank import Bank
from latency_predictors.calibrating import calibrate
from latency_predictors.calibration import Calibration
from latency_predictors.devices.device import Device
from latency_predictors.devices.measuring import Failure, Measurement, complete, measure, measure_architectures
from latency_predictors.matrix_bank import LatencyBank, MatrixBank
from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.record import Record
from latency_predictors.reference_set import reference_set
from latency_predictors.registry import get, load, names

__all__ = [
    "Bank",
    "Calibration",
    "Device",
    "Failure",
    "LatencyBank",
    "LatencyPredictor",
    "MatrixBank",
    "Measurement",
    "Prediction",
    "Record",
    "calibrate",
    "complete",
    "get",
    "load",
    "measure",
    "measure_architectures",
    "names",
    "reference_set",
]
