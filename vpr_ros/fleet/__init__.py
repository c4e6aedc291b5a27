# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What do the other robots know? A store of keyframes that several robots share."""
