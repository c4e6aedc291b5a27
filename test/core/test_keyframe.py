# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ids of keyframes need no clock."""

from vpr_ros.core.keyframe import random_first_id


def test_first_ids_fit_and_differ():
    firsts = [random_first_id() for _ in range(2000)]
    assert all(0 < first < 2**63 for first in firsts)
    assert len({first >> 23 for first in firsts}) == 2000  # each has 8 million ids to itself
    assert all(first & (2**23 - 1) == 1 for first in firsts)
