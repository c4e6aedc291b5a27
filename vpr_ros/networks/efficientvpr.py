# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR: a frozen DINOv2-small, scene-aware prompts, and a 3456-value descriptor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import param
from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.gem import GeM
from vpr_ros.networks.heads.boq import BoQBlock
from vpr_ros.networks.msia import MsIA
from vpr_ros.networks.multi_scale import SCALES, scaled_maps
from vpr_ros.networks.ole import OLE
from vpr_ros.networks.scene_vpt import TUNINGS, SceneVPT
from vpr_ros.networks.sgfs import SGFS
from vpr_ros.networks.tokens import Tokens
from vpr_ros.networks.vit import Vit, VitConfig

FEATURES = ("ms", "ms+ole", "msia+ole")
SELECTORS = ("fc", "sgfs", "boq")


@dataclasses.dataclass(frozen=True)
class EfficientVPRConfig(VitConfig):
    """The paper's network by default; other values give its ablations."""

    prompts: int = param(32, "prompts per layer, N_p", minimum=1)
    tuning: str = param("scene_vpt", "how the backbone is tuned", choices=TUNINGS)
    features: str = param("msia+ole", "local features", choices=FEATURES)
    selector: str = param("sgfs", "what makes the descriptor of them", choices=SELECTORS)
    rows: int = param(9, "rows of `dim` values in the descriptor (sgfs, boq)", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selector != "fc" and self.features != "msia+ole":
            raise ConfigError(
                f"Parameter 'selector' is '{self.selector}' with features '{self.features}'; "
                "give selector 'fc', the linear head of that ablation, or features 'msia+ole'."
            )
        if self.selector == "sgfs" and self.tuning == "frozen":
            raise ConfigError(
                "Parameter 'selector' is 'sgfs' with tuning 'frozen', which has no prompts to "
                "select with; give selector 'boq' or 'fc'."
            )


class PooledLinear(nn.Module):
    """The linear head of the ablations: GeM of each feature map, joined, to the descriptor.

    `ms` pools the patch map at scales 1, 2 and 4 (no attention between them), `ole` and `msia`
    pool those modules' outputs.
    """

    def __init__(self, dim: int, maps: int, size: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(GeM(trainable=True) for _ in range(maps))
        self.linear = nn.Linear(maps * dim, size)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, C, H_i, W_i) to (B, size)."""
        pooled = [pool(m) for pool, m in zip(self.pools, maps, strict=True)]
        return self.linear(torch.cat(pooled, dim=1))


class EfficientVPR(nn.Module):
    """EfficientVPR (CVPR 2026), one image to one 3456-value descriptor.

    Backbone with prompts -> MsIA and OLE on the patches, 2 N local features -> the prompts select
    among them (SGFS) -> linear projection -> unit length. Trainable: prompts 0.15 M of 7.8 M.

    Chosen where the paper is silent. The projection mixes the 32 selected vectors to 9 rows of
    384 values, as BoQ mixes its answers: the one linear projection of 32 x 384 values to 3456
    that fits into 7.7 M parameters (a full matrix would need 42 M). The ablation "BoQ block
    against SGFS" puts a BoQ block with learned queries, as many as there are prompts, in its
    place; the linear-head ablations are `PooledLinear`.
    """

    def __init__(self, config: EfficientVPRConfig) -> None:
        super().__init__()
        self.config = config
        dim, heads = config.dim, config.heads
        backbone = Vit(config)
        if config.tuning == "frozen":
            self.backbone: Vit | SceneVPT = backbone.requires_grad_(False)
        else:
            self.backbone = SceneVPT(backbone, config.prompts, config.tuning == "scene_vpt")
        self.msia = MsIA(dim, heads) if "msia" in config.features else None
        self.ole = OLE(dim) if "ole" in config.features else None
        self.descriptor_size = config.rows * dim
        if config.selector == "fc":
            maps = (1 if self.msia else len(SCALES)) + (1 if self.ole else 0)
            self.linear = PooledLinear(dim, maps, self.descriptor_size)
        else:
            self.selector: SGFS | BoQBlock = (
                SGFS(dim, heads)
                if config.selector == "sgfs"
                else BoQBlock(dim, config.prompts, heads)
            )
            self.mix = nn.Linear(config.prompts, config.rows)

    @property
    def vit(self) -> Vit:
        """The frozen transformer, whichever way it is tuned."""
        return self.backbone if isinstance(self.backbone, Vit) else self.backbone.backbone

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by learning rate: 'prompts' (2e-2), 'heads' (2e-4), 'blocks'.

        `blocks` are those of the transformer itself: none, unless someone unfroze them.
        """
        groups: dict[str, list[nn.Parameter]] = {"prompts": [], "heads": [], "blocks": []}
        of_the_vit = {id(parameter) for parameter in self.vit.parameters()}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if id(parameter) in of_the_vit:
                groups["blocks"].append(parameter)
            else:
                groups["prompts" if name.startswith("backbone.") else "heads"].append(parameter)
        return groups

    def forward(self, image: Tensor) -> Tensor:
        """Normalised RGB images (B, 3, H, W), sides multiples of 14, to unit (B, 3456)."""
        return self.describe(self.backbone(image))

    def describe(self, tokens: Tokens) -> Tensor:
        """What the backbone made of B images to unit (B, 3456)."""
        if self.config.selector == "fc":
            return F.normalize(self.linear(list(self._maps(tokens))), dim=1)
        assert self.msia is not None and self.ole is not None  # the config's check
        local = torch.cat([self.msia(tokens), self.ole(tokens)], dim=1)  # (B, 2 N, C)
        if isinstance(self.selector, SGFS):
            selected = self.selector(tokens.prompts, local)  # (B, P, C)
        else:
            _, selected = self.selector(local)
        rows = self.mix(selected.transpose(1, 2)).transpose(1, 2)  # (B, rows, C)
        return F.normalize(rows.flatten(1), dim=1)

    def _maps(self, tokens: Tokens) -> Iterator[Tensor]:
        """The feature maps (B, C, H_i, W_i) that the linear head pools."""
        if self.msia is None:
            yield from scaled_maps(tokens.map)
        else:
            yield self.msia(tokens).transpose(1, 2).unflatten(2, tokens.grid)
        if self.ole is not None:
            yield self.ole(tokens).transpose(1, 2).unflatten(2, tokens.grid)
