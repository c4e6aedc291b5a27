# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what the robot's nodes cost, against what the work itself costs."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.costs import database_costs, encoder_costs
from bench.live import drive

GOALS = "goals: overhead p50 < 5 ms, database < 2 ms, encoder <= 1.05, CPU <= 1.20"


def main() -> None:
    """Measure everything and print one table."""
    console = Console()
    table = Table(title="vpr_ros on this machine", caption=GOALS)
    for heading in ("what", "p50", "p95", "unit"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    with console.status("database of 10,000 keyframes, 1280-D"):
        for name, row in database_costs().items():
            table.add_row(name, *row)
    with console.status("encoder against bare onnxruntime"):
        for name, row in encoder_costs().items():
            table.add_row(name, *row)
    for features in (300, 0):
        words = "with" if features else "without"
        with console.status(f"two nodes over DDS at 5 Hz, {words} geometric verification"):
            for name, row in drive(features).items():
                table.add_row(f"{name}, {words} verification", *row)
    console.print(table)


if __name__ == "__main__":
    main()
