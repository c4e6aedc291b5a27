# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of several rooms share."""

from importlib.util import find_spec
from pathlib import Path

import pytest

# Library -> tests that cannot be imported without it: `colcon test` on a robot runs the others.
COMMAND = (  # needs the extra `cli`
    "bench",
    "core/test_map_merge.py",
    "core/test_model_digest.py",
    "core/test_model_trial.py",
    "core/test_operators.py",
    "core/test_providers.py",
    "demo",
    "evaluation",
    "export",
    "kernels",
    "networks",
    "nodes/test_faults.py",
    "nodes/test_route.py",
    "nodes/test_sparsity.py",
    "test_cli.py",
    "tools",
    "training",
)
GRAPH = (
    "mapping/test_graph_solver.py",
    "mapping/test_pose_graph.py",
    "nodes/test_mapping_nodes.py",
)
NEEDED = {
    **dict.fromkeys(("matplotlib", "onnx", "rich", "rosbags", "scipy", "typer"), COMMAND),
    "torch": ("export", "kernels", "networks", "tools/test_render_places.py", "training"),
    "vizdoom": ("demo", "tools/test_render_places.py"),
    "rclpy": ("nodes", "demo"),
    "vpr_msgs.msg._keyframe": ("nodes", "demo"),  # vpr_msgs alone is also a folder of the sources
    "gtsam": GRAPH,
}


def is_missing(library):
    """Whether it cannot be imported."""
    try:
        return find_spec(library) is None
    except ImportError:  # not even the package around it
        return True


MISSING = [library for library in NEEDED if is_missing(library)]
collect_ignore = sorted({name for library in MISSING for name in NEEDED[library]})


def pytest_report_header():
    if MISSING:
        return f"not tested: {', '.join(collect_ignore)}; not installed: {', '.join(MISSING)}"
    return None


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real images beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images of {folder} are not on this machine")
    return folder
