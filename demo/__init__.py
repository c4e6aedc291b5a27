# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's world, a route driven through it, and the bag that records the drive."""
