# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A ternary student half as wide and twice as deep as its teacher, fitted in closed form.

Two of its blocks share a teacher's block: each takes half of the heads and half of the MLP's
hidden values, as many as it has. Its residual stream is the teacher's in principal directions
(after SliceGPT, arXiv 2401.15024, which cuts a network so without retraining).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.positions import resize_positions
from vpr_ros.networks.ternary_vit import TernaryBlock, TernaryVit
from vpr_ros.networks.vit import Block, Vit
from vpr_ros.training.student_fit import CHUNK, Dial, Pairs, centred, fit_end, mix

SHARE = 2  # of a teacher's block and width


@torch.no_grad()
def fit_slim(
    student: TernaryVit,
    teacher: Vit,
    images: Tensor,
    sparsities: Sequence[float] = (0.0,),
    say: Callable[[str], None] = print,
) -> Tensor:
    """Fit `student` to `teacher` on images (B, 3, H, W); the basis of its stream (C, C / 2).

    As `student_fit.fit_student`; ConfigError if the student is not half as wide with half of
    the heads and twice as deep.
    """
    own, theirs = student.config, teacher.config
    wanted = (theirs.dim, theirs.heads, theirs.depth, theirs.mlp_ratio, theirs.patch_size)
    if not own.as_dinov2 or wanted != (
        SHARE * own.dim, SHARE * own.heads, own.depth // SHARE, own.mlp_ratio, own.patch_size
    ):  # fmt: skip
        raise ConfigError(
            f"A student of layout '{own.layout}', dim {own.dim}, {own.heads} heads and depth "
            f"{own.depth} is no slim one of a teacher of dim {theirs.dim}, {theirs.heads} heads "
            f"and depth {theirs.depth}; halve dim and heads, double the depth, give 'dinov2'."
        )
    student.eval()
    parts = images.split(CHUNK)
    embedded = [teacher.embed(part)[0] for part in parts]
    basis = stream_basis(teacher, embedded, own.dim)
    set_embedding(student, teacher, basis)
    dial = Dial.of(own, parts, sparsities)
    stream = Pairs([x @ basis for x in embedded], embedded)
    for number, model in enumerate(teacher.blocks):
        blocks = student.blocks[SHARE * number : SHARE * (number + 1)]
        stream = fit_blocks(blocks, model, stream, basis, dial)
        found = nearness(stream, basis)
        say(f"blocks of block {number + 1}: cosine to the teacher's patches {found:.3f}")
    return basis


def stream_basis(teacher: Vit, embedded: list[Tensor], dim: int) -> Tensor:
    """Orthogonal directions (C, dim) that keep most of the stream between the blocks.

    They leave out its mean over channels, as every norm does, and so does the student's: the sum
    of its values is 0.
    """
    moment = embedded[0].new_zeros(teacher.config.dim, teacher.config.dim)
    for x in embedded:
        for block in [None, *teacher.blocks]:
            x = x if block is None else block(x)
            tokens = F.layer_norm(x, x.shape[-1:]).flatten(0, 1)
            moment += tokens.T @ tokens
    _, directions = torch.linalg.eigh(moment)
    kept = directions[:, -(dim - 1) :]  # (C, dim - 1); the mean over channels is the last of all
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(dim, dim, generator=generator)
    start[:, 0] = 1.0
    spread, _ = torch.linalg.qr(start)
    return kept @ spread[:, 1:].T


def set_embedding(student: TernaryVit, teacher: Vit, basis: Tensor) -> None:
    """Patch embedding, class token and positions in the student's coordinates."""
    project = student.patch_embed.project
    project.weight.copy_(basis.T @ teacher.patch_embed.weight.flatten(1))
    project.bias.copy_(basis.T @ teacher.patch_embed.bias)
    student.class_token.copy_(teacher.class_token @ basis)
    student.positions.copy_(resize_positions(teacher.positions, student.config.grid) @ basis)


@dataclasses.dataclass(frozen=True)
class Inside:
    """What a teacher's block computes on the way (B, N, ...), chunk by chunk."""

    qkv: list[Tensor]
    mixed: list[Tensor]
    widened: list[Tensor]
    after: list[Tensor]


def inside(model: Block, inputs: list[Tensor]) -> Inside:
    """Run a teacher's block."""
    found = Inside([], [], [], [])
    for x in inputs:
        qkv = model.attention.qkv(model.norm1(x))
        mixed = model.attention.product(*qkv.chunk(3, dim=-1))
        x = x + model.scale1(model.attention.out(mixed))
        widened = model.mlp.widen(model.norm2(x))
        x = x + model.scale2(model.mlp.narrow(F.gelu(widened)))
        for values, one in zip(
            (found.qkv, found.mixed, found.widened, found.after), (qkv, mixed, widened, x),
            strict=True,
        ):  # fmt: skip
            values.append(one)
    return found


def fit_blocks(
    blocks: Sequence[TernaryBlock], model: Block, stream: Pairs, basis: Tensor, dial: Dial
) -> Pairs:
    """Fit the student's blocks that share a teacher's; the stream after them."""
    within = inside(model, stream.teacher)
    out = model.scale1.gain[:, None] * model.attention.out.weight
    narrow = model.scale2.gain[:, None] * model.mlp.narrow.weight
    bias = model.scale1.gain * model.attention.out.bias + model.scale2.gain * model.mlp.narrow.bias
    hidden = [F.gelu(y) for y in within.widened]
    heads = model.attention.product.heads
    of_head = torch.arange(basis.shape[0]).view(heads, -1)
    loud_heads = loudness(within.mixed, out).view(heads, -1).sum(dim=1).argsort(descending=True)
    units = loudness(hidden, narrow).argsort(descending=True)
    x = stream.student
    target = stream.teacher
    for part, block in enumerate(blocks):
        target = [y + bias / len(blocks) for y in target]
        mine = of_head[loud_heads[part :: len(blocks)].sort().values].flatten()
        three = torch.cat([mine + i * basis.shape[0] for i in range(3)])
        fed = Pairs(
            centred(block.norm1, x, block.attention.qkv), [y[..., three] for y in within.qkv]
        )
        attention = block.attention
        dial.fit(attention.qkv, fed)
        mixed = mix(attention, dial.run(attention.qkv, fed.student))
        branch = [y[..., mine] @ out[:, mine].T for y in within.mixed]
        x, target = _end(attention.out, x, target, mixed, branch, basis, dial)

        own = units[part :: len(blocks)]
        fed = Pairs(
            centred(block.norm2, x, block.mlp.widen), [y[..., own] for y in within.widened]
        )
        dial.fit(block.mlp.widen, fed)
        wide = [F.gelu(z) for z in dial.run(block.mlp.widen, fed.student)]
        branch = [y[..., own] @ narrow[:, own].T for y in hidden]
        x, target = _end(block.mlp.narrow, x, target, wide, branch, basis, dial)
    return Pairs(x, within.after)


def _end(
    layer: torch.nn.Linear, x: list[Tensor], target: list[Tensor], inputs: list[Tensor],
    branch: list[Tensor], basis: Tensor, dial: Dial,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """Fit the layer that ends a branch; the student's stream and the teacher's after it."""
    seen = Pairs(x, [y @ basis for y in target])
    ended = fit_end(layer, seen, inputs, [y @ basis for y in branch], None, dial)
    return ended.student, [y + more for y, more in zip(target, branch, strict=True)]


def loudness(inputs: list[Tensor], weight: Tensor) -> Tensor:
    """How much each input (K,) adds to the outputs of weight (N, K): mean square times norm."""
    square = torch.stack([x.flatten(0, 1).square().mean(dim=0) for x in inputs]).mean(dim=0)
    return square * weight.square().sum(dim=0)


def nearness(stream: Pairs, basis: Tensor) -> float:
    """Mean cosine of the patches in the student's coordinates, centred by the teacher's mean."""
    wanted = [y[:, 1:] @ basis for y in stream.teacher]
    mean = torch.cat([y.flatten(0, 1) for y in wanted]).mean(dim=0)
    found = [
        F.cosine_similarity(x[:, 1:] - mean, y - mean, dim=2).mean()
        for x, y in zip(stream.student, wanted, strict=True)
    ]
    return float(torch.stack(found).mean())
