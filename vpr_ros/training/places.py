# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places to train on: their views, which of them may be the same, and which look alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.core.images import Image
from vpr_ros.evaluation.image_set import DatasetError

Indices = npt.NDArray[np.int64]
View = str | Image  # a file, or the pixels themselves

NO_GROUP = -1


@dataclasses.dataclass(frozen=True, eq=False)
class PlaceSet:
    """Places of one source; two views of one place are positives of one another.

    Views of two places are negatives, unless the two overlap: then it is unknown whether they show
    the same, and they never meet in one batch. Overlaps do not reach into other sets.
    """

    name: str
    views: Sequence[Sequence[View]]  # P places, at least one view each
    overlaps: Sequence[Indices] = ()  # per place the others that may show the same; (): none
    # Places of one group look alike although they differ: hard negatives.
    groups: Indices | None = None  # (P,), NO_GROUP where none

    def __post_init__(self) -> None:
        if not self.views:
            raise DatasetError(f"{self.name} has no places. Is the data set complete?")
        for place, views in enumerate(self.views):
            if not len(views):
                raise DatasetError(f"{self.name}: place {place} has no views; leave it out.")
        if len(self.overlaps) not in (0, len(self)):
            raise DatasetError(
                f"{self.name} has {len(self)} places, but overlaps for {len(self.overlaps)}."
            )
        if self.groups is not None and len(self.groups) != len(self):
            raise DatasetError(
                f"{self.name} has {len(self)} places, but groups for {len(self.groups)}."
            )
        pairs = {(i, int(j)) for i, others in enumerate(self.overlaps) for j in others}
        for i, j in pairs:
            if i == j or (j, i) not in pairs:
                raise DatasetError(
                    f"{self.name}: place {i} overlaps {j}; overlaps join two places, both ways."
                )

    def __len__(self) -> int:
        return len(self.views)

    def only(self, chosen: Sequence[int]) -> PlaceSet:
        """The set of only these places, in this order."""
        number = {place: i for i, place in enumerate(chosen)}
        return PlaceSet(
            self.name,
            [self.views[place] for place in chosen],
            tuple(
                np.array([number[j] for j in map(int, self.overlaps[place]) if j in number], int)
                for place in chosen
            )
            if self.overlaps
            else (),
            None if self.groups is None else self.groups[list(chosen)],
        )

    def overlapping(self, place: int) -> Indices:
        """The other places that may show what `place` shows."""
        return self.overlaps[place] if self.overlaps else np.empty(0, np.int64)

    def group_members(self, place: int) -> Indices:
        """All places that look like `place`, itself included; empty if it has no group."""
        if self.groups is None or self.groups[place] == NO_GROUP:
            return np.empty(0, np.int64)
        return np.flatnonzero(self.groups == self.groups[place])


def overlaps_where(
    count: int, may_overlap: Callable[[int], npt.NDArray[np.bool_]]
) -> tuple[Indices, ...]:
    """Overlaps of `count` places; `may_overlap(i)` (count,) says which others place i meets."""
    found = []
    for place in range(count):
        row = may_overlap(place).copy()
        row[place] = False
        found.append(np.flatnonzero(row))
    return tuple(found)


def group_numbers(names: Sequence[str]) -> Indices:
    """Equal names to equal numbers (P,); "" to NO_GROUP."""
    known = {name: number for number, name in enumerate(sorted(set(names) - {""}))}
    return np.array([known.get(name, NO_GROUP) for name in names], np.int64)
