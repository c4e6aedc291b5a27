# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The heads, which turn tokens into one descriptor, by name."""

from __future__ import annotations

from collections.abc import Callable

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.boq import BoQ
from vpr_ros.networks.heads.mixvpr import MixVPR
from vpr_ros.networks.heads.pooling import ClassHead, GeMHead, QueryPool
from vpr_ros.networks.heads.salad import SALAD

Head = BoQ | SALAD | MixVPR | ClassHead | QueryPool | GeMHead

# Name -> head for `dim` channels and `positions` patches.
HEADS: dict[str, Callable[[int, int], Head]] = {
    "boq": lambda dim, positions: BoQ(dim),
    "salad": lambda dim, positions: SALAD(dim),
    "mixvpr": MixVPR,
    "cls": lambda dim, positions: ClassHead(dim),
    "queries": lambda dim, positions: QueryPool(dim),
    "queries-whitened": lambda dim, positions: QueryPool(dim, whitened=256),
    "queries-768": lambda dim, positions: QueryPool(dim, size=768),
    "gem": lambda dim, positions: GeMHead(dim),
}


def build_head(name: str, dim: int, positions: int) -> Head:
    """The head `name` for `dim` channels and `positions` patches; it has `descriptor_size`."""
    if name not in HEADS:
        raise ConfigError(f"Head is '{name}'; give one of {', '.join(HEADS)}.")
    return HEADS[name](dim, positions)
