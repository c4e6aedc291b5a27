# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a transformer backbone hands to a head."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The final-normed tokens of a batch of B images, C values each."""

    class_token: Tensor  # (B, C)
    patches: Tensor  # (B, H * W, C), row by row
    grid: tuple[int, int]  # (H, W), patches
    prompts: Tensor | None = None  # (B, P, C), None where the backbone has no prompts

    @property
    def map(self) -> Tensor:
        """The patches as an image, (B, C, H, W)."""
        return self.patches.transpose(1, 2).unflatten(2, self.grid)
