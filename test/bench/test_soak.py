# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""With a full database, laps go on as they began."""

from bench.soak import drive


def test_the_last_lap_is_like_the_first_with_a_full_database():
    places = 20
    laps = list(drive(laps=24, places=places, max_keyframes=3 * places))
    full, last = laps[5], laps[-1]
    assert sum(lap.wrong for lap in laps) == 0
    assert full.closures > 0.8 * places and last.closures >= 0.9 * full.closures
    assert full.kept == last.kept == 3 * places
    assert last.database_mb < 1.1 * full.database_mb
    assert last.keyframe_ms < 3 * full.keyframe_ms  # it was 14 times as much
