# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of several rooms share."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Library -> tests that cannot be imported without it: `colcon test` on a robot runs the others.
NEEDED = {
    "torch": ("export", "kernels", "networks", "tools/test_render_places.py", "training"),
    "vizdoom": ("demo",),
    "rclpy": ("nodes", "demo"),
}
MISSING = [library for library in NEEDED if find_spec(library) is None]
collect_ignore = [name for library in MISSING for name in NEEDED[library]]


def pytest_report_header():
    if MISSING:
        return f"not tested: {', '.join(collect_ignore)}; not installed: {', '.join(MISSING)}"
    return None


sys.path.insert(0, str(Path(__file__).parent))  # for network_costs.py, beside this file


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real images beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images of {folder} are not on this machine")
    return folder
