# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learned whitening: after it, views of one place differ equally in every direction."""

from __future__ import annotations

import torch
from torch import Tensor


def learned_whitening(
    values: Tensor, labels: Tensor, shrinkage: float, nuisance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean (C,) and symmetric map (C, C) of values (S, C) with place labels (S,).

    The map is the inverse root of the covariance within places (Mikolajczyk and Matas, ICCV 2007;
    Radenovic et al., TPAMI 2019, section 3.3, without their rotation, which changes no cosine).
    `shrinkage` times the mean variance is added to every direction, since a few hundred places
    leave the small ones unknown. `nuisance` (N, C) is more variation that says nothing of a place.
    """
    variances, directions = variation_within(values, labels, shrinkage, nuisance)
    return values.mean(dim=0), directions * variances.rsqrt() @ directions.T


def variation_within(
    values: Tensor, labels: Tensor, shrinkage: float, nuisance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Variances (C,), ascending, within places, and their directions, the columns of (C, C).

    Of values (S, C) with place labels (S,); shrinkage and nuisance as in `learned_whitening`.
    """
    _, number = torch.unique(labels, return_inverse=True)
    count = torch.bincount(number).to(values.dtype)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, number, values)
    within = values - (sums / count[:, None])[number]
    covariance = within.T @ within / len(within)
    if nuisance is not None:
        covariance = covariance + nuisance.T @ nuisance / len(nuisance)
    covariance += shrinkage * covariance.diagonal().mean() * torch.eye(len(covariance))
    variances, directions = torch.linalg.eigh(covariance)
    return variances, directions
