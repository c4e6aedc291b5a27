# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SALAD: optimal transport of local features to clusters, with a bin for uninformative ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.vit import Tokens

SINKHORN_ROUNDS = 3  # Izquierdo and Civera, CVPR 2024, as released


def transport(scores: Tensor, dustbin: Tensor, rounds: int = SINKHORN_ROUNDS) -> Tensor:
    """Share of each of N features for each of K clusters, (B, K, N), from scores (B, K, N).

    Entropy-regularised transport in the log domain (Cuturi, NeurIPS 2013; the dustbin as in
    SuperGlue, CVPR 2020). Every feature carries mass 1, every cluster receives 1, the dustbin the
    other N - K; so N > K, else ConfigError.
    """
    batch, clusters, features = scores.shape
    if features <= clusters:
        raise ConfigError(
            f"SALAD has {clusters} clusters for {features} patches; give fewer clusters or a "
            "larger image."
        )
    logits = torch.cat([scores, dustbin.expand(batch, 1, features)], dim=1)  # (B, K + 1, N)
    log_cluster_mass = logits.new_zeros(clusters + 1, 1)
    log_cluster_mass[-1] = math.log(features - clusters)
    by_cluster = torch.zeros_like(logits[:, :, :1])
    by_feature = torch.zeros_like(logits[:, :1])
    for _ in range(rounds):
        by_cluster = log_cluster_mass - (logits + by_feature).logsumexp(dim=2, keepdim=True)
        by_feature = -(logits + by_cluster).logsumexp(dim=1, keepdim=True)
    return (logits + by_cluster + by_feature).exp()[:, :-1]


class SALAD(nn.Module):
    """Sinkhorn algorithm for locally aggregated descriptors (Izquierdo and Civera, CVPR 2024).

    64 clusters of 128 values and a global token of 256: 8448 values, 1.411 M parameters on 768
    channels. Dropout as released (0.3 on the scores' and features' hidden layers).
    """

    def __init__(
        self, dim: int, clusters: int = 64, cluster_dim: int = 128, token_dim: int = 256
    ) -> None:
        super().__init__()
        hidden = 512
        self.global_token = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, token_dim)
        )
        self.features = nn.Sequential(
            nn.Conv2d(dim, hidden, 1),
            nn.Dropout(0.3),
            nn.ReLU(),
            nn.Conv2d(hidden, cluster_dim, 1),
        )
        self.scores = nn.Sequential(
            nn.Conv2d(dim, hidden, 1), nn.Dropout(0.3), nn.ReLU(), nn.Conv2d(hidden, clusters, 1)
        )
        self.dustbin = nn.Parameter(torch.tensor(1.0))
        self.descriptor_size = token_dim + clusters * cluster_dim

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, descriptor_size) of unit length."""
        features = self.features(tokens.map).flatten(2)  # (B, D, N)
        share = transport(self.scores(tokens.map).flatten(2), self.dustbin)  # (B, K, N)
        clusters = features @ share.transpose(1, 2)  # (B, D, K)
        local = F.normalize(clusters, dim=1).flatten(1)
        token = F.normalize(self.global_token(tokens.class_token), dim=1)
        return F.normalize(torch.cat([token, local], dim=1), dim=1)
