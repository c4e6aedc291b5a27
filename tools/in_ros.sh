#!/bin/sh
# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
# Run a command with the ROS 2 of .venv and the packages of this clone, and no other ROS.
root=$(cd "$(dirname "$0")/.." && pwd)
venv="$root/.venv"
site=$(echo "$root"/install/vpr_msgs/lib/python3.*/site-packages)
export PATH="$venv/bin:$PATH"
tf2=$(echo "$root"/install/tf2_msgs/lib/python3.*/site-packages)
export AMENT_PREFIX_PATH="$root/install/vpr_ros:$root/install/vpr_msgs:$root/install/tf2_msgs:$venv"
export PYTHONPATH="$root:$site:$tf2:$(echo "$root"/install/vpr_ros/lib/python3.*/site-packages)"
export LD_LIBRARY_PATH="$root/install/vpr_msgs/lib:$root/install/tf2_msgs/lib"
exec "$@"
