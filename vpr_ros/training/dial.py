# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""At which sparsity each batch is trained."""

from __future__ import annotations

import dataclasses

import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError

STREAM = 2  # of random numbers; the sampler has 0 and 1


@dataclasses.dataclass(frozen=True)
class DialConfig(Config):
    """s ~ U(low, start + (high - start) * progress), once for each batch.

    TAT-VPR (arXiv 2505.16447) distils with U(0.1, 0.1 + 0.5 * epoch / epochs), which is low 0.1,
    start 0.1, high 0.6, and fine-tunes with U(0.1, 0.6), which is low 0.1, start 0.6, high 0.6.
    Progress is the epoch in fractions over all epochs, so that the ramp really ends at `high`.
    """

    low: float = param(0.0, "least sparsity", minimum=0.0, maximum=0.9)
    start: float = param(0.0, "greatest sparsity at first", minimum=0.0, maximum=0.9)
    high: float = param(0.0, "greatest sparsity at the end", minimum=0.0, maximum=0.9)
    dense_share: float = param(0.0, "share of the batches at 0", minimum=0.0, maximum=1.0)
    dense_views: int = param(
        0, "views of each place that pass at 0, as a map's do (end_to_end)", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"Sparsity has low {self.low:g}, start {self.start:g}, high {self.high:g}; give "
                "low <= start <= high."
            )

    def sparsity(self, progress: float, seed: int, step: int) -> float:
        """The sparsity of batch number `step`; `progress` in [0, 1)."""
        random = np.random.default_rng([seed, STREAM, step])
        dense, drawn = random.random(2)
        if dense < self.dense_share:
            return 0.0
        upper = self.start + (self.high - self.start) * progress
        return self.low + (upper - self.low) * float(drawn)
