# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loop closure on the robot by visual place recognition."""

__version__ = "0.1.0"
