# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SceneVPT: prompts that each image keeps or renews from layer to layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vpr_ros.networks.tokens import Tokens
from vpr_ros.networks.vit import Vit

TUNINGS = ("scene_vpt", "vpt_deep", "frozen")


class SceneVPT(nn.Module):
    """A frozen backbone with prompts at every layer (EfficientVPR, CVPR 2026, SceneVPT).

    Layer i is fed CLS, the prompts alpha_i * Z_(i-1) + (1 - alpha_i) * P_i, and the patches, with
    alpha_ij = sigmoid(s'_j - gamma) and s'_j = s_j / sum_k s_k, s_j the attention of CLS to
    prompt j in layer i-1. With `adaptive` off alpha is zero: that is VPT-deep (Jia et al., ECCV
    2022), the ablation. Prompts replace those of the layer before, so the sequence keeps its
    length. 12 layers x 32 prompts x 384 = 147,456 values, the published 0.15 M, and gamma.

    Chosen where the paper is silent. Layer 1 has no layer before it: it gets P_1 alone. s_j is
    the mean over heads of the softmaxed attention, the head-independent reading. gamma is one
    scalar for all layers and starts at 1 / N_p, where a prompt of average attention is half kept.
    P_i start as Xavier-uniform over a patch, as VPT's do. The last layer's prompts pass the
    backbone's final norm together with the patches they will be compared to.
    """

    def __init__(self, backbone: Vit, prompts: int, adaptive: bool = True) -> None:
        super().__init__()
        config = backbone.config
        self.backbone = backbone.requires_grad_(False)
        self.adaptive = adaptive
        self.prompts = nn.Parameter(torch.empty(config.depth, prompts, config.dim))
        bound = (6.0 / (3 * config.patch_size**2 + config.dim)) ** 0.5
        nn.init.uniform_(self.prompts, -bound, bound)
        if adaptive:
            self.gamma = nn.Parameter(torch.tensor(1.0 / prompts))

    def mix(self, previous: Tensor, new: Tensor, attention: Tensor) -> Tensor:
        """Prompts for the next layer (B, P, C): kept ones (B, P, C) with new ones (P, C).

        `attention` (B, P) is that of CLS to each kept prompt in the layer they come from.
        """
        share = attention / attention.sum(dim=1, keepdim=True)
        alpha = torch.sigmoid(share - self.gamma).unsqueeze(2)  # (B, P, 1)
        return alpha * previous + (1.0 - alpha) * new

    def forward(self, image: Tensor) -> Tokens:
        """Normalised RGB images (B, 3, H, W) to tokens with the last layer's prompts."""
        x, grid = self.backbone.embed(image)
        count = self.prompts.shape[1]
        class_token, patches = x[:, :1], x[:, 1:]
        prompts = self.prompts[0].expand(image.shape[0], -1, -1)
        for i, block in enumerate(self.backbone.blocks):
            x = torch.cat([class_token, prompts, patches], dim=1)
            last = i + 1 == len(self.backbone.blocks)
            if last or not self.adaptive:
                x = block(x)
            else:
                x, attention = block.forward_watched(x)
            class_token, prompts, patches = x[:, :1], x[:, 1 : 1 + count], x[:, 1 + count :]
            if not last and self.adaptive:
                prompts = self.mix(prompts, self.prompts[i + 1], attention[:, 1 : 1 + count])
            elif not last:
                prompts = self.prompts[i + 1].expand(image.shape[0], -1, -1)
        x = self.backbone.norm(x)
        return Tokens(x[:, 0], x[:, 1 + count :], grid, x[:, 1 : 1 + count])
