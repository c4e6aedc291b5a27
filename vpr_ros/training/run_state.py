# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a run is, on disk, so that it can be cut off at any time."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vpr_ros.core.errors import ModelError


@dataclasses.dataclass
class RunState:
    """All that is needed to go on."""

    stage: int = 0  # number of the stage
    step: int = 0  # batches of that stage, dealt to all processes
    minutes: float = 0.0  # trained so far
    best: float = float("-inf")  # highest mean of the validation's measures
    network: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    rates: dict[str, Any] | None = None  # the optimiser's state; None at a stage's start
    extra: dict[str, Tensor] | None = None  # of the stage; None at its start

    def save(self, path: Path) -> None:
        """Write all; the file appears whole or not at all."""
        temporary = path.with_name(path.name + ".part")
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        torch.save(content, temporary)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> RunState:
        """What `save` wrote; a fresh state if there is no file."""
        if not path.is_file():
            return cls()
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch.load raises many types for a broken file
            reason = str(error).strip().split("\n")[0]
            raise ModelError(
                f"{path} is not the state of a run ({reason}). Remove it to start anew."
            ) from None


def next_epoch(step: int, batches: int) -> int:
    """The first batch of the epoch after that of `step`, at an epoch's start `step` itself.

    Several processes are dealt as many batches each; those left over at the end of an epoch are
    dealt to no one.
    """
    return -(-step // batches) * batches
