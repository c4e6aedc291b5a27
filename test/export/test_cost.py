# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a file costs, counted from its graph, is what torch counts; what is no model is refused."""

from pathlib import Path

import onnx
import pytest
import torch
from network_costs import layer_costs, published_gflop

from vpr_ros.core.errors import ModelError
from vpr_ros.export.cost import cost_of, kept_channels
from vpr_ros.export.export_checkpoint import export_checkpoint
from vpr_ros.networks import sparse_ternary_linear
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.mobilenet_v2 import MobileNetV2GeM
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "mobilenetv2-gem.onnx"


@pytest.fixture(scope="module")
def tat():
    torch.manual_seed(0)
    config = TatVPRConfig(image_size=64, dim=64, depth=2, heads=1, head="boq", selection="token")
    return TatVPR(config).eval()


@pytest.fixture(scope="module")
def folder(tat, tmp_path_factory):
    path = tmp_path_factory.mktemp("cost")
    save_checkpoint(path / "tat.pt", tat)
    for precision in ("fp32", "int8"):
        export_checkpoint(path / "tat.pt", path / f"{precision}.onnx", precision)
    return path


def torch_macs(network, height, width, share=1.0):
    costs = layer_costs(network, height, width)
    return sum(c.macs * (share if c.masked else 1.0) for c in costs)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_macs_and_parameters_of_tat_vpr(tat, folder, precision):
    cost = cost_of(folder / f"{precision}.onnx")
    # The queries' own attention is the same for every image: torch's tracer leaves it in.
    assert cost.macs[0.0] == pytest.approx(torch_macs(tat, 64, 64), rel=0.005)
    assert cost.parameters == pytest.approx(sum(p.numel() for p in tat.parameters()), rel=0.01)
    assert cost.uncounted == ()
    assert cost.opset == 18
    assert list(cost.macs) == ([0.0] if precision == "fp32" else [0.0, 0.2, 0.4, 0.6])


def test_sparsity_lowers_what_it_reaches_and_no_more(tat, folder):
    cost = cost_of(folder / "int8.onnx")
    saved = torch_macs(tat, 64, 64) - torch_macs(tat, 64, 64, 1 - 0.6)
    assert cost.macs[0.0] - cost.macs[0.6] == pytest.approx(saved, rel=0.02)  # k is rounded up


@pytest.mark.parametrize("head", ["boq", "salad", "mixvpr", "cls"])
def test_published_counts_come_out_of_the_file(tmp_path, head):
    """Of a BoQ head too, whose fused layers torch's profiler does not see in full."""
    size = 224 if head in ("salad", "mixvpr") else 64
    config = TatVPRConfig(image_size=size, dim=64, depth=2, heads=1, head=head, selection="token")
    torch.manual_seed(0)
    network = TatVPR(config).eval()
    save_checkpoint(tmp_path / "tat.pt", network, {"trainable": 1234})
    export_checkpoint(tmp_path / "tat.pt", tmp_path / "tat.onnx", "fp16")
    cost = cost_of(tmp_path / "tat.onnx", asked=(0.3,))
    assert cost.contract.trainable == 1234
    for sparsity in (0.0, 0.3, 0.6):
        expected = published_gflop(layer_costs(network, size, size), sparsity)
        # SALAD's transport has products without weights, which are less of a whole network.
        rel = 0.03 if head == "salad" else 1e-4
        assert 2e-9 * cost.published_macs[sparsity] == pytest.approx(expected, rel=rel)


def test_efficientvpr(tmp_path):
    config = EfficientVPRConfig(dim=64, depth=2, heads=1, position_grid=4, prompts=8, rows=4)
    network = EfficientVPR(config).eval()
    save_checkpoint(tmp_path / "e.pt", network)
    export_checkpoint(tmp_path / "e.pt", tmp_path / "e.onnx", "int8", 112, 112)
    cost = cost_of(tmp_path / "e.onnx")
    assert cost.macs[0.0] == pytest.approx(torch_macs(network, 112, 112), rel=0.01)


def test_the_resolution_dial_is_counted_by_the_sizes_it_really_takes():
    cost = cost_of(SHIPPED)
    contract = cost.contract
    expected = torch_macs(MobileNetV2GeM().eval(), contract.input_height, contract.input_width)
    assert cost.macs[0.0] == pytest.approx(expected, rel=0.001)
    assert list(cost.macs) == [0.0, 0.2, 0.4, 0.6, 0.75]
    for sparsity, macs in cost.macs.items():
        assert macs / cost.macs[0.0] == pytest.approx(1 - sparsity, abs=0.06)
    assert cost.parameters == pytest.approx(2.2e6, rel=0.02)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.2, 0.25, 0.4, 0.6, 0.7, 0.75, 0.99])
def test_channels_are_counted_as_they_are_kept(sparsity):
    for channels in (1, 10, 64, 384, 768, 3072):
        expected = sparse_ternary_linear.kept_channels(sparsity, channels)
        assert kept_channels(sparsity, channels) == expected


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    def refused(match, content=None, change=None):
        path = tmp_path / "bad.onnx"
        if change is not None:
            model = onnx.load(SHIPPED)
            change(model)
            content = model.SerializeToString()
        path.write_bytes(content)
        with pytest.raises(ModelError, match=match) as error:
            cost_of(path)
        assert "\n" not in str(error.value)

    def other_opset(version):
        return lambda model: setattr(model.opset_import[0], "version", version)

    def field(name):
        return lambda model: model.metadata_props.add(key=f"vpr.{name}", value="1")

    with pytest.raises(ModelError, match=r"no\.onnx does not exist"):
        cost_of(tmp_path / "no.onnx")
    refused("not an ONNX file", b"")
    refused("not an ONNX file", b"some text, not a graph")
    refused("not an ONNX file", SHIPPED.read_bytes()[:1000])
    refused("no vpr_ros contract", change=lambda model: model.ClearField("metadata_props"))
    refused("unknown colour", change=field("colour"))
    refused("lacks", change=lambda model: model.metadata_props.pop())
    refused("opset 6 ", change=other_opset(6))
    refused("opset 99 ", change=other_opset(99))
    refused("cannot be loaded", change=lambda model: model.graph.input.pop())


def test_a_nested_mlp_saves_twice(tmp_path):
    shape = {"image_size": 64, "dim": 64, "depth": 2, "heads": 1, "head": "boq"}
    nested = {"selection": "nested", "layout": "dinov2", "scales": "output"}
    network = TatVPR(TatVPRConfig(**shape, **nested)).eval()
    save_checkpoint(tmp_path / "n.pt", network)
    export_checkpoint(tmp_path / "n.pt", tmp_path / "n.onnx", "int8")
    cost = cost_of(tmp_path / "n.onnx")
    assert cost.macs[0.0] == pytest.approx(torch_macs(network, 64, 64), rel=0.005)
    widen = 17 * 64 * 256  # of one MLP; the other is dense
    once = torch_macs(network, 64, 64) - torch_macs(network, 64, 64, 0.6)
    saved = cost.macs[0.0] - cost.macs[0.4]
    assert saved == pytest.approx(once + 0.4 * 0.6 * widen, rel=0.02)
