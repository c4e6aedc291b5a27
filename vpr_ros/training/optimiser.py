# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which parameters a stage trains, and at which learning rates."""

from __future__ import annotations

from typing import Any

from torch import nn

from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.heads.pooling import PartialWhitening
from vpr_ros.networks.tat_vpr import TernaryVit
from vpr_ros.networks.vit import Vit
from vpr_ros.training.recipe import StagePlan


def open_last_blocks(network: nn.Module, count: int) -> None:
    """Train heads, prompts and the last `count` blocks; with all of them, the embedding as well.

    A layer that is only ever fitted in closed form is not trained.
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


def rate_groups(network: nn.Module, extra: list[nn.Parameter], plan: StagePlan) -> list[Any]:
    """AdamW's groups: the network's trainable parameters, and `extra` at the heads' rate."""
    config = plan.config
    in_blocks = {id(parameter) for parameter in transformer(network).parameters()}
    heads, prompts, matrices, vectors = list(extra), [], [], []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in in_blocks:
            (vectors if parameter.ndim == 1 else matrices).append(parameter)
        else:
            (prompts if name.startswith("backbone.") else heads).append(parameter)
    return [
        {"params": parameters, "lr": rate, "full_rate": rate}
        for parameters, rate in (
            (heads, config.rate_heads),
            (prompts, config.rate_prompts),
            (matrices, config.rate_blocks),
            (vectors, config.rate_vectors or config.rate_blocks),
        )
        if parameters
    ]


def set_rates(optimiser: Any, factor: float) -> float:
    """Set every group's rate to its full rate times `factor`; returns the first group's."""
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
    return float(optimiser.param_groups[0]["lr"])


def transformer(network: nn.Module) -> Vit | TernaryVit:
    """The blocks of a network, without prompts and head."""
    found = network.vit if isinstance(network, EfficientVPR) else network.backbone
    assert isinstance(found, (Vit, TernaryVit))
    return found
