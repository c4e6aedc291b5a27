# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a new model must beat: simple methods in the same harness."""
