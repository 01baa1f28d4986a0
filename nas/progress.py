"""Telling a person how far a long piece of work is: on standard error, with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Advance(Protocol):
    """Called with the number of finished pieces and of all, and where there is more to say with that."""

    def __call__(self, done: int, total: int, text: str = "", /) -> None: ...


class Reporter:
    """Says what happens on standard error; nothing when it is quiet.

    Args:
        quiet: whether to keep silent.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, label: str) -> Iterator[Advance]:
        """A bar; call what this gives with the number of finished pieces and of all, and a text to stand behind it.

        Where standard error is not a terminal, one line marks the end instead.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=not self.console.is_terminal) as bar:
            task = bar.add_task(label, total=None, text="")

            def advance(done: int, total: int, text: str = "") -> None:
                bar.update(task, completed=done, total=total, text=text)

            yield advance
            seconds = bar.tasks[task].finished_time or bar.tasks[task].elapsed or 0.0
            text = bar.tasks[task].fields["text"]
        if not self.console.is_terminal:
            self.say(f"{label}: done in {seconds:.0f} s{', ' * bool(text)}{text}")
