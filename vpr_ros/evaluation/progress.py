# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far it is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from rich import progress as bars
from rich.console import Console


class Progress:
    """A progress bar; use it in a with statement."""

    def __init__(self, console: Console | None = None) -> None:
        """Draw on `console`; without one, or where it is no terminal, draw nothing."""
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console is None or not console.is_terminal,
        )
        self._task = self._bar.add_task("Reading", total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, text: str, total: int) -> None:
        """Begin a stretch of `total` steps."""
        self._bar.reset(self._task, description=text, total=total)

    def step(self) -> None:
        """One step done."""
        self._bar.advance(self._task)

    def say(self, text: str) -> None:
        """Something of unknown length begins."""
        self._bar.reset(self._task, description=text, total=None)
