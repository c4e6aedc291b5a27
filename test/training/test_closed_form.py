# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The start that is computed: whitening does what it says, and no head starts at random."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import normalised
from vpr_ros.networks import MEAN, STD
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.pooling import QueryPool
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig, dense_state
from vpr_ros.training.closed_form import learned_whitening, set_prompts, start_in_closed_form
from vpr_ros.training.loop import STATE
from vpr_ros.training.train_command import train

TINY = {"dim": 24, "depth": 2, "heads": 2, "mlp_ratio": 2, "position_grid": 4, "prompts": 4}


@pytest.fixture
def batches(picture):
    """Four batches of eight made places, three noisy views each."""
    random = np.random.default_rng(5)

    def view(place):
        image = picture(place, 42, 56).astype(np.int64) + random.integers(-60, 61, (42, 56, 3))
        return torch.from_numpy(normalised(np.clip(image, 0, 255).astype(np.uint8), MEAN, STD))

    return [
        (
            torch.stack([view(place) for place in range(8 * i, 8 * i + 8) for _ in range(3)]),
            torch.arange(8 * i, 8 * i + 8).repeat_interleave(3),
        )
        for i in range(4)
    ]


def network(**options):
    torch.manual_seed(3)
    net = EfficientVPR(EfficientVPRConfig(**{**TINY, **options}))
    for block in net.vit.blocks:  # a trained backbone's blocks say something
        block.scale1.gain.data.fill_(0.5)
        block.scale2.gain.data.fill_(0.5)
    return net.eval()


def separation(net, batches):
    """How far two views of a place are above two places, in deviations of the latter."""
    images = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    with torch.no_grad():
        found = net(images)
    scores = found @ found.T
    same = labels[:, None] == labels[None]
    wrong = scores[~same]
    right = scores[same & ~torch.eye(len(labels), dtype=torch.bool)]
    return ((right.mean() - wrong.mean()) / wrong.std()).item()


def test_whitening_makes_the_variation_within_places_the_same_in_every_direction():
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(200).repeat_interleave(5)
    stretched = torch.randn(1000, 6, generator=random) * torch.tensor([9.0, 5, 3, 1, 0.5, 0.1])
    values = 20 * torch.randn(200, 6, generator=random)[labels] + stretched + 7
    matrix = learned_whitening(values, labels, 0.0)
    white = (values - values.mean(0)) @ matrix
    within = white.reshape(200, 5, 6)
    within = (within - within.mean(1, keepdim=True)).flatten(0, 1)
    assert torch.allclose(within.T @ within / 1000, torch.eye(6), atol=1e-3)
    assert torch.allclose(matrix, matrix.T, atol=1e-5), "zero-phase: keeps the directions"


def test_nuisance_and_shrinkage_lower_what_they_name():
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(50).repeat_interleave(4)
    values = torch.randn(200, 3, generator=random)
    plain = learned_whitening(values, labels, 0.0)
    deaf = learned_whitening(values, labels, 0.0, torch.tensor([[100.0, 0, 0], [-100.0, 0, 0]]))
    assert deaf[0, 0] < 0.05 * plain[0, 0] and deaf[1, 1] > 0.9 * plain[1, 1]
    shrunk = learned_whitening(values, labels, 3.0)
    assert torch.allclose(shrunk, 0.5 * plain, rtol=0.2, atol=0.1)


@pytest.mark.parametrize("options", [{}, {"projection": "compress", "choice": "log-share"}])
def test_it_tells_places_apart_better_than_a_random_head(batches, options):
    random, fitted = network(**options), network(**options)
    start_in_closed_form(fitted, batches[:3], lambda text: None)
    held_out = batches[3:]
    assert separation(fitted, held_out) > 1.2 * separation(random, held_out)


def test_a_taught_backbone_keeps_the_descriptor_of_its_head(tmp_path, batches):
    """Given the same tokens, it gives nearly what the taught head does."""
    options = {"patch_size": 14, "dim": 64, "depth": 2, "heads": 2}
    torch.manual_seed(3)
    config = TatVPRConfig(**options, image_size=42, layout="dinov2", scales="output", head="cls")
    taught = TatVPR(config)
    taught.head = QueryPool(64, queries=6, rows=2, size=10)
    taught.head.ask.weight.data *= 8
    batch = [(images, labels) for images, labels in batches[:3]]
    net = EfficientVPR(
        EfficientVPRConfig(**options, position_grid=3, prompts=6, rows=2, size=10)
    ).eval()
    net.vit.load_state_dict(dense_state(taught.backbone))
    start_in_closed_form(net, batch, lambda text: None, taught.head)
    images = batches[3][0]
    with torch.no_grad():
        tokens = net.backbone(images)
        wanted = taught.head(tokens)
        found = net.describe(tokens)
    assert F.cosine_similarity(found, wanted).mean() > 0.8
    with pytest.raises(ConfigError, match="A head of 6 queries starts a network with as many"):
        start_in_closed_form(network(prompts=5), batch, lambda text: None, taught.head)


def test_everything_trainable_learns_from_it(batches):
    """Zeroed branches must not be dead, nor identities give gradients that are not numbers."""
    net = network()
    start_in_closed_form(net, batches[:3], lambda text: None)
    rates = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-3)
    before = {name: value.clone() for name, value in net.named_parameters()}
    for _ in range(3):  # behind two zeroed layers, the first learns in the third step
        rates.zero_grad()
        images, _ = batches[0]
        F.mse_loss(net(images), torch.ones(len(images), net.descriptor_size)).backward()
        rates.step()
    for name, value in net.named_parameters():
        assert torch.isfinite(value).all(), name
        moved = not torch.equal(value, before[name])
        # A key's bias moves all logits of a query alike, which softmax does not see.
        assert moved == value.requires_grad or name.endswith("kv.bias"), name


def test_prompts_are_means_of_the_patch_tokens_of_their_layer(batches):
    net = network(prompts=1)
    images = batches[0][0]
    set_prompts(net.backbone, [images])
    with torch.no_grad():
        x, _ = net.vit.embed(images)
        for prompt, block in zip(net.backbone.prompts, net.vit.blocks, strict=True):
            assert torch.allclose(prompt[0], x[:, 1:].mean((0, 1)), atol=2e-2)  # of bfloat16
            x = block(x)


def test_a_recipe_asks_for_it_and_a_run_that_goes_on_does_not_repeat_it(tmp_path, write_set):
    rows = [[f"images/{i}.png", "front"] for i in range(40)]
    write_set("photos/frames.csv", ["image", "place"], rows)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"network: efficientvpr\noptions: {TINY}\nbackbone: random\n"
        "run: {height: 28, width: 42, precision: 'no', threads: 1}\nloss: {}\n"
        "start_batches: 2\n"
        "stages: [{epochs: 1, batch: {places: 4, views: 2, batches: 2}}]\n"
        "sources: [{layout: photographs, path: photos}]\nvalidation: []\nnotes: {}\n"
    )
    said = []
    for _ in range(2):
        assert train("efficientvpr", str(recipe), tmp_path, tmp_path / "run", say=said.append)
    assert (tmp_path / "run" / STATE).is_file()
    assert sum("head fitted to 192 views" in line for line in said) == 1
