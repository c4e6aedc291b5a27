# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that carry their configuration, for every network of this package."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vpr_ros.core.config import Config
from vpr_ros.core.errors import ModelError
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

FORMAT = 1

# Name in the file -> network and its configuration.
NETWORKS: dict[str, tuple[type[nn.Module], type[Config]]] = {
    "efficientvpr": (EfficientVPR, EfficientVPRConfig),
    "tat_vpr": (TatVPR, TatVPRConfig),
}


def save_checkpoint(path: Path, network: nn.Module, notes: dict[str, Any] | None = None) -> None:
    """Write network, configuration and `notes` (plain values: training data, licence, scores).

    The file appears whole or not at all.
    """
    if not isinstance(network, (EfficientVPR, TatVPR)):
        raise ModelError(
            f"Cannot save a {type(network).__name__}; give one of {', '.join(NETWORKS)}."
        )
    content = {
        "format": FORMAT,
        "network": "efficientvpr" if isinstance(network, EfficientVPR) else "tat_vpr",
        "config": dataclasses.asdict(network.config),
        "state": network.state_dict(),
        "notes": notes or {},
    }
    temporary = path.with_name(path.name + ".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a file that `save_checkpoint` wrote, and not other weights."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {"format", "network", "config", "state"} <= set(content)
    except Exception:  # torch.load raises many types for what is not its file
        return False


def why_unreadable(error: Exception) -> str:
    """Why a file could not be loaded, in one line, without torch's advice to trust it."""
    reason = (str(error).strip() or type(error).__name__).split("\n")[0]
    return "it is no file of tensors alone" if "weights_only" in reason else reason


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in evaluation mode and the notes; ModelError if the file is not whole."""
    if not path.is_file():
        raise ModelError(f"Checkpoint {path} does not exist. Give a file written by training.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise ModelError(
                f"{path} has checkpoint format {content['format']}; this version reads {FORMAT}. "
                "Train again or use the version that wrote it."
            )
        network_type, config_type = NETWORKS[content["network"]]
        network = network_type(config_type.from_dict(content["config"]))
        network.load_state_dict(content["state"], strict=True)
        return network.eval(), content["notes"]
    except ModelError:
        raise
    except Exception as error:  # torch.load raises many types for a broken file
        reason = why_unreadable(error)
        raise ModelError(
            f"{path} is not a readable checkpoint ({reason}). Give a file written by training."
        ) from None
