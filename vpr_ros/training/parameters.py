# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which of a network's parameters are trained."""

from __future__ import annotations

from torch import nn

from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.heads.query_pool import PartialWhitening
from vpr_ros.networks.ternary_vit import TernaryVit
from vpr_ros.networks.vit import Vit


def transformer(network: nn.Module) -> Vit | TernaryVit:
    """The blocks of a network, without prompts and head."""
    found = network.vit if isinstance(network, EfficientVPR) else network.backbone
    assert isinstance(found, (Vit, TernaryVit))
    return found


def open_last_blocks(network: nn.Module, count: int) -> None:
    """Train heads, prompts and the last `count` blocks; all of the transformer if all blocks.

    What is only ever fitted is not trained.
    """
    network.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, PartialWhitening):
            module.requires_grad_(False)
    vit = transformer(network)
    if count >= len(vit.blocks):
        return
    vit.requires_grad_(False)
    if count:
        vit.blocks[-count:].requires_grad_(True)
        vit.norm.requires_grad_(True)


def parameter_groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters to train by learning rate: 'prompts', 'heads' and 'blocks'."""
    if isinstance(network, EfficientVPR):
        return network.parameter_groups()
    return {
        "heads": [p for p in network.head.parameters() if p.requires_grad],
        "prompts": [],
        "blocks": [p for p in network.backbone.parameters() if p.requires_grad],
    }
