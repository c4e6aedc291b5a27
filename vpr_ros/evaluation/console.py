# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a command says on a terminal, and how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table


def show(console: Console, rows: list[tuple[str, str]], title: str = "") -> None:
    """Print (what, value with unit) rows as the one table."""
    table = Table(show_header=False, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a termination end the run as Ctrl-C does, leaving nothing half-written."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
