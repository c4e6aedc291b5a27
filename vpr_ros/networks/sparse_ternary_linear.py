# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The linear layer of TAT-VPR: ternary weights, int8 and structured-sparse activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.networks.activations import int8_codes
from vpr_ros.networks.straight_through import straight_through
from vpr_ros.networks.structured_topk import channel_mask, first_channels
from vpr_ros.networks.ternary import ternary_codes
from vpr_ros.networks.tiles import Tiles


class SparseTernaryLinear(nn.Linear):
    """y = W_t (mask * x) + b with full-precision weights behind it for training.

    Order: activations become int8 codes (if `int8`), the mask is chosen from the codes, masked
    codes meet the ternary weights. Choosing from codes, whole numbers, lets the exported graph
    and the compiled operator choose the same channels. All three steps pass gradients straight
    through. At sparsity 0 the layer is dense.

    `nested`: the layer has one order of its channels, `rank`, and keeps the first ones of it,
    whatever the image (nested dropout, arXiv 1402.0915, slimmable networks, arXiv 1812.08928).
    What it drops is dropped before rounding, so that it need not be computed.
    """

    rank: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        int8: bool = True,
        per_output: bool = False,
        nested: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.int8 = int8
        self.per_output = per_output
        # Place of every channel in the order in which they are kept, (inputs,), or none.
        self.register_buffer("rank", torch.arange(inputs) if nested else None)

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Codes (outputs, inputs) and delta, a scalar or (outputs, 1)."""
        return ternary_codes(self.weight, self.per_output)

    def forward(self, x: Tensor, sparsity: float | Tensor, tiles: Tiles) -> Tensor:
        """(B, N, inputs) to (B, N, outputs) at `sparsity` in [0, 1)."""
        x = straight_through(self.rounded(x.detach(), sparsity, tiles), x)
        with torch.no_grad():
            signs, delta = self.ternary()
        return F.linear(x, straight_through(signs * delta, self.weight), self.bias)

    def rounded(self, x: Tensor, sparsity: float | Tensor, tiles: Tiles) -> Tensor:
        """What is multiplied instead of x (B, N, inputs): its codes, masked, at its scale."""
        sparse = isinstance(sparsity, Tensor) or sparsity > 0
        if self.rank is not None:
            x = torch.where(first_channels(self.rank, sparsity), x, 0.0) if sparse else x
            sparse = False
        codes, scale = int8_codes(x) if self.int8 else (x, 1.0)
        if sparse:
            codes = codes * channel_mask(codes, sparsity, tiles)
        return codes * scale
