# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exported graphs: they compute what torch computes, on stock operators, and prove it."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.export import functions
from vpr_ros.export.check import OPERATOR_TOLERANCE, check, sample_images
from vpr_ros.export.deploy_layers import PRECISIONS, Int8Linear, deployed
from vpr_ros.export.functions import CONTRIB, DOMAIN
from vpr_ros.export.onnx_file import SMALLEST, names_read, session_of
from vpr_ros.export.transformer import build_transformer, layers_hurt_by_int8
from vpr_ros.networks import sparse_ternary_linear
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

SIDE = 80
TAT = {"image_size": SIDE, "dim": 64, "depth": 2, "heads": 1, "head": "gem"}
EFFICIENT = {
    "dim": 64,
    "depth": 2,
    "heads": 1,
    "position_grid": 4,
    "prompts": 8,
    "rows": 4,
    "patch_size": 16,
}


def tat(**changes):
    torch.manual_seed(0)
    return TatVPR(TatVPRConfig.from_dict({**TAT, **changes})).eval()


def efficient(**changes):
    torch.manual_seed(0)
    network = EfficientVPR(EfficientVPRConfig.from_dict({**EFFICIENT, **changes})).eval()
    for block in network.vit.blocks:  # as in trained weights: branches that matter
        torch.nn.init.constant_(block.scale1.gain, 0.5)
        torch.nn.init.constant_(block.scale2.gain, 0.5)
    return network


def run(model, image, sparsity=None):
    feed = {} if sparsity is None else {"sparsity": np.array(sparsity, dtype=np.float32)}
    return session_of(model).run(["descriptor"], {"image": image.numpy(), **feed})[0]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tat_vpr_agrees_with_torch(precision):
    model, agreements = build_transformer(tat(), SIDE, SIDE, precision)
    assert [a.sparsity for a in agreements] == [0.0, 0.4, 0.6]
    for agreement in agreements:
        assert agreement.operator_error <= OPERATOR_TOLERANCE
        assert agreement.cosine > 0.999
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("head", ["boq", "mixvpr", "cls", "queries-whitened"])
def test_every_head_exports(head):
    _, agreements = build_transformer(tat(head=head), SIDE, SIDE, "int8", (0.4,))
    assert agreements[0].cosine > 0.999


def test_salad_exports():
    network = tat(head="salad", image_size=144)
    assert build_transformer(network, 144, 144, "int8", (0.4,))[1][0].cosine > 0.999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_efficientvpr_exports(precision):
    model, (agreement,) = build_transformer(efficient(), SIDE, SIDE, precision)
    assert agreement.cosine > 0.9999
    assert agreement.cosine_to_original > 0.999
    assert [i.name for i in model.graph.input] == ["image"]


def test_the_dial_is_in_the_graph():
    network, image = tat(), sample_images(SIDE, SIDE)[:1]
    model, _ = build_transformer(network, SIDE, SIDE, "fp16")
    outputs = [run(model, image, sparsity) for sparsity in (0.0, 1e-6, 0.3, 0.6)]
    assert np.array_equal(outputs[0], outputs[1])  # all channels kept: dense
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3
    assert np.abs(outputs[2] - outputs[3]).max() > 1e-3


def test_any_batch_size():
    model, _ = build_transformer(tat(), SIDE, SIDE, "int8")
    images = torch.randn(5, 3, SIDE, SIDE)
    together = run(model, images, 0.4)
    alone = np.concatenate([run(model, image[None], 0.4) for image in images])
    assert together.shape == (5, 64)
    assert np.allclose(together, alone, atol=1e-4)


def test_weights_are_packed_and_operators_are_stock():
    network = tat(dim=128, heads=2)
    model, _ = build_transformer(network, SIDE, SIDE, "int8")
    squeezed = [t for t in model.graph.initializer if t.name.endswith(".squeezed")]
    ternary = [m for m in network.modules() if type(m).__name__ == "SparseTernaryLinear"]
    assert len(squeezed) == len(ternary) == 2 * 2 + 1 * 2
    weights = sum(layer.weight.numel() for layer in ternary)
    assert sum(len(t.raw_data) for t in squeezed) * 5 == pytest.approx(weights, rel=0.01)
    defined = {(f.domain, f.name) for f in model.functions}
    for node in model.graph.node:
        assert node.domain in ("", CONTRIB) or (node.domain, node.op_type) in defined
    assert {domain for domain, _ in defined} == {DOMAIN}
    for function in model.functions:
        assert {node.domain for node in function.node} <= {"", CONTRIB}
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert all(len(t.dims) < 2 or np.prod(t.dims) < SMALLEST for t in floats)


@pytest.mark.parametrize("make", [tat, efficient])
def test_nothing_is_stored_that_nothing_reads(make):
    model, _ = build_transformer(make(), SIDE, SIDE, "int8")
    read = names_read(model.graph.node)
    constants = [n.output[0] for n in model.graph.node if n.op_type == "Constant"]
    assert {*constants, *(t.name for t in model.graph.initializer)} <= read


def test_constants_of_the_graph_are_those_of_the_layers():
    for name in ("LEVELS", "SMALLEST_PEAK", "ROUNDING_GUARD"):
        assert getattr(functions, name) == getattr(sparse_ternary_linear, name)


def test_float32_is_the_dense_yardstick():
    network, image = tat(), sample_images(SIDE, SIDE)[:1]
    model, _ = build_transformer(network, SIDE, SIDE, "fp32")
    assert [i.name for i in model.graph.input] == ["image"]
    assert not any(t.name.endswith(".packed") for t in model.graph.initializer)
    with torch.no_grad():
        cosine = float(torch.from_numpy(run(model, image)) @ network(image).T)
    assert cosine > 0.999  # the same weights; the original rounds activations to int8


def test_a_wrong_descriptor_is_refused():
    network = tat()
    model, _ = build_transformer(network, SIDE, SIDE, "int8")
    other = deployed(network, "int8")
    torch.nn.init.normal_(other.backbone.norm.weight)
    with pytest.raises(ModelError, match="exported descriptor has cosine"):
        check(model, other, network, 0.0)


def test_a_wrong_operator_is_refused():
    network = tat()
    model, _ = build_transformer(network, SIDE, SIDE, "int8")
    function = next(f for f in model.functions if f.name == "SparseTernaryLinear")
    guard = next(n for n in _selection(function) if n.output[0] == "kept_guard")
    guard.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(1.0, dtype=np.float32)))
    with pytest.raises(ModelError, match="Operator SparseTernaryLinear"):
        check(model, deployed(network, "int8"), network, 0.5)


def _selection(function):
    branch = next(node for node in function.node if node.op_type == "If")
    graph = next(a.g for a in branch.attribute if a.name == "then_branch")
    return graph.node


NESTED = {"selection": "nested", "layout": "dinov2", "scales": "output", "dim": 64, "depth": 3}


def nested():
    network = tat(**NESTED)
    for layer in network.modules():
        if type(layer).__name__ == "SparseTernaryLinear":
            layer.rank.copy_(torch.randperm(len(layer.rank)))
    return network


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_nested_layers_run_as_they_were_trained(precision):
    network, images = nested(), sample_images(SIDE, SIDE)
    model, agreements = build_transformer(network, SIDE, SIDE, precision, (0.0, 0.2, 0.6))
    assert all(a.operator_error < OPERATOR_TOLERANCE for a in agreements)
    for sparsity in (0.0, 0.2, 0.6):
        with torch.no_grad():
            wanted = network(images, sparsity)
        found = torch.from_numpy(run(model, images, sparsity))
        assert float((found * wanted).sum(dim=1).min()) > 0.999


def test_what_a_nested_mlp_drops_is_not_computed_before():
    network = nested()
    order = network.backbone.blocks[0].mlp.narrow.rank.argsort()
    runs = deployed(network, "int8")
    mlp = runs.backbone.blocks[0].mlp
    assert mlp.widen.slim and not mlp.narrow.slim
    assert torch.equal(mlp.narrow.rank, torch.arange(len(order)))
    assert torch.equal(mlp.widen.bias, network.backbone.blocks[0].mlp.widen.bias[order])
    model, _ = build_transformer(network, SIDE, SIDE, "int8", (0.5,))
    slim = [n for n in model.graph.node if n.op_type == "SlimTernaryLinearBiasGelu"]
    assert len(slim) == 2  # the last MLP is dense
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(slim[0].output[0], onnx.TensorProto.FLOAT, None)
    )
    feed = {"image": sample_images(SIDE, SIDE).numpy(), "sparsity": np.array(0.5, np.float32)}
    hidden = session_of(model).run([slim[0].output[0]], feed)[0]
    assert not hidden[..., 128:].any() and hidden[..., :128].any(axis=(0, 1)).all()


def test_only_hidden_values_that_nothing_else_reads_are_left_out():
    reference = tat(selection="nested")  # a norm over all hidden values stands between
    runs = deployed(reference, "int8")
    assert not runs.backbone.blocks[0].mlp.widen.slim
    model, _ = build_transformer(reference, SIDE, SIDE, "int8", (0.0, 0.5))
    assert not any(n.op_type.startswith("SlimTernary") for n in model.graph.node)


class Toy(nn.Module):
    """Two linear layers; the second gets one channel that is `loudness` times as large.

    It ignores that channel, as a whitening does.
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


def test_a_layer_with_one_loud_channel_stays_float():
    toy = Toy(loudness=1000.0)
    kept = layers_hurt_by_int8(toy, 64, 64)
    assert kept == {"second"}
    runs = deployed(toy, "int8", kept)
    assert isinstance(runs.first, Int8Linear) and type(runs.second) is nn.Linear


@pytest.mark.parametrize("loudness", [1.0, 2.0])
def test_an_even_network_is_int8_throughout(loudness):
    assert layers_hurt_by_int8(Toy(loudness), 64, 64) == frozenset()
