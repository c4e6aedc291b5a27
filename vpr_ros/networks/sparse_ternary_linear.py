# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The linear layer of TAT-VPR: ternary weights, int8 activations, and a choice of its channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DELTA_OFFSET = 1e-5  # TAT-VPR; keeps a matrix of zeros from dividing by zero
LEVELS = 127  # of int8, on either side of zero
SMALLEST_PEAK = 1e-8  # keeps a token of zeros from dividing by zero
ROUNDING_GUARD = 1e-3  # float32 noise of (1 - s) K at K < 8192, so that s = 0.7 keeps 3 of 10


class SparseTernaryLinear(nn.Linear):
    """y = W_t (mask * x) + b, where W_t is rounded from the full-precision weights that train.

    At sparsity s a layer multiplies ceil((1 - s) K) of its K input channels; at s = 0 it is
    dense. There are two rules for which channels these are:

    - One choice per token, the paper's (TAT-VPR, arXiv 2505.16447): those of largest magnitude.
      They are chosen among the int8 codes, whole numbers, so that the exported graph makes the
      same choice.
    - `nested`: the layer has one order of its channels, `rank`, and keeps the first of them
      whatever the image (nested dropout, arXiv 1402.0915; slimmable networks, arXiv 1812.08928).
      The others are dropped before rounding and need not be computed at all, which is what
      saves time on a CPU.

    Rounding and masking pass gradients straight through.
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
        # The place of every channel in the order in which they are kept, (inputs,).
        self.register_buffer("rank", torch.arange(inputs) if nested else None)

    def ternary(self) -> tuple[Tensor, Tensor]:
        """Codes (outputs, inputs) and delta, a scalar or (outputs, 1)."""
        return ternary_codes(self.weight, self.per_output)

    def forward(self, x: Tensor, sparsity: float | Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, inputs) to (B, N, outputs) at `sparsity` in [0, 1)."""
        x = straight_through(self.rounded(x.detach(), sparsity), x)
        with torch.no_grad():
            codes, delta = self.ternary()
        return F.linear(x, straight_through(codes * delta, self.weight), self.bias)

    def rounded(self, x: Tensor, sparsity: float | Tensor) -> Tensor:
        """The codes of x (B, N, inputs), masked, times their scale: what the weights multiply."""
        sparse = isinstance(sparsity, Tensor) or sparsity > 0
        if sparse and self.rank is not None:
            x = torch.where(first_channels(self.rank, sparsity), x, 0.0)
        codes, scale = int8_codes(x) if self.int8 else (x, 1.0)
        if sparse and self.rank is None:
            codes = torch.where(largest_channels(codes, sparsity), codes, 0.0)
        return codes * scale


def ternary_codes(weight: Tensor, per_output: bool = False) -> tuple[Tensor, Tensor]:
    """A weight matrix (N, K) as codes in {-1, 0, 1}, of its shape and dtype, and their step delta.

    delta = 1e-5 + mean |W|, code = clamp(round(W / delta), -1, 1): the absmean rule of BitNet
    b1.58 (arXiv 2402.17764, equations 1 to 3) as TAT-VPR uses it, one scalar for the matrix.
    With `per_output` every output has its own, (N, 1), as in ternary weight networks
    (arXiv 1605.04711).
    """
    magnitude = weight.abs()
    mean = magnitude.mean(dim=1, keepdim=True) if per_output else magnitude.mean()
    delta = DELTA_OFFSET + mean
    return (weight / delta).round().clamp(-1, 1), delta


def int8_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations (..., K) as whole numbers in [-127, 127] (float dtype) and scales (..., 1).

    codes = round(x * 127 / max |x|), halves to even; x is about codes * scale. Symmetric and per
    token, as in BitNet b1.58 (arXiv 2402.17764, section 2).
    """
    x = x.float()  # also under mixed precision, so that the codes are those of the robot
    peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST_PEAK)
    levels = peak.new_tensor(LEVELS)  # a tensor: a number would become 1 / peak, rounded twice
    return (x * (levels / peak)).round(), peak / levels


def kept_channels(sparsity: float | Tensor, channels: int) -> int:
    """How many of `channels` are kept: ceil((1 - s) K), at least 1.

    Computed in float32, as the exported graph and the compiled operator do.
    """
    share = 1.0 - torch.tensor(float(sparsity))
    return max(1, int((share * channels - ROUNDING_GUARD).ceil()))


def first_channels(rank: Tensor, sparsity: float | Tensor) -> Tensor:
    """Which channels (K,) a nested layer keeps, as bool."""
    return rank < kept_channels(sparsity, len(rank))


def largest_channels(x: Tensor, sparsity: float | Tensor) -> Tensor:
    """Which channels of every token (..., K) are of largest magnitude, as bool.

    Of equal ones the lower index wins, as in ONNX's TopK.
    """
    count = kept_channels(sparsity, x.shape[-1])
    size = x.abs()
    smallest_kept = size.topk(count, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
    above, tied = size > smallest_kept, size == smallest_kept
    places_left = count - above.sum(dim=-1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=-1) <= places_left))


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        ctx.dtype = source.dtype
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient.to(ctx.dtype)


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """`value`, bit for bit, with a gradient that flows to `source` as if it were that.

    The straight-through estimator (Bengio, Leonard, Courville, arXiv 1308.3432). The usual
    `source + (value - source).detach()` rounds, and passes over memory three times.
    """
    return _StraightThrough.apply(value.detach(), source)  # type: ignore[no-untyped-call]
