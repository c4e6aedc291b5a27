# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights fitted to the outputs that a layer should have, instead of rounded."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from vpr_ros.networks.sparse_ternary_linear import DELTA_OFFSET, SparseTernaryLinear

SWEEPS = 8  # over all inputs; later ones change less than 1 % of the codes
BLOCK = 64  # inputs whose corrections are carried over together
SPREAD = torch.linspace(0.8, 2.0, 25)  # of delta over mean |W|, tried for every output
# Latent weights relative to delta: how far zeros stay from becoming ones, and ones from zeros.
ZERO_BELOW, ONE_ABOVE = 0.35, 0.65


@dataclasses.dataclass
class Moments:
    """Second moments of a layer's inputs (T, K) and wanted outputs (T, N), summed batch by batch.

    In float64, since the weights come from small differences of these sums.
    """

    inputs: int
    outputs: int

    def __post_init__(self) -> None:
        self.count = 0
        self.sum_x = torch.zeros(self.inputs, dtype=torch.float64)
        self.sum_y = torch.zeros(self.outputs, dtype=torch.float64)
        self.xx = torch.zeros(self.inputs, self.inputs, dtype=torch.float64)
        self.xy = torch.zeros(self.inputs, self.outputs, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Inputs (..., K) and outputs (..., N)."""
        x, y = x.flatten(0, -2), y.flatten(0, -2)
        self.count += len(x)
        self.sum_x += x.sum(dim=0)
        self.sum_y += y.sum(dim=0)
        self.xx += (x.T @ x).double()
        self.xy += (x.T @ y).double()

    def centred(self) -> tuple[Tensor, Tensor]:
        """Covariances (K, K) and (K, N)."""
        mean_x, mean_y = self.sum_x / self.count, self.sum_y / self.count
        xx = self.xx / self.count - mean_x[:, None] * mean_x
        xy = self.xy / self.count - mean_x[:, None] * mean_y
        return xx, xy

    def bias(self, weight: Tensor) -> Tensor:
        """The bias (N,) that makes the means of the outputs right."""
        return ((self.sum_y - weight.double() @ self.sum_x) / self.count).float()


def solve(moments: Moments, weight: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Float weights (N, K) with the least squared error, and the inputs' covariance (K, K).

    Pulled towards `weight` (N, K) by `damping` times the mean variance of the inputs.
    """
    xx, xy = moments.centred()
    xx = xx + damping * xx.diagonal().mean() * torch.eye(len(xx), dtype=xx.dtype)
    ridge = damping * xx.diagonal().mean()
    left = xx + ridge * torch.eye(len(xx), dtype=xx.dtype)
    found = torch.linalg.solve(left, xy + ridge * weight.double().T).T
    return found.float(), xx.float()


def fit_ternary(weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, K) and deltas (N, 1) with the smallest output error for inputs of `covariance`.

    Minimises (c delta - w)^T H (c delta - w) for every output's weights w, H the covariance
    (K, K): coordinate descent over the codes (as QuantEase, arXiv 2309.01885), delta by least
    squares between sweeps. Starts from rounding.
    """
    codes, delta = round_best(weight, covariance.diagonal())
    target = weight @ covariance  # (N, K)
    for _ in range(SWEEPS):
        codes = sweep(codes, delta, target, covariance)
        product = codes @ covariance
        length = (product * codes).sum(dim=1, keepdim=True).clamp(min=1e-20)
        delta = ((target * codes).sum(dim=1, keepdim=True) / length).clamp(min=DELTA_OFFSET)
    return codes, delta


def round_best(weight: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and deltas with the smallest weighted rounding error; `importance` (K,)."""
    mean = weight.abs().mean(dim=1, keepdim=True).clamp(min=DELTA_OFFSET)
    best = weight.new_full((len(weight), 1), torch.inf)
    delta = mean.clone()
    for factor in SPREAD.tolist():
        trial = factor * mean
        codes = (weight / trial).round().clamp(-1, 1)
        error = ((codes * trial - weight).square() * importance).sum(dim=1, keepdim=True)
        delta = torch.where(error < best, trial, delta)
        best = torch.minimum(error, best)
    return (weight / delta).round().clamp(-1, 1), delta


def sweep(codes: Tensor, delta: Tensor, target: Tensor, covariance: Tensor) -> Tensor:
    """Set every input's code in turn to its best value, for all outputs at once."""
    codes = codes.clone()
    slope = codes @ covariance * delta - target  # half the error's gradient in w, (N, K)
    curvature = covariance.diagonal()
    for start in range(0, codes.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        local, own = slope[:, part].clone(), covariance[part, part]
        before = codes[:, part].clone()
        for i in range(own.shape[0]):
            column = start + i
            wanted = codes[:, column] - local[:, i] / (curvature[column] * delta[:, 0])
            step = wanted.round().clamp(-1, 1) - codes[:, column]
            codes[:, column] += step
            local += (step * delta[:, 0])[:, None] * own[i]
        slope += (codes[:, part] - before) * delta @ covariance[part]
    return codes


def latent(codes: Tensor, delta: Tensor, weight: Tensor) -> Tensor:
    """Weights (N, K) for which the absmean rule per output gives these codes and deltas.

    A code that was a close decision lies near its threshold, so that training changes it first.
    """
    delta = delta - DELTA_OFFSET
    size = weight.abs()
    zeros = torch.minimum(size, ZERO_BELOW * delta) * weight.sign()
    ones = codes.abs()
    missing = delta * codes.shape[1] - (zeros.abs() * (1 - ones)).sum(dim=1, keepdim=True)
    missing = missing - ONE_ABOVE * delta * ones.sum(dim=1, keepdim=True)
    excess = (size - ONE_ABOVE * delta).clamp(min=0) * ones + 1e-3 * delta * ones
    above = ONE_ABOVE * delta + excess * missing / excess.sum(dim=1, keepdim=True).clamp(min=1e-20)
    return torch.where(codes == 0, zeros, codes * above)


@torch.no_grad()
def fit_layer(
    layer: SparseTernaryLinear, moments: Moments, weight: Tensor, damping: float
) -> None:
    """Give `layer` the ternary weights and the bias that best compute `moments`' outputs."""
    wanted, covariance = solve(moments, weight, damping)
    codes, delta = fit_ternary(wanted, covariance)
    layer.weight.copy_(latent(codes, delta, wanted))
    if layer.bias is not None:
        signs, scale = layer.ternary()
        layer.bias.copy_(moments.bias(signs * scale))


def channel_rank(moments: Moments, weight: Tensor) -> Tensor:
    """Rank of every channel (K,) of a nested layer: 0 for the one that is dropped last.

    For weights (N, K) and the moments of their inputs. Ranks are given from the last to the first,
    each to the channel whose loss, together with those lost before, changes the outputs least
    (mean square): greedy, as in Optimal Brain Surgeon (Hassibi, Stork 1993), but the remaining
    weights stay as they are, since one matrix serves all sparsities.
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
