# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ternary student fitted to its teacher in closed form, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import (
    TernaryAttention,
    TernaryBlock,
    TernaryVit,
)
from vpr_ros.networks.vit import Block, Vit, resize_positions
from vpr_ros.training.ternary_fit import Moments, channel_rank, fit_layer, solve

CHUNK = 32  # images at once
DAMPING = 0.01
SPARSITIES = (0.0, 0.2, 0.4, 0.6)  # that chunks of images take in turn


@dataclasses.dataclass
class Pairs:
    """A student's and its teacher's values (B, N, ...) for the same images, chunk by chunk."""

    student: list[Tensor]
    teacher: list[Tensor]


class LayerFit:
    """Runs and fits layers chunk by chunk, each chunk at one sparsity."""

    def __init__(self, chunks: int, sparsities: Sequence[float]) -> None:
        """Chunks take the sparsities in turn; ConfigError if one of them would get none."""
        if chunks < len(sparsities):
            raise ConfigError(
                f"A start at {len(sparsities)} sparsities needs as many chunks of {CHUNK} images, "
                f"but there are {chunks}. Give 'start_batches' at least {len(sparsities)}."
            )
        self._sparsity = [sparsities[i % len(sparsities)] for i in range(chunks)]

    def run(self, layer: nn.Linear, inputs: list[Tensor]) -> list[Tensor]:
        """The outputs of a ternary or plain layer for the inputs of every chunk."""
        if not isinstance(layer, SparseTernaryLinear):
            return [layer(x) for x in inputs]
        return [layer(x, s) for x, s in zip(inputs, self._sparsity, strict=True)]

    def fit(self, layer: nn.Linear, pairs: Pairs, weight: Tensor) -> None:
        """Fit a ternary or plain layer to inputs (B, N, K) and outputs (B, N, O), near `weight`.

        A nested layer first gets its order, from the weights that it would have at sparsity 0.
        """
        moments = Moments(layer.in_features, layer.out_features)
        if isinstance(layer, SparseTernaryLinear) and layer.rank is not None:
            dense = Moments(layer.in_features, layer.out_features)
            for x, y in zip(pairs.student, pairs.teacher, strict=True):
                dense.add(x, y)
            layer.rank.copy_(channel_rank(dense, solve(dense, weight, DAMPING)[0]))
        for x, y, sparsity in zip(pairs.student, pairs.teacher, self._sparsity, strict=True):
            if isinstance(layer, SparseTernaryLinear):
                x = layer.rounded(x, sparsity)
            moments.add(x, y)
        if isinstance(layer, SparseTernaryLinear):
            fit_layer(layer, moments, weight, DAMPING)
            return
        found, _ = solve(moments, weight, DAMPING)
        layer.weight.copy_(found)
        layer.bias.copy_(moments.bias(found))


@torch.no_grad()
def fit_student(
    student: TernaryVit,
    teacher: Vit,
    images: Tensor,
    sparsities: Sequence[float] = SPARSITIES,
    say: Callable[[str], None] = print,
) -> None:
    """Fit `student` to the first blocks of `teacher` on images (B, 3, H, W).

    Chunks of images run at the sparsities in turn. Every layer gets the outputs of the student's
    layers before it, rounded and masked, and is fitted to the outputs of the teacher's layer; the
    last layer of a residual branch also makes up for what the stream lacks so far. The last norm
    keeps gains of 1: the teacher's belong to its last block, which the student may not have.
    ConfigError if the two differ in size.
    """
    own, theirs = student.config, teacher.config
    if not own.as_dinov2:
        raise ConfigError(
            "A student of layout 'reference' cannot be fitted; give layout 'dinov2'."
        )
    for name in ("dim", "heads", "mlp_ratio", "patch_size"):
        if getattr(own, name) != getattr(theirs, name):
            raise ConfigError(
                f"A student of {name} {getattr(own, name)} cannot be fitted to a teacher of "
                f"{name} {getattr(theirs, name)}."
            )
    student.eval()
    copy_embedding(student, teacher)
    parts = images.split(CHUNK)
    layers = LayerFit(len(parts), sparsities)
    embedded = [teacher.embed(part)[0] for part in parts]
    stream = Pairs(embedded, embedded)
    for number, (block, model) in enumerate(zip(student.blocks, teacher.blocks, strict=False)):
        stream = fit_block(block, model, stream, layers)
        say(f"block {number + 1}: cosine to the teacher's patches {agreement(stream):.3f}")


def copy_embedding(student: TernaryVit, teacher: Vit) -> None:
    """Patch embedding, class token and positions."""
    student.patch_embed.project.weight.copy_(teacher.patch_embed.weight.flatten(1))
    student.patch_embed.project.bias.copy_(teacher.patch_embed.bias)
    student.class_token.copy_(teacher.class_token)
    student.positions.copy_(resize_positions(teacher.positions, student.config.grid))


def fit_block(block: TernaryBlock, model: Block, stream: Pairs, layers: LayerFit) -> Pairs:
    """Fit the layers of `block` to those of `model`; returns the stream after the block."""
    block.norm1.load_state_dict(model.norm1.state_dict())
    block.norm2.load_state_dict(model.norm2.state_dict())
    return fit_mlp(block, model, fit_attention(block, model, stream, layers), layers)


def fit_attention(block: TernaryBlock, model: Block, stream: Pairs, layers: LayerFit) -> Pairs:
    """Fit the attention half of a block; returns the stream after it."""
    own, theirs = block.attention, model.attention
    fed = Pairs(
        centred(block.norm1, stream.student, own.qkv),
        [theirs.qkv(model.norm1(x)) for x in stream.teacher],
    )
    layers.fit(own.qkv, fed, theirs.qkv.weight)
    mixed = Pairs(
        mix(own, layers.run(own.qkv, fed.student)),
        [theirs.product(*y.split(own.dim, dim=-1)) for y in fed.teacher],
    )
    branch = [model.scale1(theirs.out(y)) for y in mixed.teacher]
    weight = model.scale1.gain[:, None] * theirs.out.weight
    return fit_end(own.out, stream, mixed.student, branch, weight, layers)


def fit_mlp(block: TernaryBlock, model: Block, stream: Pairs, layers: LayerFit) -> Pairs:
    """Fit the MLP half of a block; returns the stream after it."""
    own, theirs = block.mlp, model.mlp
    fed = Pairs(
        centred(block.norm2, stream.student, own.widen),
        [theirs.widen(model.norm2(x)) for x in stream.teacher],
    )
    layers.fit(own.widen, fed, theirs.widen.weight)
    hidden = [F.gelu(x) for x in layers.run(own.widen, fed.student)]
    branch = [model.scale2(theirs.narrow(F.gelu(y))) for y in fed.teacher]
    weight = model.scale2.gain[:, None] * theirs.narrow.weight
    return fit_end(own.narrow, stream, hidden, branch, weight, layers)


def centred(norm: nn.LayerNorm, inputs: list[Tensor], reader: nn.Linear) -> list[Tensor]:
    """A norm's outputs; for a nested `reader`, its offsets first remove the channels' means.

    Dropping a channel would also drop its mean, so it is centred first. The reader is fitted to
    these outputs, so its bias takes over the share of the means.
    """
    outputs = [norm(x) for x in inputs]
    if not is_nested(reader):
        return outputs
    mean = mean_token(outputs)
    norm.bias.sub_(mean)
    return [x - mean for x in outputs]


def mix(attention: TernaryAttention, qkv: list[Tensor]) -> list[Tensor]:
    """Attention's mixtures of queries, keys and values, centred as in `centred`.

    Its weights sum to 1, so subtracting from the values subtracts the same from every mixture.
    """
    mixed = [attention.product(*x.chunk(3, dim=-1)) for x in qkv]
    if not is_nested(attention.out):
        return mixed
    mean = mean_token(mixed)
    assert attention.qkv.bias is not None  # of layout dinov2
    attention.qkv.bias[-len(mean) :].sub_(mean)
    return [x - mean for x in mixed]


def is_nested(layer: nn.Linear) -> bool:
    """Whether the layer keeps its channels in one order."""
    return isinstance(layer, SparseTernaryLinear) and layer.rank is not None


def mean_token(values: list[Tensor]) -> Tensor:
    """Mean (C,) of tokens (B, N, C)."""
    return torch.cat([x.flatten(0, 1) for x in values]).mean(dim=0)


def fit_end(
    layer: nn.Linear,
    stream: Pairs,
    inputs: list[Tensor],
    branch: list[Tensor],
    weight: Tensor,
    layers: LayerFit,
) -> Pairs:
    """Fit the layer that ends a residual branch; returns the stream after it."""
    after = [x + y for x, y in zip(stream.teacher, branch, strict=True)]
    lacking = [y - x for x, y in zip(stream.student, after, strict=True)]
    layers.fit(layer, Pairs(inputs, lacking), weight)
    ends = layers.run(layer, inputs)
    return Pairs([x + y for x, y in zip(stream.student, ends, strict=True)], after)


def agreement(stream: Pairs) -> float:
    """Mean cosine of the patches, centred by the teacher's mean."""
    mean = torch.cat([y[:, 1:].flatten(0, 1) for y in stream.teacher]).mean(dim=0)
    found = [
        F.cosine_similarity(x[:, 1:] - mean, y[:, 1:] - mean, dim=2).mean()
        for x, y in zip(stream.student, stream.teacher, strict=True)
    ]
    return float(torch.stack(found).mean())
