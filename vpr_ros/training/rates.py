# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates over a stage."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from vpr_ros.training.parameters import parameter_groups
from vpr_ros.training.stage_config import COSINE, StagePlan


def rate_groups(network: nn.Module, extra: list[nn.Parameter], plan: StagePlan) -> list[Any]:
    """AdamW's groups: what of the network is trained, and `extra` at the heads' rate."""
    config = plan.config
    rates = {
        "heads": config.rate_heads,
        "prompts": config.rate_prompts,
        "blocks": config.rate_blocks,
        "vectors": config.rate_vectors or config.rate_blocks,
    }
    groups = parameter_groups(network)
    blocks = groups["blocks"]
    groups["blocks"] = [p for p in blocks if p.ndim != 1]
    groups["vectors"] = [p for p in blocks if p.ndim == 1]
    groups["heads"] = groups["heads"] + extra
    return [
        {"params": parameters, "lr": rates[name], "full_rate": rates[name]}
        for name, parameters in groups.items()
        if parameters
    ]


def set_rates(optimiser: Any, plan: StagePlan, step: int) -> float:
    """Set every group's rate for batch number `step`; returns the first group's."""
    factor = rate_factor(plan, step)
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor
    return float(optimiser.param_groups[0]["lr"])


def rate_factor(plan: StagePlan, step: int) -> float:
    """What batch number `step` multiplies the rates by: warm-up, then the schedule."""
    config = plan.config
    if config.schedule == COSINE:
        rest = max(1, plan.batches - config.warm_up)
        progress = max(0, step - config.warm_up) / rest
        factor = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        factor = config.decay ** (step // plan.batch.batches // config.decay_every)
    return factor * min(1.0, (step + 1) / max(1, config.warm_up))
