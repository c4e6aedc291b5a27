# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of loop closure."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vpr_ros.core.calibration import Calibration, interpolated, read_calibrations
from vpr_ros.core.config import Config, param


@dataclasses.dataclass(frozen=True)
class LoopConfig(Config):
    """When a match becomes a loop closure."""

    group: ClassVar[str] = "loop"

    score_threshold: float = param(
        -1.0,
        "cosine below which no candidate is considered, at every sparsity; -1: the threshold in "
        "loop.calibration or, lowered to allow for changed light, in the model file",
        minimum=-1.0,
        maximum=1.0,
    )
    calibration: str = param(
        "",
        "thresholds per sparsity from `vpr calibrate`, interpolated linearly: rows of sparsity "
        "and score, separated by ';' or newline; optional first row 'model NAME'. If this is "
        "empty or names another model, the thresholds in the model file apply",
    )
    candidates: int = param(
        20, "number of candidates to search for and publish", minimum=1, maximum=1000
    )
    place_keyframes: int = param(
        5,
        "keyframes at most this many apart count as one place",
        minimum=0,
        maximum=1000,
    )
    precision: float = param(
        0.993,
        "required share of right closures among the published ones; a higher value gives fewer "
        "but surer closures",
        minimum=0.5,
        maximum=0.999,
    )
    verified_candidates: int = param(
        5,
        "number of candidates, from all places, whose local features are compared; 0: none, and "
        "nothing closes unless score_threshold or calibration is set",
        minimum=0,
        maximum=100,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        read_calibrations(self.calibration)

    def calibrated_for_another(self, model: str, digest: str = "") -> str:
        """The model that `calibration` names if it is not this one; otherwise ""."""
        return read_calibrations(self.calibration).of_another(model, digest)

    def sets_score(self, model: str, digest: str = "") -> bool:
        """Whether the user gave a score threshold for this model."""
        table = bool(read_calibrations(self.calibration).points)
        return self.score_threshold != -1.0 or (
            table and not self.calibrated_for_another(model, digest)
        )

    def calibration_at(
        self, sparsity: float, own: Calibration, model: str, digest: str = ""
    ) -> Calibration:
        """The user's threshold at a sparsity if there is one, otherwise the model's `own`.

        The model's own threshold comes with the keyframe, and its sender may be wrong about it. So
        where the score alone decides, only the user's threshold counts; it is NaN if there is
        none.
        """
        if not self.verified_candidates:
            own = Calibration(sparsity)
        points = read_calibrations(self.calibration).points
        if self.calibrated_for_another(model, digest):
            points = ()
        found = interpolated(points, sparsity) if points else own
        if self.score_threshold == -1.0:
            return found
        return dataclasses.replace(found, score_threshold=self.score_threshold)
