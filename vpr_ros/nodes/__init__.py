# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How does it talk to ROS? The only room with rclpy, cv_bridge and messages."""
