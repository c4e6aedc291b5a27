# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in half precision, in parts that small transfers let through.

`python -m vpr_ros.training.halve best.pt OUT` writes OUT/best.pt.00 and so on; `cat` joins them to
a checkpoint that every command reads. Codes near a rounding border may change.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from vpr_ros.core.errors import VprError
from vpr_ros.networks.checkpoint import load_checkpoint


def halve(checkpoint: Path, folder: Path, part_mb: float = 15.0) -> list[Path]:
    """The parts, in order; ModelError if `checkpoint` is none."""
    load_checkpoint(checkpoint)  # refuses what is none
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    content["state"] = {
        name: value.half() if value.is_floating_point() else value
        for name, value in content["state"].items()
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    whole, size = buffer.getvalue(), round(1e6 * part_mb)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, start in enumerate(range(0, len(whole), size)):
        parts.append(folder / f"{checkpoint.name}.{number:02d}")
        parts[-1].write_bytes(whole[start : start + size])
    return parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Halve what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m vpr_ros.training.halve",
        description="Write a checkpoint in half precision, in parts.",
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part-mb", type=float, default=15.0, help="greatest size of a part")
    values = parser.parse_args(arguments)
    try:
        parts = halve(values.checkpoint, values.folder, values.part_mb)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"cat {' '.join(map(str, parts))} > {values.checkpoint.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
