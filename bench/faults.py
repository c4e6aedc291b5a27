# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults that the package was given, and survived, by kind.

python -m bench.faults                   everything; half an hour on two cores
python -m bench.faults --short           a few of each kind, as `make test` does in parts
python -m bench.faults messages disks    only these

What is random follows from --seed. Every fault that is not survived is described on the way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from bench.map_faults import mutated_maps
from bench.message_faults import hostile_network, hostile_process
from bench.process_faults import Counts, full_disks, kills_while_saving, stops


def _kernels(count: int, seed: int) -> Counts:
    from bench.kernel_faults import kernel_faults  # needs what builds the kernels

    return kernel_faults(count < 100)


# name -> what makes the faults from count and seed, how many in the long form and in the short
KINDS: dict[str, tuple[Callable[[int, int], Counts], int, int]] = {
    "messages": (hostile_network, 100, 3),
    "process": (hostile_process, 30, 3),
    "stops": (stops, 60, 4),
    "kills": (kills_while_saving, 30, 2),
    "disks": (full_disks, 100, 5),
    "maps": (mutated_maps, 10_000, 50),
    "kernels": (_kernels, 100, 1),
}


def main() -> None:
    """Print the table; the exit status is 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    table, held = Table("fault", "tried", "survived", title=f"seed {args.seed}"), True
    for name in args.kinds or KINDS:
        make, long, short = KINDS[name]
        print(f"{name} ...", file=sys.stderr)
        for kind, (tried, survived) in make(short if args.short else long, args.seed).items():
            table.add_row(
                kind, f"{tried:,}", f"{survived:,}", style="" if tried == survived else "bold"
            )
            held = held and tried == survived
    Console().print(table)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
