# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of several rooms share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for network_costs.py, beside this file


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real images beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images of {folder} are not on this machine")
    return folder
