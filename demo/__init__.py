# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered building, a drive through it, and the nodes that watch it live."""
