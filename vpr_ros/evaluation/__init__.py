# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good is it? Bags and image sets through the very objects of the nodes."""
