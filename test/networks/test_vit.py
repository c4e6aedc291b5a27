# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The transformer's shapes, positions and attention."""

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.vit import SelfAttention, Vit, VitConfig, resize_positions

TINY = VitConfig(patch_size=4, dim=12, depth=2, heads=3, position_grid=3)


def test_dinov2_small_has_its_published_size():
    with torch.device("meta"):
        vit = Vit(VitConfig())
    assert sum(p.numel() for p in vit.parameters()) == 22_056_192


@pytest.mark.parametrize("height, width", [(12, 12), (8, 20)])
def test_tokens_have_the_grid_of_the_image(height, width):
    tokens = Vit(TINY)(torch.randn(2, 3, height, width))
    grid = (height // 4, width // 4)
    assert tokens.grid == grid
    assert tokens.class_token.shape == (2, 12)
    assert tokens.patches.shape == (2, grid[0] * grid[1], 12)
    assert tokens.map.shape == (2, 12, *grid)
    assert torch.equal(tokens.map[1, :, 1, 2], tokens.patches[1, grid[1] + 2])


def test_patches_are_in_reading_order():
    vit = Vit(TINY)
    image = torch.randn(1, 3, 8, 12)
    x, _ = vit.embed(image)
    position = resize_positions(vit.positions, (2, 3))
    patch = image[0, :, 4:8, 8:12]  # row 1, column 2
    expected = (vit.patch_embed.weight * patch).sum(dim=(1, 2, 3)) + vit.patch_embed.bias
    assert torch.allclose(x[0, 1 + 5], expected + position[0, 1 + 5], atol=1e-5)


def test_positions_of_their_own_grid_stay_untouched():
    positions = torch.randn(1, 10, 4)
    assert resize_positions(positions, (3, 3)) is positions


def cubic_weight(distance, a=-0.75):
    """Keys's kernel, IEEE TASSP 1981, with the coefficient DINOv2's resizing uses."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def test_positions_are_resized_bicubically_at_pixel_centres():
    class_position = torch.full((1, 1, 2), 7.0)
    values = torch.randn(6)
    plane = torch.stack([torch.ones(36), values.repeat_interleave(6)], dim=1)[None]
    resized = resize_positions(torch.cat([class_position, plane], dim=1), (12, 12))
    assert resized.shape == (1, 145, 2)
    assert torch.equal(resized[:, :1], class_position)
    assert torch.allclose(resized[0, 1:, 0], torch.ones(144))
    rows = resized[0, 1:, 1].unflatten(0, (12, 12))[:, 6]
    for row in range(12):
        centre = (row + 0.5) / 2 - 0.5
        nearest = range(int(centre // 1) - 1, int(centre // 1) + 3)
        expected = sum(
            cubic_weight(centre - i) * float(values[min(max(i, 0), 5)]) for i in nearest
        )
        assert float(rows[row]) == pytest.approx(expected, abs=1e-5)


def test_image_must_fit_the_patch():
    with pytest.raises(ConfigError, match="13x12 px; give sides that are multiples of the patch"):
        Vit(TINY)(torch.randn(1, 3, 13, 12))


def test_class_attention_is_the_mean_softmax_and_changes_nothing_else():
    torch.manual_seed(0)
    attention = SelfAttention(12, 3)
    x = torch.randn(2, 5, 12)
    mixed, row = attention.forward_with_class_attention(x)
    assert torch.equal(mixed, attention(x))
    q, k, _ = attention.qkv(x).chunk(3, dim=-1)
    for b in range(2):
        total = torch.zeros(5)
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            logits = torch.stack([q[b, 0, part] @ k[b, n, part] / 2.0 for n in range(5)])
            total += logits.softmax(dim=0)
        assert torch.allclose(row[b], total / 3, atol=1e-6)


def test_unknown_setting_is_an_error():
    with pytest.raises(ConfigError, match="'width'"):
        VitConfig.from_dict({"width": 384})
