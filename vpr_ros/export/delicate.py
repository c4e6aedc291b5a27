# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which layers int8 would hurt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.export.check import sample_images
from vpr_ros.export.twins import becomes_int8, exchange
from vpr_ros.networks.tat_vpr import TatVPR

WHOLE = 0.99  # cosine of the descriptor, all layers in int8, that is good enough
ALONE = 0.998  # with one layer in int8, that lets it be


@torch.no_grad()
def delicate_layers(network: nn.Module, height: int, width: int) -> frozenset[str]:
    """Names of the layers of `network` that should stay float, for images of height x width px.

    None, as a rule. But a layer whose inputs have a few loud channels (tokens of DINOv2 do), and
    whose quiet ones matter (a whitening multiplies them), loses these in int8 codes that share one
    scale. So where the whole network in int8 gives another descriptor, every layer is tried alone.
    """
    images = sample_images(height, width)
    setting = (torch.tensor(0.0),) if isinstance(network, TatVPR) else ()
    expected = network.eval()(images, *setting)

    def cosine(kept: frozenset[str]) -> float:
        found: Tensor = exchange(network, "int8", kept)(images, *setting)
        return float(F.cosine_similarity(found.double(), expected.double(), dim=1).min())

    if cosine(frozenset()) >= WHOLE:
        return frozenset()
    names = frozenset(name for name, layer in network.named_modules() if becomes_int8(layer))
    return frozenset(name for name in names if cosine(names - {name}) < ALONE)
