"""The command line: one command a file, thin. Everything heavy is imported inside the commands."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

#: Each module holds one command; `device` and `bank` hold a group of them.
_COMMANDS = (
    "spaces",
    "profile",
    "run",
    "train",
    "calibrate",
    "search",
    "worker",
    "front",
    "export",
    "verify",
    "scale",
    "report",
    "dashboard",
    "device",
    "bank",
)


def application() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="nas",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=(
            "Hardware-aware neural architecture search. Begin with 'nas run quickstart'.\n\n"
            "Exit codes: 0 done, 1 a check failed or a limit cannot be met, 2 wrong use, 130 interrupted, 143 terminated. "
            "NASMYTH_TRACEBACK=1 shows where an error comes from."
        ),
    )
    for name in _COMMANDS:
        importlib.import_module(f"nas.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point: known errors become one sentence on standard error and an exit code."""
    from nas.errors import CheckFailed

    sys.path.append(os.getcwd())  # so that a search space in a file of the user's is found
    try:
        with _plain_warnings(), _terminable():
            application()()
    except (KeyboardInterrupt, SystemExit) as end:
        if not _interrupted(end):
            raise
        _say("interrupted; the same command goes on from here")
        sys.exit(130)
    except _Terminated:
        _say("terminated; the same command goes on from here")
        sys.exit(143)
    except (CheckFailed, FloatingPointError) as error:
        _fail(error, 1)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        _fail(error, 2)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """A warning is a sentence too, without the line of code that it comes from."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program at once, but through whatever is to be done at its end."""

    def end(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(end: BaseException) -> bool:
    """Whether Ctrl-C brought the program to its end: typer makes a silent exit of it."""
    cause: BaseException | None = end
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("NASMYTH_TRACEBACK"):
        raise error
    _say(f"error: {_sentence(error)}")
    sys.exit(code)


def _sentence(error: Exception) -> str:
    """What it says; of what the system itself said, the file, the reason and what to do."""
    from latency_predictors.files import ADVICE

    if not isinstance(error, OSError) or not str(error).startswith("[Errno"):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return "; ".join([f"{place}{error.strerror}", *filter(None, [ADVICE.get(error.errno)])])


def _say(text: str) -> None:
    print(text, file=sys.stderr)
