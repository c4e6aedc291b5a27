# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the compiled operators bring to whole encoders: TAT-VPR at 224 px, EfficientVPR at 322.

python -m bench.kernels                           all sizes, one thread, then two
python -m bench.kernels --sizes base --threads 1

Weights are random, for time and memory only. The variants of a size run alternately in one
process. On a busy machine, trust the ratios of CPU time, which is that of all threads together
and a proxy for energy.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.measure import measure, resident_mb
from bench.networks import EFFICIENT_SIDE, efficientvpr
from vpr_ros.core.encoder import Encoder
from vpr_ros.export.check import sample_images
from vpr_ros.export.cost import cost_of
from vpr_ros.export.export_checkpoint import contract_of
from vpr_ros.export.onnx_file import write_onnx
from vpr_ros.export.transformer import build_transformer
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import SIZES, TatVPR, TatVPRConfig

SIDE = 224  # px
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

    def run(self, image: np.ndarray) -> object:
        """The descriptor."""
        return self.encoder.run(image, self.sparsity)


def write_models(size: str, head: str, folder: Path) -> dict[str, Path]:
    """The files of a network in fp32 and in int8."""
    torch.manual_seed(0)
    if size == EFFICIENT:
        network, side = efficientvpr(), EFFICIENT_SIDE
    else:
        # This layout leaves out nested hidden values, as the shipped models do.
        config = TatVPRConfig.of_size(size, head=head, selection="nested", layout="dinov2")
        network, side = TatVPR(config).eval(), SIDE
        shuffle_orders(network)
    paths = {}
    for precision in ("fp32", "int8"):
        model, _ = build_transformer(network, side, side, precision, ())
        paths[precision] = folder / f"{size}-{precision}.onnx"
        contract = contract_of(network, {"name": f"random-{size}"}, (side, side), precision)
        write_onnx(model, contract, paths[precision])
    return paths


def shuffle_orders(network: torch.nn.Module) -> None:
    """Put the channels of nested layers in an arbitrary order, as training does."""
    for layer in network.modules():
        if isinstance(layer, SparseTernaryLinear) and layer.rank is not None:
            layer.rank.copy_(torch.randperm(len(layer.rank)))


def variants_of(paths: dict[str, Path], threads: int) -> list[Variant]:
    """What is compared, the yardsticks first."""
    stock = Encoder(paths["int8"], threads, compiled=False)
    compiled = Encoder(paths["int8"], threads)
    dial = compiled.contract.dial != "none"
    return [
        Variant(YARDSTICKS[0], Encoder(paths["fp32"], threads), 0.0),
        Variant(YARDSTICKS[1], stock, 0.0),
        *(
            Variant(f"int8, compiled, s = {s:g}", compiled, s)
            for s in (SPARSITIES if dial else (0.0,))
        ),
    ]


def add_rows(table: Table, size: str, paths: dict[str, Path], threads: int, rounds: int) -> None:
    """Measure all variants of a size and append them."""
    variants = variants_of(paths, threads)
    contract = variants[0].encoder.contract
    macs = cost_of(paths["int8"]).macs
    image = sample_images(contract.input_height, contract.input_width)[:1].numpy()
    found = measure({v.name: (lambda v=v: v.run(image)) for v in variants}, rounds)
    yardsticks = [found[name] for name in YARDSTICKS]
    for variant in variants:
        one = found[variant.name]
        table.add_row(
            size,
            variant.name,
            str(threads),
            f"{macs[variant.sparsity] / 1e6:,.0f}",
            f"{one.time_ms:.1f}",
            *(f"{other.time_ms / one.time_ms:.2f}" for other in yardsticks),
            f"{one.cpu_ms:.1f}",
            *(f"{other.cpu_ms / one.cpu_ms:.2f}" for other in yardsticks),
        )


def main() -> int:
    """Measure and print; 1 if there is no library."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--head", default="cls", help="of the network; cls costs almost nothing")
    options = parser.parse_args()
    console = Console(width=WIDTH)
    ratios = ("x fp32", "x int8")
    table = Table("network", "variant")
    for heading in ("threads", "MMAC", "ms", *ratios, "CPU ms", *ratios):
        table.add_column(heading, justify="right", no_wrap=True)
    memory = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder, console.status(size):
            paths = write_models(size, options.head, Path(folder))
            words = Encoder(paths["int8"]).operators
            if not words.startswith("compiled"):
                print(f"Nothing to measure, {words}.", file=sys.stderr)
                return 1
            for threads in options.threads:
                add_rows(table, size, paths, threads, options.rounds)
            kinds = {
                YARDSTICKS[0]: resident_mb(paths["fp32"]),
                YARDSTICKS[1]: resident_mb(paths["int8"], compiled=False),
                "compiled": resident_mb(paths["int8"]),
            }
            memory.append(", ".join(f"{name} {mb:.0f}" for name, mb in kinds.items()))
    table.title = f"whole encoder, head {options.head}, random weights; {words}"
    console.print(table)
    for size, line in zip(options.sizes, memory, strict=True):
        console.print(f"resident memory over the runtime's own, MB, {size}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
