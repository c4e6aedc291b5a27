# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A teacher of descriptors: an ONNX descriptor network, alone or beside one of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.networks import MEAN, STD
from vpr_ros.training.closed_form import learned_whitening


class OnnxDescriptors(nn.Module):
    """The descriptors of an ONNX file with one image input and one descriptor output.

    The input is uint8 (B, H, W, 3) or float32 (B, 3, H, W) normalised as for ImageNet, both RGB.
    It runs where onnxruntime can: install onnxruntime-gpu to train on a GPU. ModelError if the
    file is missing, broken, or no such network.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        super().__init__()
        if not path.is_file():
            raise ModelError(f"Teacher {path} does not exist. Give an ONNX descriptor network.")
        try:
            self._session = ort.InferenceSession(path, providers=_providers())
        except Exception as error:  # onnxruntime raises many types for a broken file
            reason = str(error).strip().split("\n")[0]
            raise ModelError(f"Teacher {path} is not a readable ONNX file ({reason}).") from None
        image, *rest = self._session.get_inputs()
        self._bytes = image.type == "tensor(uint8)"
        if rest or len(image.shape) != 4 or image.shape[3 if self._bytes else 1] != 3:
            raise ModelError(
                f"Teacher {path} has inputs {[(i.name, i.shape) for i in [image, *rest]]}; it "
                "needs one, uint8 (B, H, W, 3) or float32 (B, 3, H, W)."
            )
        self._input, self.size = image.name, size
        try:
            self.length: int = self(torch.zeros(1, 3, *size)).shape[1]
        except Exception as error:  # such as a fixed size, which onnxruntime only finds here
            reason = str(error).strip().split("\n")[0]
            raise ModelError(
                f"Teacher {path} cannot describe a picture of {size[0]}x{size[1]} px ({reason}). "
                "Give the 'side' that it takes."
            ) from None

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, *size), RGB in [0, 1], to unit descriptors (B, D)."""
        if self._bytes:
            images = pictures.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
        else:
            images = normalised(pictures).float()
        fed = {self._input: np.ascontiguousarray(images.cpu().numpy())}
        found = torch.from_numpy(self._session.run(None, fed)[0])
        return F.normalize(found.float().flatten(1), dim=1).to(pictures.device)


class DescriptorTeacher(nn.Module):
    """A student's target: a teacher's whitened descriptor, beside a share of a second's.

    The cosine of two targets is (1 - share) times that of the first teacher's descriptors, plus
    `share` times that of the second's. The first is whitened so that changes of one place matter
    least in it (`closed_form.learned_whitening`). Of the second, a network of this package at
    sparsity 0, the `kept` principal directions remain. Both maps are fitted once, by `fit`. They
    are in the state dict, as buffers; the teachers are not.
    """

    whitening: Tensor  # (D, D)
    directions: Tensor  # (D', kept)
    queue: Tensor  # (N, length), earlier targets, for losses that compare with them

    def __init__(
        self, first: OnnxDescriptors, second: nn.Module | None, share: float, kept: int
    ) -> None:
        super().__init__()
        # In a tuple, so that the state dict does not hold them.
        self._teachers = first, None if second is None else second.eval().requires_grad_(False)
        self.share, self.kept = (0.0, 0) if second is None else (share, kept)
        for name in ("whitening", "directions", "queue"):
            self.register_buffer(name, torch.empty(0, 0))

    def to_device(self, device: torch.device) -> DescriptorTeacher:
        """The second teacher and the fitted maps on `device`."""
        if self._teachers[1] is not None:
            self._teachers[1].to(device)
        return self.to(device)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that the first teacher takes."""
        return self._teachers[0].size

    @property
    def length(self) -> int:
        """Values of a target."""
        return self._teachers[0].length + self.kept

    def first(self, pictures: Tensor) -> Tensor:
        """The first teacher's own descriptors (B, D) of pictures (B, 3, H, W) of any size."""
        resized = F.interpolate(
            pictures, self.size, mode="bilinear", antialias=True, align_corners=False
        )
        found: Tensor = self._teachers[0](resized)
        return found

    @torch.no_grad()
    def second(self, pictures: Tensor) -> Tensor:
        """The second teacher's own descriptors (B, D'); (B, 0) if there is none."""
        if self._teachers[1] is None:
            return pictures.new_empty(len(pictures), 0)
        found: Tensor = self._teachers[1](normalised(pictures))
        return found.float()

    @torch.no_grad()
    def fit(self, changed: Tensor, labels: Tensor, second: Tensor, shrinkage: float) -> None:
        """Fit both maps.

        The first to the first teacher's descriptors (S, D) of changed views and the labels (S,)
        of their places, the other to the second's descriptors (S', D') of any views.
        """
        self.whitening = learned_whitening(changed, labels, shrinkage)
        if self.kept:
            values = second - second.mean(dim=0)
            self.directions = torch.linalg.eigh(values.T @ values)[1][:, -self.kept :].contiguous()

    @torch.no_grad()
    def target(self, first: Tensor, second: Tensor) -> Tensor:
        """Unit targets (B, length) from what `first` and `second` return for the same views."""
        whitened = F.normalize(first @ self.whitening, dim=1)
        if not self.kept:
            return whitened
        other = F.normalize(second @ self.directions, dim=1)
        return torch.cat([(1 - self.share) ** 0.5 * whitened, self.share**0.5 * other], dim=1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """The buffers, whose shapes are not known before."""
        for name in ("whitening", "directions", "queue"):
            setattr(self, name, state[prefix + name].to(self.whitening.device))


def _providers() -> list[str]:
    """CUDA before the CPU, where there is CUDA."""
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [name for name in wanted if name in ort.get_available_providers()]


def normalised(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), RGB in [0, 1], as the networks take them."""
    mean, std = (pictures.new_tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    return (pictures - mean) / std


def pictures_of(images: Tensor) -> Tensor:
    """The inverse of `normalised`."""
    mean, std = (images.new_tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    return (images * std + mean).clamp(0, 1)
