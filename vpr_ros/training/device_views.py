# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Views of pictures made on the training device, a batch at a time: crops, movement, light, lens.

The steps are those of `augment`, in torch and for a whole batch at once: a GPU would otherwise
wait for OpenCV on the CPU. Pictures are RGB in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FOCAL = 1 / math.tan(math.radians(35.0))  # of half the width: a field of view of 70 degrees
ASPECT = 0.75  # height over width of the views
# JPEG's quantisation of luminance, ITU-T T.81, table K.1
QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


def uniform(like: Tensor, count: int, low: float, high: float) -> Tensor:
    """(count,) numbers in [low, high) on the device of `like`."""
    return torch.rand(count, device=like.device) * (high - low) + low


def happens(like: Tensor, count: int, share: float) -> Tensor:
    """(count,) bool, true for about this share."""
    return torch.rand(count, device=like.device) < share


def column(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def matrices(*rows: Tensor) -> Tensor:
    """Nine (N,) to (N, 3, 3)."""
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def crops(pictures: Tensor, mirrored: Tensor, smallest: float, whole: float = 0.25) -> Tensor:
    """Affine maps (N, 3, 3) from a view's (u, v) in [-1, 1] to its picture's.

    A view shows a part of at least `smallest` of either side, turned by at most 7 degrees; the
    share `whole` shows all of the picture. `mirrored` (N,) says which are mirror images.
    """
    n = len(pictures)
    scale = uniform(pictures, n, smallest, 1.0)
    scale = torch.where(happens(pictures, n, whole), torch.ones_like(scale), scale)
    stretch = torch.exp(uniform(pictures, n, -0.13, 0.13) * (scale < 1))
    across, down = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
    turn = torch.deg2rad(uniform(pictures, n, -7, 7) * (scale < 0.97))
    x = uniform(pictures, n, -1, 1) * (1 - across)
    y = uniform(pictures, n, -1, 1) * (1 - down)
    side = torch.where(mirrored, -1.0, 1.0)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrices(
        side * across * turn.cos(), -across * turn.sin() * ASPECT, x,
        side * down * turn.sin() / ASPECT, down * turn.cos(), y,
        zero, zero, one,
    )  # fmt: skip


def movements(pictures: Tensor, share: float, strength: float) -> Tensor:
    """Homographies (N, 3, 3) in (u, v) of a camera elsewhere, before a slanted plane.

    For `share` of the views; of the others the identity. `augment.homography` has the equation;
    `strength` 1 is up to 0.45 m, 10 degrees of yaw and 12 of roll, before planes at 2.5 to 12 m.
    """
    n = len(pictures)
    zero, one = torch.zeros(n, device=pictures.device), torch.ones(n, device=pictures.device)
    yaw, pitch, roll, slant = (
        torch.deg2rad(strength * uniform(pictures, n, -limit, limit)) for limit in (10, 4, 12, 25)
    )
    turn = (
        matrices(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
        @ matrices(
            one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos()
        )
        @ matrices(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    )
    shift = strength * torch.stack(
        [uniform(pictures, n, -limit, limit) for limit in (0.45, 0.1, 0.45)], dim=1
    )
    distance = torch.exp(uniform(pictures, n, math.log(2.5), math.log(12.0)))
    normal = torch.stack([slant.sin(), zero, slant.cos()], dim=1)
    plane = turn - (turn @ shift[:, :, None]) @ normal[:, None] / distance[:, None, None]
    zoom = uniform(pictures, n, 0.9, 1.2)
    camera = torch.diag_embed(torch.stack([FOCAL * one, FOCAL / ASPECT * one, one], dim=1))
    scaled = torch.diag_embed(torch.stack([1 / zoom, 1 / zoom, one], dim=1))
    found = scaled @ camera @ plane @ torch.linalg.inv(camera)
    identity = torch.eye(3, device=pictures.device)
    moved = happens(pictures, n, share)[:, None, None]
    return torch.where(moved, found / found[:, 2:, 2:], identity)


def view(pictures: Tensor, maps: Tensor, size: tuple[int, int], fine: int = 2) -> Tensor:
    """Pictures (N, 3, H, W) seen through `maps` (N, 3, 3): (N, 3, *size).

    Sampled `fine` times finer and averaged, so that nothing aliases; mirrored beyond the border.
    """
    height, width = (fine * side for side in size)
    v, u = (
        (torch.arange(count, device=pictures.device) + 0.5) / count * 2 - 1
        for count in (height, width)
    )
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    points = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).view(1, -1, 3)
    points = points @ maps.transpose(1, 2)
    grid = (points[..., :2] / points[..., 2:].clamp(min=0.2)).view(-1, height, width, 2)
    found = F.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return F.avg_pool2d(found, fine) if fine > 1 else found


def boxes(pictures: Tensor, low: float, high: float) -> Tensor:
    """(N, 1, H, W) bool, true in one rectangle each, of an area in [low, high] of the picture."""
    n, _, height, width = pictures.shape
    area, aspect = uniform(pictures, n, low, high), torch.exp(uniform(pictures, n, -0.8, 0.8))
    tall, wide = (area * aspect).sqrt(), (area / aspect).sqrt()
    y = torch.rand_like(tall) * (1 - tall).clamp(min=0)
    x = torch.rand_like(wide) * (1 - wide).clamp(min=0)
    rows = ((torch.arange(height, device=area.device) + 0.5) / height).view(1, 1, -1, 1)
    columns = ((torch.arange(width, device=area.device) + 0.5) / width).view(1, 1, 1, -1)
    inside = (rows >= column(y)) & (rows < column(y + tall))
    return inside & (columns >= column(x)) & (columns < column(x + wide))


def mixed(pictures: Tensor, share: float) -> Tensor:
    """Pictures (N, 3, H, W), `share` of them with a part of another: in a box, or all over it.

    New pictures from old ones (Beyer et al., Knowledge distillation: a good teacher is patient and
    consistent, CVPR 2022), which a teacher describes like any other.
    """
    n = len(pictures)
    blend = column(happens(pictures, n, 0.33))
    weight = torch.where(
        blend, column(uniform(pictures, n, 0.2, 0.45)), boxes(pictures, 0.15, 0.5).float()
    )
    weight = weight * column(happens(pictures, n, share))
    other = pictures[torch.randperm(n, device=pictures.device)]
    return pictures + weight * (other - pictures)


def changed(pictures: Tensor) -> Tensor:
    """Another visit's light, lens, sensor and file: (N, 3, H, W) to the same."""
    return _sensor(_lens(_light(_weather(pictures)))).clamp(0, 1).mul(255).round() / 255


def _weather(x: Tensor) -> Tensor:
    """Rectangles in front and fog."""
    n, _, height, _ = x.shape
    for _ in range(2):
        colour = torch.rand(n, 3, 1, 1, device=x.device)
        x = torch.where(boxes(x, 0.01, 0.12) & column(happens(x, n, 0.15)), colour, x)
    rows = torch.linspace(0, 1, height, device=x.device).view(1, 1, -1, 1)
    thick = column(happens(x, n, 0.06) * uniform(x, n, 0.3, 0.75))
    fog = thick * torch.exp(-1.5 * (rows - column(uniform(x, n, 0.2, 0.6))).abs())
    return x * (1 - fog) + column(uniform(x, n, 0.6, 0.92)) * fog


def _light(x: Tensor) -> Tensor:
    """Exposure from 0.12 to 2.6, cut off at white; gamma, colour temperature, saturation."""
    n, _, height, width = x.shape
    one = torch.ones(n, device=x.device)
    night, bright, day = happens(x, n, 0.08), happens(x, n, 0.2), happens(x, n, 0.8)
    gain = torch.where(day, torch.exp(uniform(x, n, math.log(0.4), math.log(2.2))), one)
    gain = torch.where(bright, uniform(x, n, 1.5, 2.6), gain)
    gain = torch.where(night, uniform(x, n, 0.12, 0.4), gain)
    bent = (day | night) & ~(bright & happens(x, n, 0.5))
    gamma = torch.where(bent, 1.5 ** uniform(x, n, -1, 1), one)
    warm = uniform(x, n, -0.2, 0.2) * day
    tint = torch.stack([1 + warm / 2, one, 1 - warm / 2], dim=1).view(-1, 3, 1, 1)
    x = (x.clamp(1e-4, 1) ** column(gamma) * column(gain) * tint).clamp(0, 1)
    grey = x.mean(dim=1, keepdim=True)
    vivid = (grey + (x - grey) * column(uniform(x, n, 0.3, 1.3))).clamp(0, 1)
    x = torch.where(column(happens(x, n, 0.3)), vivid, x)
    rows = torch.linspace(-1, 1, height, device=x.device).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width, device=x.device).view(1, 1, 1, -1)
    corners = column(uniform(x, n, 0, 0.5) * happens(x, n, 0.5)) / 2
    return x * (1 - corners * (rows**2 + columns**2))


def _lens(x: Tensor) -> Tensor:
    """A third of the batch blurred, by eight kernels."""
    n, part = len(x), max(1, len(x) // 24)
    order = torch.randperm(n, device=x.device)
    x = x[order].contiguous()
    for first in range(0, min(n, 8 * part), part):
        some = x[first : first + part]
        side = (3, 3, 5, 5, 7, 9, 11)[int(torch.randint(7, ()))]
        padded = F.pad(some, [side // 2] * 4, mode="replicate").flatten(0, 1)[:, None]
        x[first : first + part] = F.conv2d(padded, _kernel(side).to(x)).view_as(some)
    return x[order.argsort()]


def _kernel(side: int) -> Tensor:
    """(1, 1, side, side): the camera moved, the lens is soft, or the focus is wrong."""
    reach = side // 2
    line = torch.arange(-reach, reach + 1.0)
    y, x = torch.meshgrid(line, line, indexing="ij")
    kind = int(torch.randint(3, ()))
    if kind == 0:
        angle = float(torch.rand(())) * math.pi
        across = (y * math.cos(angle) - x * math.sin(angle)).abs()
        along = (x * math.cos(angle) + y * math.sin(angle)).abs()
        found = ((across < 0.7) & (along <= reach)).float()
    elif kind == 1:
        found = torch.exp(-(x**2 + y**2) / 2 / (side / 4) ** 2)
    else:
        found = (x**2 + y**2 <= (reach + 0.3) ** 2).float()
    return (found / found.sum()).view(1, 1, side, side)


def _sensor(x: Tensor) -> Tensor:
    """Noise in half of the batch, JPEG's blocks in a quarter."""
    n = len(x)
    deviation = uniform(x, n, 0, 9 / 255) * happens(x, n, 0.5)
    x = x + torch.randn_like(x) * column(deviation)
    some = torch.randperm(n, device=x.device)[: n // 4]
    if len(some):
        x = x.index_copy(0, some, compressed(x[some], uniform(x, len(some), 0.4, 2.2)))
    return x


def compressed(x: Tensor, strength: Tensor) -> Tensor:
    """JPEG's rounding of cosine blocks, channel by channel.

    `strength` (N,) multiplies the table: 1 is quality 50.
    """
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")  # whole blocks
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    cosine = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    cosine[0] /= math.sqrt(2)
    basis = torch.einsum("ua,vb->uvab", cosine, cosine).reshape(64, 1, 8, 8).to(x)
    table = torch.tensor(QUANTISATION).reshape(1, 64, 1, 1).to(x) / 255
    step = table * column(strength.repeat_interleave(x.shape[1]))
    found = F.conv2d(x.flatten(0, 1)[:, None] - 0.5, basis, stride=8)
    back = F.conv_transpose2d((found / step).round() * step, basis, stride=8)
    return (back + 0.5).view_as(x)[..., :height, :width]
