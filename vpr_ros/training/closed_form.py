# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR before its first step: prompts and head fitted to the backbone's tokens.

A head of 7.7 M random weights needs thousands of steps before it is as good as the mean of the
tokens it is given, and a CPU cannot make that many. So whatever can be computed is computed:

- Prompt p of every layer is the mean of the patch tokens, at that layer, of one of N_p clusters of
  the last layer's patches. Prototypes of tokens are good prompts (Wang et al., ICML 2024), and as
  queries each finds its own kind of patch.
- Residual branches start at zero, OLE's convolutions at identity: the local features are the patch
  tokens.
- The selecting attention compares prompts and patches in their principal directions; its result
  passes through a learned whitening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import faiss
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import MIX, OLE, EfficientVPR, SceneVPT
from vpr_ros.networks.heads.pooling import QueryPool
from vpr_ros.networks.vit import CrossAttention, Tokens, Vit

CLUSTERED = 4  # batches whose tokens are clustered
TOKENS = 20_000  # enough for clusters and principal directions
LOUDNESS = 3.0  # scale of what was selected, relative to the prompt that selected it
SHARPNESS = 8.0  # of the selecting attention's logits
SHRINKAGE = 0.3  # of the whitening's covariance


@torch.no_grad()
def start_in_closed_form(
    network: EfficientVPR,
    batches: Sequence[tuple[Tensor, Tensor]],
    say: Callable[[str], None] = print,
    taught: QueryPool | None = None,
) -> None:
    """Fit the prompts and the head of `network` to batches of images (B, 3, H, W), labels (B,).

    If the backbone was trained under the head `taught`, the head starts as that one instead.
    """
    network.eval()
    set_prompts(network.backbone, [images for images, _ in batches])
    silence_branches(network)
    tokens = []
    for images, _ in batches:
        with half(images):
            tokens.append(network.backbone(images))
    labels = torch.cat([labels for _, labels in batches])
    if taught is not None:
        take_queries(network, taught, tokens)
    else:
        fit_head(network, tokens, labels)
    say(f"Closed-form start: prompts and head fitted to {len(labels)} views.")


@torch.no_grad()
def set_prompts(tuned: SceneVPT, batches: Sequence[Tensor]) -> None:
    """Set every layer's prompts to prototypes of its patch tokens, cluster by cluster."""
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
    """The patches (B N, C) that each block is given, and the final-normed ones of the last."""
    found = []
    with half(images):
        x, _ = vit.embed(images)
        for block in vit.blocks:
            found.append(x[:, 1:])
            x = block(x)
        found.append(vit.norm(x)[:, 1:])
    return [patches.flatten(0, 1).float() for patches in found]


def silence_branches(network: EfficientVPR) -> None:
    """Let the modules before the selection pass the patch tokens on unchanged."""
    for layer in (
        network.msia.attention.out,
        network.msia.mlp.narrow,
        network.selector.refine.out,
        network.selector.refine_mlp.narrow,
        network.selector.select_mlp.narrow,
    ):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    pass_through(network.ole)


def pass_through(ole: OLE) -> None:
    """Both convolutions to identity, joined to the vertical one's output.

    The horizontal one's share is small instead of zero, so that it learns from the first step.
    """
    dim = ole.join.out_channels
    for convolution in (ole.horizontal, ole.vertical):
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    ole.join.weight.mul_(0.1)
    ole.join.weight[:, dim:, 0, 0] = torch.eye(dim)
    nn.init.zeros_(ole.join.bias)


def fit_head(network: EfficientVPR, tokens: Sequence[Tokens], labels: Tensor) -> None:
    """Fit selection and whitening to the backbone's tokens of S views; project at random."""
    select = network.selector.select
    calls = recorded_calls(select, network, tokens)
    queries = torch.cat([call[0] for call in calls])
    patches = sample(torch.cat([sample(call[1].flatten(0, 1), 4) for call in calls]))
    fit_queries(select, queries, patches)
    calls = recorded_calls(select.out, network, tokens)
    found = torch.cat([call[0] for call in calls])  # (S, P, C)
    whiten(select.out, found, labels)
    loud = torch.cat([select.out(part).flatten() for part in found.split(64)]).std()
    factor = LOUDNESS * torch.cat([t.prompts for t in tokens if t.prompts is not None]).std()
    select.out.weight.mul_(factor / loud)
    select.out.bias.mul_(factor / loud)
    projection = network.mix if network.config.projection == MIX else network.compress
    nn.init.orthogonal_(projection.weight)
    nn.init.zeros_(projection.bias)


def take_queries(network: EfficientVPR, taught: QueryPool, tokens: Sequence[Tokens]) -> None:
    """Let the selection ask the patches what the head `taught` asks, with prompts as queries.

    All heads are alike: a key is a patch's logits in `taught`, one for each of its queries, and
    prompt p, whatever image it is of, is mapped to the p-th of them. ConfigError if the numbers
    do not fit. What `taught` has behind its queries is taken over as it is.
    """
    select, config = network.selector.select, network.config
    asked, size = taught.ask.out_features, config.dim // config.heads
    if config.projection != MIX or asked != config.prompts or asked > size:
        raise ConfigError(
            f"A head of {asked} queries starts a network with as many prompts, at most {size} "
            f"(dim / heads), and projection '{MIX}', not {config.prompts} and "
            f"'{config.projection}'."
        )
    queries = torch.cat([call[0] for call in recorded_calls(select, network, tokens)])
    mean = queries.mean(dim=(0, 1))
    rows = (queries - mean).flatten(0, 1)  # (S P, C)
    wanted = size**0.5 * (torch.eye(asked) - 1 / asked).repeat(len(queries), 1)
    moments = rows.T @ rows
    moments.diagonal().add_(1e-3 * moments.diagonal().mean())
    found = torch.linalg.solve(moments, rows.T @ wanted).T  # (P, C)
    unused = found.new_zeros(size - asked, config.dim)
    query, key = torch.cat([found, unused]), torch.cat([taught.ask.weight, unused])
    select.q.weight.copy_(query.repeat(config.heads, 1))
    select.q.bias.copy_(-(query @ mean).repeat(config.heads))
    select.kv.weight.copy_(torch.cat([key.repeat(config.heads, 1), torch.eye(config.dim)]))
    nn.init.zeros_(select.kv.bias)
    select.out.load_state_dict(taught.whiten.state_dict())
    picked = torch.cat([taught.whiten(taught.pick(t.patches.float())).flatten() for t in tokens])
    prompts = torch.cat([t.prompts.flatten() for t in tokens if t.prompts is not None])
    factor = LOUDNESS * prompts.float().std() / picked.std()
    select.out.weight.mul_(factor)
    select.out.bias.mul_(factor)
    network.selector.norm5.load_state_dict(taught.norm.state_dict())
    network.mix.load_state_dict(taught.mix.state_dict())
    if network.project and taught.project and taught.descriptor_size == config.size:
        network.project.load_state_dict(taught.project.state_dict())


def fit_queries(attention: CrossAttention, queries: Tensor, patches: Tensor) -> None:
    """Compare queries (S, P, C) and patches (T, C) in the patches' principal directions.

    All heads are alike, and values pass unchanged. The logit of an average query and patch is
    their cosine times SHARPNESS.
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
    query = basis * SHARPNESS * size**0.5 / of_queries.norm(dim=1).mean()
    attention.q.weight.copy_(query.repeat(heads, 1))
    attention.q.bias.copy_(-(query @ usual.mean(dim=0)).repeat(heads))
    attention.kv.weight.copy_(torch.cat([key.repeat(heads, 1), torch.eye(dim)]))
    attention.kv.bias.copy_(torch.cat([-(key @ mean).repeat(heads), torch.zeros(dim)]))


def whiten(layer: nn.Linear, found: Tensor, labels: Tensor) -> None:
    """Make `layer` the learned whitening of its inputs (S, P, C), which have S labels.

    Each prompt's mean over all places says nothing about a place: it counts as nuisance.
    """
    mine = found.mean(dim=0)  # (P, C)
    values = (found - mine).transpose(0, 1).flatten(0, 1)  # (P S, C)
    count = int(labels.max()) + 1
    own = torch.cat([labels + count * p for p in range(found.shape[1])])
    matrix = learned_whitening(values, own, nuisance=mine - mine.mean(dim=0))
    layer.weight.copy_(matrix)
    layer.bias.copy_(-(matrix @ mine.mean(dim=0)))


def learned_whitening(
    values: Tensor, labels: Tensor, shrinkage: float = SHRINKAGE, nuisance: Tensor | None = None
) -> Tensor:
    """Symmetric map (C, C) after which values (S, C) vary equally within places (S,) everywhere.

    The inverse root of the covariance within places (Mikolajczyk and Matas, ICCV 2007; Radenovic
    et al., TPAMI 2019, section 3.3, without their rotation, which changes no cosine).
    """
    variances, directions = variation_within(values, labels, shrinkage, nuisance)
    return directions * variances.rsqrt() @ directions.T


def variation_within(
    values: Tensor, labels: Tensor, shrinkage: float = SHRINKAGE, nuisance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Variances (C,) within places, ascending, and their directions, the columns of (C, C).

    For values (S, C) with place labels (S,). `shrinkage` times the mean variance is added in
    every direction, since a few hundred places leave the small ones uncertain. `nuisance` (N, C)
    is further variation that says nothing about a place.
    """
    _, number = torch.unique(labels, return_inverse=True)
    count = torch.bincount(number).to(values.dtype)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, number, values)
    within = values - (sums / count[:, None])[number]
    covariance = within.T @ within / len(within)
    if nuisance is not None:
        covariance = covariance + nuisance.T @ nuisance / len(nuisance)
    covariance.diagonal().add_(shrinkage * covariance.diagonal().mean())
    variances, directions = torch.linalg.eigh(covariance)
    return variances, directions


def half(like: Tensor) -> torch.autocast:
    """Networks' matrix products in bfloat16 on the device of `like`; solvers keep float32."""
    return torch.autocast(like.device.type, torch.bfloat16)


def recorded_calls(
    module: nn.Module, network: EfficientVPR, tokens: Iterable[Tokens]
) -> list[tuple[Tensor, ...]]:
    """The inputs of `module`, as float32, while the head describes each of `tokens`."""
    calls: list[tuple[Tensor, ...]] = []
    handle = module.register_forward_pre_hook(
        lambda _, inputs: calls.append(tuple(x.float() for x in inputs))
    )
    for some in tokens:
        with half(some.patches):
            network.describe(some)
    handle.remove()
    return calls


def sample(rows: Tensor, every: int = 0) -> Tensor:
    """Every `every`-th row; without it at most about TOKENS rows, evenly spaced."""
    return rows[:: every or max(1, len(rows) // TOKENS)]


def cluster(rows: Tensor, count: int) -> Tensor:
    """Unit centres (count, C) of the directions of `rows` (T, C), by spherical k-means."""
    kmeans = faiss.Kmeans(rows.shape[1], count, niter=20, spherical=True, seed=1)
    kmeans.train(F.normalize(rows, dim=1).cpu().numpy())
    return torch.from_numpy(kmeans.centroids).to(rows)
