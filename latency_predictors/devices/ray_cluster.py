"""The connection to a Ray cluster, and what went wrong on a node of it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latency_predictors.devices.backend import import_runtime
from latency_predictors.devices.transports import DeviceError

#: How often something is begun whose worker process or node is lost.
ATTEMPTS = 3
#: How long to wait for the head of a cluster.
CONNECT_SECONDS = 10.0


def import_ray() -> Any:
    """The module.

    Raises:
        ModuleNotFoundError: saying what to install.
    """
    return import_runtime("ray", "'nasmyth[ray]'")


@contextmanager
def connected(ray: Any, address: str = "auto") -> Iterator[None]:
    """A process that is connected to Ray already stays so; else it is connected meanwhile.

    Args:
        ray: the module.
        address: of the cluster. `auto` is that in the environment variable RAY_ADDRESS, or the one of this machine.

    Raises:
        DeviceError: when there is no cluster.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _check_open(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
        with _same_answer_to_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise DeviceError(
            "no Ray cluster can be reached: start one here with `ray start --head`, or join this machine to one "
            f"with `ray start --address=HOST:PORT` ({first_line(error)})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _same_answer_to_sigterm() -> Iterator[None]:
    """Ray puts an answer of its own in place of the program's."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_open(address: str) -> None:
    """Raise an `OSError` when nothing listens at `HOST:PORT`: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def told(node: str, cause: BaseException) -> BaseException:
    """What went wrong on a node, as an error of the kind that it would have been here.

    Args:
        node: what to call it.
        cause: what was raised there.
    """
    message = f"on {node}: {cause}"
    if isinstance(cause, ModuleNotFoundError):
        return ModuleNotFoundError(message, name=cause.name)
    if isinstance(cause, ValueError | OSError):
        return DeviceError(message)
    if isinstance(cause, RuntimeError) and "failed to import" in str(cause):
        return DeviceError(
            f"on {node} there is no Nasmyth of this release in the Python that runs Ray: pip install 'nasmyth[ray]' "
            f"({str(cause).strip().splitlines()[-1]})"
        )
    return cause


def first_line(error: BaseException) -> str:
    """The first line of a message, or the name of the error that has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
