# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every room keeps to its imports, and every file says whose it is."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MESSAGES = {"builtin_interfaces", "rcl_interfaces", "std_srvs", "vpr_msgs"}
ROS = {"rclpy", "cv_bridge", "ament_index_python", "launch", "launch_ros", *MESSAGES}
WITHOUT_TORCH = ("core", "nodes", "evaluation", "kernels")
TORCH_ROOMS = ("networks", "training", "export")
HEADER = "# Copyright 2026 The vpr_ros authors\n# SPDX-License-Identifier: Apache-2.0\n"


def imported(source):
    """(line, top-level name) of every import, inside functions and of modules by string too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name.split(".")[0]) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module.split(".")[0]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, node.args[0].value.split(".")[0]


def rooms_used(source):
    """(line, room) of every import from another part of vpr_ros."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vpr_ros."):
            yield node.lineno, node.module.split(".")[1]


def is_ros(name):
    return name in ROS or name.endswith(("_msgs", "_srvs"))


def breaches(path, source):
    """Every import in a file of vpr_ros that its room may not make."""
    room = path.parts[1] if len(path.parts) > 2 else ""
    for line, name in imported(source):
        if (is_ros(name) and room != "nodes") or (name == "torch" and room in WITHOUT_TORCH):
            yield f"{path}:{line} imports {name}"
    for line, other in rooms_used(source):
        if (room == "core" and other != "core") or (other == "nodes" and room != "nodes"):
            yield f"{path}:{line} imports vpr_ros.{other}"
        elif room in WITHOUT_TORCH and other in TORCH_ROOMS:
            yield f"{path}:{line} imports vpr_ros.{other}, which imports torch"


def test_rooms_import_only_what_they_may():
    files = sorted((ROOT / "vpr_ros").rglob("*.py"))
    assert len(files) > 20
    found = [b for f in files for b in breaches(f.relative_to(ROOT), f.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("vpr_ros/core/a.py", "import rclpy.node", 1),
        ("vpr_ros/core/a.py", "def f():\n    from sensor_msgs.msg import Image", 1),
        ("vpr_ros/core/a.py", "import importlib\nimportlib.import_module('torch')", 1),
        ("vpr_ros/core/a.py", "from vpr_ros.networks.vit import ViT", 1),
        ("vpr_ros/core/a.py", "import cv2, faiss\nfrom vpr_ros.core.pose import Pose", 0),
        ("vpr_ros/nodes/a.py", "import rclpy\nimport cv_bridge\nimport vpr_msgs.msg", 0),
        ("vpr_ros/networks/a.py", "import torch", 0),
        ("vpr_ros/training/a.py", "import torch\nfrom vpr_ros.nodes.run import run", 1),
        ("vpr_ros/evaluation/a.py", "import torch\nimport rosbags", 1),
        ("vpr_ros/evaluation/a.py", "from vpr_ros.networks.vit import ViT", 1),
        ("vpr_ros/cli.py", "import rclpy", 1),
    ],
)
def test_the_rules_themselves(path, source, count):
    assert len(list(breaches(Path(path), source))) == count


def test_every_python_file_has_the_licence_header():
    listed = subprocess.run(
        ["git", "ls-files", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    files = [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]
    assert files
    bare = [str(f) for f in files if not re.match(f"(#!.*\n)?{HEADER}", f.read_text())]
    assert not bare, "without the SPDX header: " + ", ".join(bare)
