# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Altered maps do no harm; `python -m bench.faults maps` tries 10,000."""

from bench.map_faults import RAW, SEMANTIC, mutated_maps


def test_altered_maps_do_no_harm():
    found = mutated_maps(390, seed=1)
    assert len(found) == len(RAW) + len(SEMANTIC)
    assert all(tried == survived == 30 for tried, survived in found.values()), found
