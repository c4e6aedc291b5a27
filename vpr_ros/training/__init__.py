# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How is a network trained? The only room that reads training data; with torch, without ROS."""
