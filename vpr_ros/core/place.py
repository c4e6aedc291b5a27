# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the database knows of a keyframe, and what a search returns."""

from __future__ import annotations

import dataclasses

from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.pose import Pose

# A place object with its numbers and strings, besides its arrays (measured: sys.getsizeof).
_PLACE_BYTES = 600


@dataclasses.dataclass(frozen=True)
class Place:
    """A keyframe in the database; its descriptor lies in the index."""

    sequence: int  # order of arrival
    session: int  # grows when time jumps back and when a map is loaded
    id: int
    stamp_ns: int
    sparsity: float
    frame: str
    pose: Pose | None
    pose_frame: str
    features: LocalFeatures | None

    @property
    def nbytes(self) -> int:
        """Memory besides the descriptor [bytes]."""
        return _PLACE_BYTES + (self.features.nbytes if self.features else 0)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A place that a search returned."""

    place: Place
    score: float  # cosine
