# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One table, the same on the console and in Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class TextTable:
    """Headings with units below them, and cells as they are shown; numbers stand right."""

    title: str
    headings: tuple[str, ...]  # "name\nunit"
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1  # the first columns, which hold words

    def print(self, console: Console) -> None:
        """Show it whole: a console too narrow wraps lines rather than losing digits."""
        table = self._rich()
        needed = Measurement.get(console, console.options.update(width=10_000), table).maximum
        # A console of its own: rich never prints wider than the console is.
        Console(file=console.file, width=max(console.width, needed)).print(table)

    def _rich(self) -> Table:
        table = Table(
            title=self.title,
            title_justify="left",
            caption="\n".join(self.notes),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for column, heading in enumerate(self.headings):
            justify = "left" if column < self.words else "right"
            table.add_column(heading, justify=justify, no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For files."""
        rulers = [":---" if i < self.words else "---:" for i in range(len(self.headings))]
        headings = [heading.replace("\n", ", ") for heading in self.headings]
        lines = [f"{self.title}\n", _line(headings), f"|{'|'.join(rulers)}|"]
        lines += [_line(row) for row in self.rows]
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """For pages; without the title."""
        rows = [("th", self.headings), *(("td", row) for row in self.rows)]
        lines = [
            f"<tr>{''.join(self._cell(tag, i, text) for i, text in enumerate(cells))}</tr>"
            for tag, cells in rows
        ]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<div class='wide'><table>{''.join(lines)}</table></div>{notes}"

    def _cell(self, tag: str, column: int, text: str) -> str:
        shown = escape(text).replace("\n", "<br>")
        return f"<{tag}{'' if column < self.words else ' class=n'}>{shown}</{tag}>"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
