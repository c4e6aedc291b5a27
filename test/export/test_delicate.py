# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that int8 would hurt are found, and only they."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vpr_ros.export.delicate import delicate_layers
from vpr_ros.export.twins import Int8Linear, exchange


class Toy(nn.Module):
    """Two linear layers; the second sees one channel `loudness` times as loud as the others.

    What is loud it ignores, as a whitening does.
    """

    def __init__(self, loudness):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(12, 16)
        self.second = nn.Linear(16, 16)
        self.gain = torch.ones(16)
        self.gain[0] = loudness
        self.second.weight.data[:, 0] = 0.0

    def forward(self, images):
        patches = F.avg_pool2d(images, 8).flatten(2).transpose(1, 2)  # (B, N, 3)
        tokens = patches[:, :64].unflatten(1, (16, 4)).flatten(2)  # (B, 16, 12)
        return F.normalize(self.second(self.first(tokens) * self.gain).flatten(1), dim=1)


def test_a_loud_channel_makes_its_layer_delicate():
    toy = Toy(loudness=1000.0)
    kept = delicate_layers(toy, 64, 64)
    assert kept == {"second"}
    twin = exchange(toy, "int8", kept)
    assert isinstance(twin.first, Int8Linear) and type(twin.second) is nn.Linear


@pytest.mark.parametrize("loudness", [1.0, 2.0])
def test_an_even_network_is_int8_throughout(loudness):
    assert delicate_layers(Toy(loudness), 64, 64) == frozenset()
