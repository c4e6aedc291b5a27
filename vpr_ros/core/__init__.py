# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How does the robot recognise a place? Pure Python: never rclpy, never torch."""
