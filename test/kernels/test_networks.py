# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whole networks on real images: the same descriptors and the same places with and without.

Weights are random, and branches add little to the stream that they leave from, as in trained
networks. Where they add as much as there is, sparse networks multiply rounding noise without end:
then stock onnxruntime, too, gives another descriptor when the image changes by a millionth.
"""

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.images import preprocess
from vpr_ros.core.operators import THREADS_SETTING
from vpr_ros.export.export_checkpoint import contract_of
from vpr_ros.export.onnx_file import write_onnx
from vpr_ros.export.transformer import build_transformer
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

SIDE = 112
SPARSITIES = (0.0, 0.2, 0.4, 0.6)
BRANCH = 0.2
FIRST_LAP, SECOND_LAP = range(3, 41, 8), (47, 67, 80)  # frames of rtabmap_samples


def written(network, path):
    model, _ = build_transformer(network.eval(), SIDE, SIDE, "int8", ())
    contract = contract_of(network, {"name": path.stem}, (SIDE, SIDE), "int8")
    write_onnx(model, contract, path)
    return path


@pytest.fixture(scope="module", params=["token", "nested"])
def tat(request, kernels, tmp_path_factory):
    torch.manual_seed(0)
    shape = {"image_size": SIDE, "dim": 128, "depth": 3, "heads": 2, "head": "boq"}
    if request.param == "nested":  # where hidden values go straight from layer to layer
        shape |= {"layout": "dinov2", "scales": "output"}
    network = TatVPR(TatVPRConfig(**shape, selection=request.param))
    for layer in network.modules():
        if isinstance(layer, SparseTernaryLinear) and layer.rank is not None:
            layer.rank.copy_(torch.randperm(len(layer.rank)))
    for block in network.backbone.blocks:
        for layer in (block.attention.out, block.mlp.narrow):
            layer.weight.data.mul_(BRANCH)
    return written(network, tmp_path_factory.mktemp("tat") / "tat.onnx")


@pytest.fixture(scope="module")
def efficient(kernels, tmp_path_factory):
    torch.manual_seed(0)
    shape = {"dim": 128, "depth": 3, "heads": 2, "position_grid": 8, "prompts": 8, "rows": 8}
    network = EfficientVPR(EfficientVPRConfig(**shape))
    for block in network.vit.blocks:
        torch.nn.init.constant_(block.scale1.gain, BRANCH)
        torch.nn.init.constant_(block.scale2.gain, BRANCH)
    return written(network, tmp_path_factory.mktemp("efficient") / "efficient.onnx")


@pytest.fixture(scope="module")
def pixels(shared_data):
    """frame -> what an encoder of SIDE px gets."""

    def read(frame, contract):
        return preprocess(cv2.imread(str(shared_data / f"rtabmap_samples/{frame}.jpg")), contract)

    return read


def check(path, pixels, sparsity, threads):
    stock, own = Encoder(path, compiled=False), Encoder(path, threads)
    assert own.operators.startswith("compiled operators, ")
    found = {}
    for frame in (*FIRST_LAP, *SECOND_LAP):
        image = pixels(frame, stock.contract)
        found[frame] = stock.run(image, sparsity), own.run(image, sparsity)
        assert float(found[frame][0] @ found[frame][1]) > 0.999
    for query in SECOND_LAP:
        best = [
            max(FIRST_LAP, key=lambda frame: float(found[frame][i] @ found[query][i]))
            for i in (0, 1)
        ]
        assert best[0] == best[1]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_tat_vpr(tat, pixels, sparsity, threads):
    check(tat, pixels, sparsity, threads)


def test_efficientvpr(efficient, pixels):
    check(efficient, pixels, 0.0, 1)


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_gives_what_its_images_give(tat, kernels, pixels, sparsity, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(THREADS_SETTING, str(threads))
    options.register_custom_ops_library(str(kernels.path))
    session = onnxruntime.InferenceSession(str(tat), options, providers=["CPUExecutionProvider"])
    contract = Encoder(tat).contract
    images = np.concatenate([pixels(frame, contract) for frame in (1, 20, 67)])
    feed = {"sparsity": np.array(sparsity, np.float32)}
    together = session.run(None, {"image": images, **feed})[0]
    # For another batch, onnxruntime may sum its float products (patches, head) in another order,
    # depending on the processor. A value halfway between two codes may then become the other code,
    # 1 / 127 of its token's peak away. Even if that happened in every token, unit descriptors
    # would differ by no more than this; those of different images differ by more.
    tolerance = 1.0 / 127 / np.sqrt(together.shape[1])
    assert np.abs(together[0] - together[1]).max() > 2 * tolerance
    for image, descriptor in zip(images, together, strict=True):
        alone = session.run(None, {"image": image[None], **feed})[0][0]
        np.testing.assert_allclose(descriptor, alone, rtol=0, atol=tolerance)
