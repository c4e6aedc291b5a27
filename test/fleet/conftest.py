# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of the fleet import robots.py, beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
