# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A sparsity dial for a dense network: it sees fewer pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# Between multiples of the convolutions' strides, the last row and column of every map are mostly
# padding: they cost time and add noise to the descriptor.
SIDE_MULTIPLE = 16  # px


class ResolutionDial(nn.Module):
    """Shrinks the image to a share 1 - s of its pixels, then runs a dense network.

    The work of a convolutional network is proportional to its pixels, so about 1 - s of the
    multiplications remain, on any runtime, without special operators. Both sides are scaled by
    sqrt(1 - s) and rounded to whole multiples of `SIDE_MULTIPLE`; the filter is linear and
    antialiased. At s = 0 an image whose sides are such multiples passes unchanged: exactly the
    dense network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, sparsity: Tensor) -> Tensor:
        """Descriptors of (B, 3, H, W) images at a scalar float32 `sparsity` in [0, 1)."""
        scale = (1.0 - sparsity).sqrt()
        height, width = (
            int((side / SIDE_MULTIPLE * scale).round()) * SIDE_MULTIPLE for side in image.shape[2:]
        )
        if (height, width) != tuple(image.shape[2:]):
            image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
        return self.network(image)
