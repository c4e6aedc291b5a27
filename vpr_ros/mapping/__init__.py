# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a loop closure corrects: the trajectory, and where the robot is on a map."""
