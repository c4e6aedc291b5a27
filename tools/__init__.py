# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What developers run: setting up, and generating documents from the code."""
