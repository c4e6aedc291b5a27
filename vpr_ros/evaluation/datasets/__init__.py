# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image-retrieval data sets: one file per layout."""
