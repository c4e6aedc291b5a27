# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every room imports what docs/architecture.md allows, and every file keeps to the rules."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEADER = "# Copyright 2026 The vpr_ros authors\n# SPDX-License-Identifier: Apache-2.0\n"
LINES = 400  # no source file is longer
SHARED_NAMES = {"__init__.py", "__main__.py"}
ROS = {"rclpy", "cv_bridge", "ament_index_python", "launch", "launch_ros", "builtin_interfaces"}
ROS |= {"rcl_interfaces", "diagnostic_updater"}
EVERYTHING = "everything"


def table():
    """The table of rooms: room -> (rooms, libraries) it may import."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    _, _, text = page.partition("| room | question | rooms it may import | libraries |\n")
    assert text, "docs/architecture.md has no table of rooms"
    allowed = {}
    for line in text.splitlines()[1:]:
        if not line.startswith("|"):
            break
        rooms, _, others, libraries = (cell.strip() for cell in line.strip("|").split("|"))
        split = [set(re.findall(r"[\w/.]+(?: 2)?", cell)) for cell in (others, libraries)]
        for room in re.findall(r"`([\w/.]+)`", rooms):
            allowed[room] = tuple(split)
    return allowed


ALLOWED = table()


def room_of(path):
    """The row of the table that a file belongs to."""
    if path.parts[0] != "vpr_ros":
        return path.parts[0]
    return "/".join(path.parts[:2])


def imports(source):
    """(line, module) of every import, also inside functions and of modules named by a string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the project has no relative imports"
            if node.module == "vpr_ros":
                yield from ((node.lineno, f"vpr_ros.{name.name}") for name in node.names)
            else:
                yield node.lineno, node.module
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, node.args[0].value


def breaches(path, source):
    """Every import in a file that the table does not allow its room."""
    room = room_of(path)
    rooms, libraries = ALLOWED.get(room, (set(), set()))
    for line, module in imports(source):
        top, *rest = module.split(".")
        if top in sys.stdlib_module_names or EVERYTHING in rooms | libraries:
            continue
        if top == "vpr_ros":
            other = rest[0] if rest else ""
            ok = other in rooms or f"vpr_ros/{other}" == room
        elif top in ROS or top.endswith(("_msgs", "_srvs")):
            ok = "ROS 2" in libraries
        else:
            ok = top in libraries
        if not ok:
            yield f"{path}:{line} imports {module}"


def tracked(*patterns):
    """The project's files outside test/."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [Path(name) for name in listed.stdout.split() if (ROOT / name).exists()]


def sources(*patterns):
    """The same, without the tests."""
    found = [path for path in tracked(*patterns) if path.parts[0] != "test"]
    assert len(found) > 20
    return found


def test_rooms_import_only_what_the_table_allows():
    found = [
        breach
        for path in sources("*.py")
        if path.name != "setup.py"
        for breach in breaches(path, (ROOT / path).read_text())
    ]
    assert not found, "\n".join(found)


def test_the_table_has_a_row_for_every_room_and_no_other():
    rooms = {room_of(path) for path in sources("*.py") if len(path.parts) > 1}
    assert rooms - {"vpr_ros/__init__.py"} == set(ALLOWED)


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("vpr_ros/core/a.py", "import rclpy.node", 1),
        ("vpr_ros/core/a.py", "def f():\n    from sensor_msgs.msg import Image", 1),
        ("vpr_ros/core/a.py", "import importlib\nimportlib.import_module('torch')", 1),
        ("vpr_ros/core/a.py", "from vpr_ros.networks.vit import ViT", 1),
        ("vpr_ros/core/a.py", "from vpr_ros import networks", 1),
        ("vpr_ros/core/a.py", "import cv2, faiss\nfrom vpr_ros.core.pose import Pose", 0),
        ("vpr_ros/nodes/a.py", "import rclpy\nimport vpr_msgs.msg", 0),
        ("vpr_ros/nodes/a.py", "from vpr_ros.evaluation.evaluated_drive import Drive", 1),
        ("vpr_ros/networks/a.py", "import torch", 0),
        ("vpr_ros/training/a.py", "import torch\nfrom vpr_ros.nodes.run import run", 1),
        ("vpr_ros/evaluation/a.py", "import torch\nimport rosbags", 1),
        ("vpr_ros/evaluation/a.py", "from vpr_ros.networks.vit import ViT", 1),
        ("vpr_ros/cli.py", "import rclpy", 1),
        ("vpr_ros/new_room/a.py", "import numpy", 1),
        ("demo/a.py", "import rclpy, torch\nfrom vpr_ros.nodes.run import run", 0),
    ],
)
def test_the_rules_themselves(path, source, count):
    assert len(list(breaches(Path(path), source))) == count


def test_every_python_file_has_the_licence_header():
    files = tracked("*.py")
    bare = [f for f in files if not re.match(f"(#!.*\n)?{HEADER}", (ROOT / f).read_text())]
    assert not bare, f"without the SPDX header: {bare}"


def test_every_module_says_what_it_is():
    silent = [
        f for f in sources("*.py") if not ast.get_docstring(ast.parse((ROOT / f).read_text()))
    ]
    assert not silent, f"without a docstring: {silent}"


def test_no_source_file_is_too_long_to_read():
    files = sources("*.py", "*.cpp", "*.hpp", "*.sh")
    lengths = {str(f): len((ROOT / f).read_text().splitlines()) for f in files}
    assert not {name: count for name, count in lengths.items() if count > LINES}


def test_a_file_name_leads_to_one_file():
    names = Counter(
        f.name for f in sources("*.py", "*.cpp", "*.hpp") if f.name not in SHARED_NAMES
    )
    assert not [name for name, count in names.items() if count > 1]
