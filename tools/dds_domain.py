# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A DDS domain of one's own, so that tests, measurements and demos never hear one another."""

from __future__ import annotations

import itertools
import random
import socket

HIGHEST = 101  # beyond, a domain's ports clash with those that Linux hands out
# In turn: a node that was killed is remembered for a while by those of its domain.
_turn = itertools.cycle(random.sample(range(1, HIGHEST + 1), HIGHEST))


def free_domain() -> tuple[int, socket.socket]:
    """A value for ROS_DOMAIN_ID that nobody else on this machine has, and what holds it.

    That is a socket with an abstract name (Linux), which only one can bind; it gives the domain
    free when it is closed, or its process ends. Raises RuntimeError if all domains are taken.
    """
    for domain in itertools.islice(_turn, HIGHEST):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0vpr_ros domain {domain}")
        except OSError:
            holder.close()
            continue
        return domain, holder
    raise RuntimeError(f"all {HIGHEST} DDS domains are taken; wait for other runs to end")
