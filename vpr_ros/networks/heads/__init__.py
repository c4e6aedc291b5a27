# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Heads turn tokens into one descriptor; one table names them all."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.boq import BoQ
from vpr_ros.networks.heads.mixvpr import MixVPR
from vpr_ros.networks.heads.pooled import ClassHead, GeMHead
from vpr_ros.networks.heads.query_pool import QueryPool
from vpr_ros.networks.heads.salad import SALAD

# Name -> head for `dim` channels and `positions` patches.
HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "boq": lambda dim, positions: BoQ(dim),
    "salad": lambda dim, positions: SALAD(dim),
    "mixvpr": MixVPR,
    "cls": lambda dim, positions: ClassHead(dim),
    "queries": lambda dim, positions: QueryPool(dim),
    "queries-whitened": lambda dim, positions: QueryPool(dim, whitened=256),
    "gem": lambda dim, positions: GeMHead(dim),
}


def build_head(name: str, dim: int, positions: int) -> nn.Module:
    """The head `name` for `dim` channels and `positions` patches; it has `descriptor_size`."""
    if name not in HEADS:
        raise ConfigError(f"Head is '{name}'; give one of {', '.join(HEADS)}.")
    return HEADS[name](dim, positions)
