# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The head `queries`, and what ends it, fitted in closed form at several sparsities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.query_pool import PartialWhitening, QueryPool
from vpr_ros.networks.tokens import Tokens
from vpr_ros.training.closed_form import StartConfig, cluster, half, sample, whiten
from vpr_ros.training.whitening import variation_within

Backbone = Callable[[Tensor, float], Tokens]  # images (B, 3, H, W) at a sparsity to tokens


@torch.no_grad()
def fit_query_pool(
    head: nn.Module,
    backbone: Backbone,
    batches: Sequence[tuple[Tensor, Tensor]],
    sparsities: Sequence[float],
    config: StartConfig,
) -> None:
    """Fit `head` to what `backbone` makes of batches of images (B, 3, H, W) and labels (B,).

    Queries are prototypes of patches. Views of one place at different sparsities are views of one
    place: the whitening turns down what the dial changes. ConfigError if it is another head.
    """
    if not isinstance(head, QueryPool):
        raise ConfigError(
            f"A {type(head).__name__} has no closed form; give head 'queries', or 'fit: 0'."
        )
    tokens = []
    for images, _ in batches:
        for sparsity in sparsities:
            with half(images):
                tokens.append(backbone(images, sparsity).patches)
    labels = torch.cat([own for _, own in batches for _ in sparsities])
    patches = sample(torch.cat([sample(part.flatten(0, 1), 16) for part in tokens]).float())
    mean = patches.mean(dim=0)
    centres = cluster(patches - mean, head.ask.out_features)
    head.ask.weight.copy_(config.sharpness * centres / (patches - mean).norm(dim=1).mean())
    head.ask.bias.copy_(-(head.ask.weight @ mean))
    found = torch.cat([head.pick(part.float()) for part in tokens])  # (S, Q, C)
    whiten(head.whiten, found, labels, config.shrinkage)
    head.norm.reset_parameters()
    nn.init.orthogonal_(head.mix.weight)
    nn.init.zeros_(head.mix.bias)


@torch.no_grad()
def fit_whitening(
    layer: PartialWhitening, descriptors: Tensor, labels: Tensor, shrinkage: float
) -> None:
    """Fit `layer` to unit descriptors (S, D) of places (S,): its directions are the largest.

    All other directions keep one gain, the geometric mean of what whitening would give them.
    """
    variances, directions = variation_within(descriptors, labels, shrinkage)
    gains = variances.rsqrt()  # the smallest come last
    count = layer.down.out_features
    others = gains[:-count].log().mean().exp()
    layer.down.weight.copy_(directions[:, -count:].T)
    layer.up.weight.copy_(directions[:, -count:] * (1.0 - gains[-count:] / others))
