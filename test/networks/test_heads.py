# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Heads: published sizes, unit length, and the parts that can be checked by hand."""

import pytest
import torch
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads import HEADS, build_head
from vpr_ros.networks.heads.mixvpr import MixVPR
from vpr_ros.networks.heads.pooling import ClassHead, GeMHead, QueryPool
from vpr_ros.networks.heads.salad import transport
from vpr_ros.networks.vit import Tokens


def make_tokens(batch=2, side=9, dim=64):
    return Tokens(torch.randn(batch, dim), torch.randn(batch, side * side, dim), (side, side))


@pytest.mark.parametrize(
    "name, parameters, size",
    [
        ("boq", 14.087e6, 16384),
        ("salad", 1.411e6, 8448),
        ("mixvpr", 0.472e6, 2048),
        ("cls", 0, 768),
        ("queries", 768 * 32 + 32 + 768**2 + 768 + 2 * 768 + 32 * 9 + 9, 9 * 768),
        ("queries-whitened", 0.617e6 + 2 * 256 * 9 * 768, 9 * 768),
        ("queries-768", 0.617e6 + 768 * 9 * 768, 768),
        ("gem", 1, 768),
    ],
)
def test_reference_sizes(name, parameters, size):
    with torch.device("meta"):
        head = build_head(name, 768, 14 * 14)
    assert sum(p.numel() for p in head.parameters()) == pytest.approx(parameters, rel=5e-4)
    assert head.descriptor_size == size


@pytest.mark.parametrize("name", HEADS)
def test_unit_descriptors_of_the_stated_size_that_ignore_the_batch(name):
    torch.manual_seed(0)
    head = build_head(name, 64, 81).eval()
    tokens = make_tokens()
    output = head(tokens)
    assert output.shape == (2, head.descriptor_size)
    assert torch.allclose(output.norm(dim=1), torch.ones(2), atol=1e-5)
    alone = head(Tokens(tokens.class_token[1:], tokens.patches[1:], tokens.grid))
    assert torch.allclose(alone[0], output[1], atol=1e-5)
    if name != "cls":
        output[:, 0].sum().backward()
        assert all(p.grad is not None for p in head.parameters())


def test_queries_pick_patches_by_their_softmax():
    torch.manual_seed(1)
    head = QueryPool(16, queries=3)
    patches = torch.randn(2, 7, 16)
    picked = head.pick(patches)
    for image in range(2):
        for query in range(3):
            logits = patches[image] @ head.ask.weight[query] + head.ask.bias[query]
            wanted = (logits.softmax(0)[:, None] * patches[image]).sum(0)
            assert torch.allclose(picked[image, query], wanted, atol=1e-6)


def test_transport_gives_every_feature_and_cluster_its_mass():
    share = transport(torch.randn(2, 4, 20), torch.tensor(1.0), rounds=200)
    assert share.shape == (2, 4, 20)
    assert torch.allclose(share.sum(dim=2), torch.ones(2, 4), atol=1e-3)  # clusters receive 1
    assert (share.sum(dim=1) <= 1 + 1e-4).all()  # the rest of a feature is in the dustbin


def test_transport_rounds_by_hand():
    scores = torch.randn(1, 2, 3)
    joint = torch.cat([scores, torch.ones(1, 1, 3)], dim=1)[0].exp()
    masses = torch.tensor([1.0, 1.0, 1.0])  # 3 features for 2 clusters leave 1 for the dustbin
    for _ in range(3):
        joint = joint * (masses / joint.sum(dim=1))[:, None]
        joint = joint / joint.sum(dim=0, keepdim=True)
    assert torch.allclose(transport(scores, torch.tensor(1.0))[0], joint[:2], atol=1e-5)


def test_salad_needs_more_patches_than_clusters():
    with pytest.raises(ConfigError, match="64 clusters for 49 patches"):
        build_head("salad", 64, 49)(make_tokens(side=7))


def test_mixvpr_is_bound_to_its_grid():
    with pytest.raises(ConfigError, match="81 patches and got 64"):
        MixVPR(64, 81)(make_tokens(side=8))


def test_class_and_gem_heads_by_hand():
    tokens = make_tokens(batch=1, side=3, dim=5)
    assert torch.allclose(ClassHead(5)(tokens), F.normalize(tokens.class_token))
    pooled = torch.tensor(
        [
            (sum(max(float(v), 1e-6) ** 3 for v in tokens.patches[0, :, c]) / 9) ** (1 / 3)
            for c in range(5)
        ]
    )
    assert torch.allclose(GeMHead(5)(tokens)[0], F.normalize(pooled, dim=0), atol=1e-5)


def test_unknown_head_is_an_error():
    with pytest.raises(ConfigError, match="Head is 'netvlad'; give one of boq"):
        build_head("netvlad", 64, 81)
