# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a command shows: tables, lines, a progress bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

from rich import box
from rich import progress as bars
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.measure import Measurement
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class TextTable:
    """One table, the same on the console, in Markdown and in HTML: cells as they are shown."""

    title: str
    headings: tuple[str, ...]  # "name\nunit"
    rows: tuple[tuple[str, ...], ...]  # the first column holds words, the others numbers
    notes: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """Print it whole: a console too narrow wraps lines rather than losing digits."""
        table = Table(
            title=escape_markup(self.title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for column, heading in enumerate(self.headings):
            table.add_column(
                escape_markup(heading), justify="right" if column else "left", no_wrap=True
            )
        for row in self.rows:
            table.add_row(*map(escape_markup, row))
        needed = Measurement.get(console, console.options.update(width=10_000), table).maximum
        # A console of its own: rich never prints wider than the console is.
        Console(file=console.file, width=max(console.width, needed)).print(table)
        for note in self.notes:
            console.print(note, highlight=False, markup=False)

    def markdown(self) -> str:
        """For files."""
        rulers = [":---", *["---:"] * (len(self.headings) - 1)]
        headings = [heading.replace("\n", ", ") for heading in self.headings]
        lines = [f"{self.title}\n", _line(headings), f"|{'|'.join(rulers)}|"]
        lines += [_line(row) for row in self.rows]
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """For pages; without the title."""
        lines = ""
        for tag, cells in (("th", self.headings), *(("td", row) for row in self.rows)):
            shown = [escape(cell).replace("\n", "<br>") for cell in cells]
            numbers = "".join(f"<{tag} class=n>{cell}</{tag}>" for cell in shown[1:])
            lines += f"<tr><{tag}>{shown[0]}</{tag}>{numbers}</tr>"
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<div class='wide'><table>{lines}</table></div>{notes}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def show(console: Console, rows: Sequence[tuple[str, str]], title: str = "") -> None:
    """Print (what, value with unit) rows as a table."""
    table = Table(show_header=False, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*map(escape_markup, row))
    console.print(table)


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


class Progress(bars.Progress):
    """A progress bar on a terminal, nothing elsewhere; use it in a with statement."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console is None or not console.is_terminal,
        )
        self._task = self.add_task("Reading", total=None)

    def begin(self, text: str, total: int | None = None) -> None:
        """Begin a stretch of `total` steps; None: of unknown length."""
        self.reset(self._task, description=text, total=total)

    def step(self) -> None:
        """One step done."""
        self.advance(self._task)
