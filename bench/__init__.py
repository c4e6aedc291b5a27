# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: ratios and medians, measured in one run on this machine."""
