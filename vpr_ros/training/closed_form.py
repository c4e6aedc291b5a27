# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR before its first step: no random head, but one fitted to the backbone's tokens.

A head of 7.7 M random weights needs thousands of steps before it is as good as the mean of the
tokens that it is fed; a CPU does not have them. So what can be computed is computed:

- Prompt p of every layer is the mean of the patch tokens, at that layer, of one of N_p clusters of
  the last layer's patches. Prototypes of tokens are good prompts (Wang et al., ICML 2024), and as
  queries each finds its own kind of patch.
- Branches beside a residual start at zero, OLE's convolutions at identity: the local features are
  the patch tokens.
- The selecting attention compares prompts and patches in their principal directions; what it has
  found goes through a learned whitening.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import faiss
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import Config, param
from vpr_ros.networks.attention import CrossAttention
from vpr_ros.networks.efficientvpr import EfficientVPR, PooledLinear
from vpr_ros.networks.heads.boq import BoQBlock
from vpr_ros.networks.ole import OLE
from vpr_ros.networks.scene_vpt import SceneVPT
from vpr_ros.networks.sgfs import SGFS
from vpr_ros.networks.tokens import Tokens
from vpr_ros.networks.vit import Vit
from vpr_ros.training.whitening import learned_whitening

CLUSTERED = 4  # batches whose tokens are clustered
TOKENS = 20_000  # enough for clusters and principal directions
LOUDNESS = 3.0  # what was selected, over the prompt that selected it


@dataclasses.dataclass(frozen=True)
class StartConfig(Config):
    """How the closed-form start is fitted."""

    batches: int = param(
        0, "batches of 32 places x 3 views to fit on; 0: a random start", minimum=0
    )
    shrinkage: float = param(0.3, "of the whitening's covariance", minimum=0.0)
    sharpness: float = param(8.0, "of the selecting attention's logits", minimum=0.0)
    sparsest: float = param(
        0.6, "greatest sparsity that a ternary student is fitted at", minimum=0.0, maximum=0.9
    )

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Those that a student is fitted at, by turns."""
        return tuple(self.sparsest * i / 3 for i in range(4))


@torch.no_grad()
def start_in_closed_form(
    network: EfficientVPR,
    batches: Sequence[tuple[Tensor, Tensor]],
    config: StartConfig,
    say: Callable[[str], None] = print,
) -> None:
    """Fit the prompts and the head of `network` to batches of images (B, 3, H, W), labels (B,)."""
    network.eval()
    if isinstance(network.backbone, SceneVPT):
        set_prompts(network.backbone, [images for images, _ in batches])
        say("Closed-form start: prompts are prototypes of the patch tokens.")
    quieten(network)
    tokens = []
    for images, _ in batches:
        with half(images):
            tokens.append(network.backbone(images))
    labels = torch.cat([labels for _, labels in batches])
    fit_head(network, tokens, labels, config)
    say(f"Closed-form start: head fitted to {len(labels)} views.")


@torch.no_grad()
def set_prompts(tuned: SceneVPT, batches: Sequence[Tensor]) -> None:
    """Make every layer's prompts prototypes of its patch tokens, cluster by cluster."""
    vit, count = tuned.backbone, tuned.prompts.shape[1]
    last = sample(torch.cat([patch_tokens(vit, images)[-1] for images in batches[:CLUSTERED]]))
    mean = last.mean(dim=0)
    centres = cluster(last - mean, count)
    sums = tuned.prompts.new_zeros(len(vit.blocks), count, vit.config.dim)
    members = sums.new_zeros(count)
    for images in batches:
        *layers, final = patch_tokens(vit, images)  # (B N, C) each
        nearest = (F.normalize(final - mean, dim=1) @ centres.T).argmax(dim=1)
        members += torch.bincount(nearest, minlength=count)
        for layer, patches in enumerate(layers):
            sums[layer].index_add_(0, nearest, patches)
    tuned.prompts.copy_(sums / members.clamp(min=1)[None, :, None])


def patch_tokens(vit: Vit, images: Tensor) -> list[Tensor]:
    """The patches (B N, C) that each block is fed, and the final-normed ones of the last."""
    found = []
    with half(images):
        x, _ = vit.embed(images)
        for block in vit.blocks:
            found.append(x[:, 1:])
            x = block(x)
        found.append(vit.norm(x)[:, 1:])
    return [patches.flatten(0, 1).float() for patches in found]


def quieten(network: EfficientVPR) -> None:
    """Let what stands before the selection hand on the patch tokens as they are."""
    if network.msia is not None:
        zero(network.msia.attention.out)
        zero(network.msia.mlp.narrow)
    if network.ole is not None:
        pass_on(network.ole)
    if network.config.selector == "fc":
        return
    zero(network.selector.refine.out)
    if isinstance(network.selector, SGFS):
        zero(network.selector.refine_mlp.narrow)
        zero(network.selector.select_mlp.narrow)
    else:
        zero(network.selector.encoder.attention.out)
        zero(network.selector.encoder.narrow)


def pass_on(ole: OLE) -> None:
    """Both convolutions to identity, of which the vertical one alone is joined.

    The horizontal one's share is small instead of zero, so that it learns from the first step.
    """
    dim = ole.join.out_channels
    for convolution in (ole.horizontal, ole.vertical):
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    ole.join.weight.mul_(0.1)
    ole.join.weight[:, dim:, 0, 0] = torch.eye(dim)
    nn.init.zeros_(ole.join.bias)


def fit_head(
    network: EfficientVPR, tokens: Sequence[Tokens], labels: Tensor, config: StartConfig
) -> None:
    """Fit what selects, whitens and mixes to the backbone's tokens of S views."""
    if network.config.selector == "fc":
        fit_linear(network.linear, network, tokens, labels, config)
        return
    selector = network.selector
    with Recorder(selector.select) as calls:
        describe(network, tokens)
        queries = torch.cat([call[0] for call in calls])
        patches = sample(torch.cat([sample(call[1].flatten(0, 1), 4) for call in calls]))
        if isinstance(selector, BoQBlock):
            centres = cluster(patches - patches.mean(dim=0), queries.shape[1])
            # Post-norm makes their length that of a token.
            selector.queries.copy_(centres[None] * centres.shape[1] ** 0.5)
            queries = selector.norm_queries(selector.queries)
        fit_queries(selector.select, queries, patches, config.sharpness)
    with Recorder(selector.select.out) as calls:
        describe(network, tokens)
        found = torch.cat([call[0] for call in calls])  # (S, P, C)
    whiten(selector.select.out, found, labels, config.shrinkage)
    if isinstance(selector, SGFS):
        loud = torch.cat([selector.select.out(part).flatten() for part in found.split(64)]).std()
        factor = LOUDNESS * torch.cat([t.prompts for t in tokens if t.prompts is not None]).std()
        selector.select.out.weight.mul_(factor / loud)
        selector.select.out.bias.mul_(factor / loud)
    nn.init.orthogonal_(network.mix.weight)
    nn.init.zeros_(network.mix.bias)


def fit_queries(
    attention: CrossAttention, queries: Tensor, patches: Tensor, sharpness: float
) -> None:
    """Compare queries (S, P, C) and patches (T, C) in the patches' principal directions.

    Every head the same, and values are handed on. Logits of the usual query and patch become the
    cosine times `sharpness`.
    """
    dim, heads = attention.dim, attention.product.heads
    size = dim // heads
    mean = patches.mean(dim=0)
    _, directions = torch.linalg.eigh(torch.cov(patches.T))
    basis = directions[:, -size:].T  # (size, C)
    of_keys = (patches - mean) @ basis.T
    usual = queries.mean(dim=0)  # (P, C)
    of_queries = (usual - usual.mean(dim=0)) @ basis.T
    key = basis / of_keys.norm(dim=1).mean()
    query = basis * sharpness * size**0.5 / of_queries.norm(dim=1).mean()
    attention.q.weight.copy_(query.repeat(heads, 1))
    attention.q.bias.copy_(-(query @ usual.mean(dim=0)).repeat(heads))
    attention.kv.weight.copy_(torch.cat([key.repeat(heads, 1), torch.eye(dim)]))
    attention.kv.bias.copy_(torch.cat([-(key @ mean).repeat(heads), torch.zeros(dim)]))


def whiten(layer: nn.Linear, found: Tensor, labels: Tensor, shrinkage: float) -> None:
    """Make `layer` the learned whitening of what it is fed: (S, P, C) for S labels.

    Every prompt has a mean of its own, which is the same for all places: it counts as nuisance.
    """
    mine = found.mean(dim=0)  # (P, C)
    values = (found - mine).transpose(0, 1).flatten(0, 1)  # (P S, C)
    count = int(labels.max()) + 1
    own = torch.cat([labels + count * p for p in range(found.shape[1])])
    _, matrix = learned_whitening(values, own, shrinkage, mine - mine.mean(dim=0))
    layer.weight.copy_(matrix)
    layer.bias.copy_(-(matrix @ mine.mean(dim=0)))


def fit_linear(
    head: PooledLinear, network: EfficientVPR, tokens: Sequence[Tokens], labels: Tensor,
    config: StartConfig,
) -> None:  # fmt: skip
    """Whiten the pooled maps and spread them, all cosines kept, over the descriptor."""
    with Recorder(head.linear) as calls:
        describe(network, tokens)
        pooled = torch.cat([call[0] for call in calls])  # (S, maps C)
    mean, matrix = learned_whitening(pooled, labels, config.shrinkage)
    nn.init.orthogonal_(head.linear.weight)
    head.linear.weight.copy_(head.linear.weight @ matrix)
    head.linear.bias.copy_(-(head.linear.weight @ mean))


def describe(network: EfficientVPR, tokens: Sequence[Tokens]) -> None:
    """Run the head, for a Recorder."""
    for some in tokens:
        with half(some.patches):
            network.describe(some)


def half(like: Tensor) -> torch.autocast:
    """The networks' products in bfloat16, on the device of `like`; what is solved for is not."""
    return torch.autocast(like.device.type, torch.bfloat16)


class Recorder:
    """Keeps what a module is called with, as float32, while it is entered."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __enter__(self) -> list[tuple[Tensor, ...]]:
        calls: list[tuple[Tensor, ...]] = []
        self._handle = self._module.register_forward_pre_hook(
            lambda _, inputs: calls.append(tuple(x.float() for x in inputs))
        )
        return calls

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def sample(rows: Tensor, share: int = 0) -> Tensor:
    """At most TOKENS rows, evenly spread; or every `share`-th."""
    return rows[:: share or max(1, len(rows) // TOKENS)]


def cluster(rows: Tensor, count: int) -> Tensor:
    """Unit centres (count, C) of the directions of `rows` (T, C), by spherical k-means."""
    kmeans = faiss.Kmeans(rows.shape[1], count, niter=20, spherical=True, seed=1)
    kmeans.train(F.normalize(rows, dim=1).cpu().numpy())
    return torch.from_numpy(kmeans.centroids).to(rows)


def zero(layer: nn.Linear) -> None:
    """Let a branch say nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
