# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR: the published numbers, its ablations, and independence from the batch."""

import itertools

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.accounting import trainable_parameters
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.boq import BoQBlock
from vpr_ros.networks.sgfs import SGFS

TINY = {
    "patch_size": 4,
    "dim": 64,
    "depth": 2,
    "heads": 2,
    "position_grid": 3,
    "prompts": 5,
    "rows": 3,
}
ABLATIONS = {
    "MS-fc": {"features": "ms", "selector": "fc"},
    "MS+OLE-fc": {"features": "ms+ole", "selector": "fc"},
    "MsIA+OLE-fc": {"features": "msia+ole", "selector": "fc"},
    "MsIA+OLE-SGFS": {},
    "VPT-deep": {"tuning": "vpt_deep"},
    "BoQ block": {"selector": "boq"},
    "frozen, BoQ block": {"tuning": "frozen", "selector": "boq"},
}


def make(**changes):
    torch.manual_seed(0)
    return EfficientVPR(EfficientVPRConfig.from_dict({**TINY, **changes})).eval()


def test_published_numbers():
    with torch.device("meta"):
        network = EfficientVPR(EfficientVPRConfig())
    groups = network.parameter_groups()
    assert network.descriptor_size == 3456
    assert sum(p.numel() for p in groups["prompts"]) == pytest.approx(0.15e6, rel=0.03)
    assert trainable_parameters(network) == pytest.approx(7.7e6, rel=0.03)
    assert sum(p.numel() for p in network.vit.parameters()) == pytest.approx(22.06e6, rel=0.001)


@pytest.mark.parametrize("side", [266, 322])
def test_published_image_sizes_fit(side):
    with torch.device("meta"):
        network = EfficientVPR(EfficientVPRConfig())
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 3456)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_gives_unit_descriptors_and_trains(name):
    network = make(**ABLATIONS[name])
    output = network(torch.randn(2, 3, 12, 16))
    assert output.shape == (2, network.descriptor_size) == (2, 192)
    assert torch.allclose(output.norm(dim=1), torch.ones(2), atol=1e-5)
    output[:, 0].sum().backward()
    for parameter_name, parameter in network.named_parameters():
        frozen = "vit" in parameter_name or not parameter.requires_grad
        assert (parameter.grad is None) == frozen, parameter_name


def test_ablations_are_distinct_networks():
    image = torch.randn(1, 3, 12, 12)
    networks = {name: make(**changes) for name, changes in ABLATIONS.items()}
    outputs = {name: network(image) for name, network in networks.items()}
    for a, b in itertools.combinations(outputs, 2):
        assert not torch.allclose(outputs[a], outputs[b], atol=1e-3), (a, b)
    assert networks["MS-fc"].ole is None and networks["MS-fc"].msia is None
    assert networks["MS+OLE-fc"].ole is not None and networks["MS+OLE-fc"].msia is None
    assert isinstance(networks["MsIA+OLE-SGFS"].selector, SGFS)
    assert isinstance(networks["BoQ block"].selector, BoQBlock)


def test_a_descriptor_does_not_depend_on_its_batch():
    network = make()
    images = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_parameter_groups_hold_every_trainable_parameter_once():
    network = make()
    groups = network.parameter_groups()
    assert {id(p) for p in groups["prompts"]} == {
        id(network.backbone.prompts),
        id(network.backbone.gamma),
    }
    counted = sum(p.numel() for group in groups.values() for p in group)
    assert counted == trainable_parameters(network)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"features": "ms"}, "selector"),
        ({"tuning": "frozen"}, "no prompts"),
        ({"tuning": "adapter"}, "one of scene_vpt"),
        ({"prompt": 32}, "Unknown parameter 'prompt'"),
    ],
)
def test_impossible_combinations_are_errors(changes, words):
    with pytest.raises(ConfigError, match=words):
        EfficientVPRConfig.from_dict(changes)
