# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What became of the keyframes of a drive, counted."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Generic, Protocol, TypeVar

from vpr_ros.evaluation.curve import Curve


class Outcome(enum.Enum):
    """What became of one keyframe."""

    RIGHT = "right closure"
    WRONG = "wrong closure"
    MISSED = "missed"  # there is a true older place, and no closure
    NEW = "nothing to find"  # no true older place, and no closure
    UNKNOWN = "not judged"  # the truth does not know the query or the match


class Judged(Protocol):
    """One keyframe with its outcome."""

    @property
    def outcome(self) -> Outcome:
        """What became of it."""

    @property
    def true(self) -> object | None:
        """The nearest true older place; None: nothing to find."""


V = TypeVar("V", bound=Judged)


@dataclasses.dataclass(frozen=True)
class Tally(Generic[V]):
    """All keyframes judged; NaN where there is nothing to divide by."""

    verdicts: list[V]
    curve: Curve

    def count(self, outcome: Outcome) -> int:
        """Keyframes of this outcome."""
        return sum(v.outcome is outcome for v in self.verdicts)

    @property
    def revisits(self) -> int:
        """Keyframes that have a true older place."""
        return sum(v.true is not None for v in self.verdicts)

    @property
    def precision(self) -> float:
        """Right closures / closures that can be judged."""
        right, wrong = self.count(Outcome.RIGHT), self.count(Outcome.WRONG)
        return right / (right + wrong) if right + wrong else math.nan

    @property
    def recall(self) -> float:
        """Keyframes with a right closure / keyframes with a true older place."""
        return self.count(Outcome.RIGHT) / self.revisits if self.revisits else math.nan
