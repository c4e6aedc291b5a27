# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node ends with 0 and without a traceback whenever it is told to stop."""

from bench.process_faults import stops


def test_a_node_may_be_stopped_at_any_moment():
    for kind, (tried, survived) in stops(4).items():
        assert tried == survived > 0, kind
