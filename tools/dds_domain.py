# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DDS for tests, measurements and demos: a domain that nobody else hears, room for raw images."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

HIGHEST = 101  # beyond, a domain's ports clash with those that Linux hands out
# In turn: a node that was killed is remembered for a while by those of its domain.
_turn = itertools.cycle(random.sample(range(1, HIGHEST + 1), HIGHEST))


PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
# Between the end of other processes and that of this one's participant, which may hang if it is
# destroyed while others leave: see vpr_ros.nodes.start.exit_after.
FAREWELL_S = 0.3


def send_raw_images() -> None:
    """Give this process, which is to send them, shared memory that holds some (32 MB).

    Before its first rclpy.init(). Nodes that only receive them need none: they are started
    without this variable.
    """
    os.environ.setdefault(PROFILE, str(Path(__file__).parents[1] / "config" / "fastdds.xml"))


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
