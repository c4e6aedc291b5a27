# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""In which order a nested layer keeps its channels."""

from __future__ import annotations

import torch
from torch import Tensor

from vpr_ros.training.ternary_fit import Moments


def channel_rank(moments: Moments, weight: Tensor) -> Tensor:
    """Place of every channel (K,): 0 for the one that is dropped last.

    For weights (N, K) and the moments of what they multiply. From the last place on, the channel
    whose loss, together with those lost before, changes the outputs least (mean square): greedy,
    as in Optimal Brain Surgeon (Hassibi, Stork 1993), but the weights that are left stay as they
    are, since one matrix serves all sparsities.
    """
    weight = weight.double()
    change = (weight.T @ weight) * moments.xx / moments.count  # of dropping both i and j, (K, K)
    cost = change.diagonal().clone()
    rank = torch.empty(len(cost), dtype=torch.long)
    for place in range(len(cost) - 1, -1, -1):
        channel = int(cost.argmin())
        rank[channel] = place
        cost += 2 * change[channel]
        cost[channel] = torch.inf
    return rank
