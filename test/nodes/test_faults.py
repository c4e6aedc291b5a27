# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The short form of `python -m bench.faults`, as far as it is about nodes; in one process."""

import pytest

from bench.faults import KINDS


@pytest.mark.parametrize("kind", ["process", "stops", "kills", "disks"])
def test_every_fault_is_survived(kind):
    make, _, short = KINDS[kind]
    counts = make(short, 0)
    assert counts and all(tried == survived > 0 for tried, survived in counts.values()), counts
