# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MixVPR: perceptrons across positions, then across channels and rows."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.vit import Tokens


class Mixer(nn.Module):
    """A residual perceptron over all positions of one channel (MixVPR, equation 1)."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(positions)
        self.first = nn.Linear(positions, positions)
        self.second = nn.Linear(positions, positions)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) to (B, C, N)."""
        return x + self.second(F.relu(self.first(self.norm(x))))


class MixVPR(nn.Module):
    """MixVPR (Ali-bey et al., WACV 2023) with the settings of the TAT-VPR reference.

    Depth 1, ratio 1, 512 channels x 4 rows: 2048 values, 0.472 M parameters on 768 channels and
    14 x 14 patches. The grid is part of the weights, so the image size is fixed.
    """

    def __init__(
        self, dim: int, positions: int, channels: int = 512, rows: int = 4, depth: int = 1
    ) -> None:
        super().__init__()
        self.positions = positions
        self.mixers = nn.Sequential(*(Mixer(positions) for _ in range(depth)))
        self.mix_channels = nn.Linear(dim, channels)
        self.mix_rows = nn.Linear(positions, rows)
        self.descriptor_size = channels * rows

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, descriptor_size) of unit length."""
        if tokens.patches.shape[1] != self.positions:
            raise ConfigError(
                f"MixVPR was built for {self.positions} patches and got "
                f"{tokens.patches.shape[1]}; give images of the size it was built for."
            )
        x = self.mixers(tokens.patches.transpose(1, 2))  # (B, C, N)
        x = self.mix_channels(x.transpose(1, 2)).transpose(1, 2)  # (B, channels, N)
        return F.normalize(self.mix_rows(x).flatten(1), dim=1)
