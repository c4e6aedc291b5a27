# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of an evaluation."""
