# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the ids of arriving keyframes reveal: lost keyframes, or two encoders at once."""

from __future__ import annotations

from collections import OrderedDict

from vpr_ros.core.keyframe import run_of

MAX_RUNS = 16  # remembered
LONGEST_GAP = 10_000  # a longer one is somebody's own way of counting


class KeyframeRuns:
    """The runs of encoders that keyframes come from; ids are consecutive within one."""

    def __init__(self) -> None:
        self.lost = 0  # keyframes that never arrived
        self._last_id: OrderedDict[int, int] = OrderedDict()  # by run, the latest run last

    def add(self, id: int) -> str:
        """Take note of an arrived keyframe; returns a complaint, or "" if all is well."""
        run = run_of(id)
        known = run in self._last_id
        came_back = known and next(reversed(self._last_id)) != run
        last = self._last_id.get(run, id)
        self._last_id[run] = max(id, last)
        self._last_id.move_to_end(run)
        if len(self._last_id) > MAX_RUNS:
            self._last_id.popitem(last=False)
        gap = id - last - 1
        if 0 < gap <= LONGEST_GAP:
            self.lost += gap
            return (
                f"{gap} keyframes before {id} did not arrive; {self.lost} so far. The network or "
                "this machine is overloaded."
            )
        if came_back:
            return (
                "Keyframes of two encoders arrive on one topic, so one closes loops with those of "
                "the other. Start each robot in a namespace of its own."
            )
        return ""
