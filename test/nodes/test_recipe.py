# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The README's lines for a robot and the examples, run as they stand: they close loops.

A folder stands in for ROS 2 from apt and what rosdep brings, and vpr_msgs is not built again.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import packages_distributions
from pathlib import Path

import cv2
import pytest
from messages import odometry, raw
from nav_msgs.msg import Odometry
from robot import Robot, read_errors
from sensor_msgs.msg import Image

from demo.processes import RUN, end_with_parent
from tools.dds_domain import free_domain
from vpr_msgs.msg import Query

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages")
FROM_ROSDEP = ("cv2", "yaml", "cv_bridge")
SECTION = (ROOT / "README.md").read_text().partition("\n## On a robot\n")[2]
RECIPE = re.search(r"(?:^    .*\n)+", SECTION, re.MULTILINE)[0]
*LINES, LAUNCH = [line[4:] for line in RECIPE.replace("\\\n", "").splitlines()]


def own_line(start):
    """The README's only line that starts so."""
    (line,) = (line for line in LINES if line.startswith(start))
    return line


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """This tree as a repository to clone, with what is not committed yet."""
    folder = tmp_path_factory.mktemp("repository")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout, so there is nothing to clone")
    for name in done.stdout.strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm a"
    subprocess.run(git, shell=True, cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def workspace(repository, tmp_path_factory):
    """(folder, environment) of ~/ros2_ws after all lines but the launch."""
    if not Path("/usr/bin/colcon").is_file():
        pytest.skip("no colcon outside the venv; on Debian: apt install colcon")
    home = tmp_path_factory.mktemp("home")
    for folder in ("ros2_ws/src", "bin", "ros"):
        (home / folder).mkdir(parents=True)
    owners = packages_distributions()
    names = [n for n, own in owners.items() if any(o.startswith("ros-") for o in own)]
    libraries = [*SITE.glob("*.libs")]
    for file in [*(SITE / name for name in (*names, *FROM_ROSDEP)), *libraries]:
        if file.exists():
            (home / "ros" / file.name).symlink_to(file)
    (home / "bin" / "python3").symlink_to(sys._base_executable)
    (home / "bin" / "rosdep").write_text('#!/bin/sh\necho "$@" > ~/rosdep_asked\n')
    (home / "bin" / "rosdep").chmod(0o755)
    # As setup.bash of ROS 2 does.
    built = [ROOT / "install" / name for name in ("vpr_msgs", "tf2_msgs")]
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "AMENT_PREFIX_PATH": ":".join(map(str, (*built, sys.prefix))),
        "CMAKE_PREFIX_PATH": ":".join(map(str, (*built, sys.prefix))),
        "PYTHONPATH": ":".join(
            map(str, (home / "ros", *(f"{p}/lib/{SITE.parent.name}/site-packages" for p in built)))
        ),
        "LD_LIBRARY_PATH": ":".join(
            [*(f"{p}/lib" for p in (*built, sys.prefix)), *map(str, libraries)]
        ),
        "COLCON_DEFAULTS_FILE": str(home / "defaults.yaml"),
    }
    skipped = {"build": {"packages-skip": ["vpr_msgs"]}}
    (home / "defaults.yaml").write_text(json.dumps(skipped))
    clone = own_line("cd ").replace("<this repository>", shlex.quote(str(repository)))
    lines = [clone if line.startswith("cd ") else line for line in LINES]
    library = ROOT / "vpr_ros/kernels/libvpr_kernels.so"  # is only copied if it is up to date
    if library.is_file():
        lines.insert(1, f"cp {shlex.quote(str(library))} src/vpr_ros/vpr_ros/kernels")
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], env=environment, cwd=home,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if "NewConnectionError" in done.stdout or "name resolution" in done.stdout:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stdout[-3000:]
    return home / "ros2_ws", environment


class Started:
    """A command in the workspace, sourced as the README says; its output goes to files."""

    def __init__(self, workspace, domain, *command):
        folder, environment = workspace
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        script = f". .venv/bin/activate; . install/setup.bash; exec {shlex.join(command)}"
        own = {"ROS_DOMAIN_ID": str(domain), "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{end_with_parent()}; {RUN}", "bash", "-c", script],
            cwd=folder, env=environment | own, stdout=self.output, stderr=self.errors,
        )  # fmt: skip
        self.process.errors = self.errors

    def printed(self):
        self.output.seek(0)
        return self.output.read().decode()

    def end(self):
        assert self.process.wait(60) == 0, read_errors(self.process)
        return self.printed()


def test_nodes_and_examples_of_the_workspace_close_loops(workspace, picture):
    """Out and back on a line: at the end the camera sees what it saw at the beginning."""
    folder, _ = workspace
    given = dict(word.split(":=") for word in shlex.split(LAUNCH) if ":=" in word)
    remaps = [word for key, value in given.items() for word in ("-r", f"{key}:={value}")]
    parameters = ["--params-file", "install/vpr_ros/share/vpr_ros/config/vpr.yaml"]
    way = [*range(17), *range(17, -1, -1)]
    images = folder / "images"
    images.mkdir()
    for number, x in enumerate(way):
        cv2.imwrite(str(images / f"{number}.png"), picture(x))
    example = "src/vpr_ros/examples/{}.py".format
    robot = Robot()
    try:
        for name in ("encoder", "database"):
            node = f"install/vpr_ros/lib/vpr_ros/{name}"
            ros = ["--ros-args", "-r", "__ns:=/vpr", *remaps, *parameters]
            robot.processes[name] = Started(workspace, robot.domain, node, *ros).process
        robot.wait(lambda: {"encoder", "database"} <= set(robot.status), "both nodes", 60)
        listening = Started(workspace, robot.domain, "python", example("print_closures"))
        robot.processes["example"] = listening.process
        camera = robot.publisher(Image, given["image"])
        wheels = robot.publisher(Odometry, given["odom"])
        queries = robot.listen(Query, "queries")
        count = robot.node.count_subscribers
        robot.wait(lambda: count("/vpr/loop_closures") > 0, "the example")
        robot.wait_for_database()
        for number, x in enumerate(way):
            stamp = robot.stamp()
            stamp.sec += 2 * number - 100
            wheels.publish(odometry(x, stamp))
            camera.publish(raw(picture(x), stamp))
            robot.wait(lambda n=number: len(queries) > n, f"the answer to image {number}")
        robot.wait(lambda: "shows the place of" in listening.printed(), "a closure, printed")
        assert robot.status["encoder"]["operators"].startswith("compiled operators")
        ask = ("python", example("ask_for_place"), "images/3.png")
        first = Started(workspace, robot.domain, *ask).end().splitlines()[0]
        assert re.fullmatch(r"keyframe \d+, score (1\.000|0\.99\d), at x 3\.0 m, y 0\.0 m", first)
        ended = robot.end("example")  # before others leave: see exit_after
        assert ended == 0, read_errors(listening.process)
    finally:
        codes = robot.stop()
    assert set(codes.values()) == {0}
    assert (folder.parent / "rosdep_asked").read_text().startswith("install --from-paths")
    printed = Started(workspace, 0, "python", example("loops_in_folder"), "images").end()
    assert "33.png shows the place of 1.png" in printed, printed
    assert printed.endswith(f" of {len(way)} images\n")


STOPPED = """
import os, runpy, signal, sys, threading, time, rclpy
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
create = rclpy.create_node
def early(name, number):
    os.kill(os.getpid(), number)
    time.sleep(0.5)
    return create(name)
def late(name, number):
    threading.Timer(1.0, os.kill, (os.getpid(), number)).start()
    return create(name)
rclpy.create_node = lambda name: {}(name, signal.{})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("name", ["print_closures", "ask_for_place"])
def test_an_example_ends_in_silence_whenever_it_is_stopped(name, when, number):
    domain, _holder = free_domain()
    example = ROOT / "examples" / f"{name}.py"
    command = [sys.executable, "-c", STOPPED.format(when, number), example]
    command += [example] if name == "ask_for_place" else []  # any file will do as a photo
    done = subprocess.run(
        command,
        env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    status = 0 if name == "print_closures" else -signal.Signals[number]
    assert (done.returncode, done.stdout + done.stderr) == (status, "")


def test_an_example_leaves_a_damaged_image_out(tmp_path, picture):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(number))
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
    command = [sys.executable, ROOT / "examples" / "loops_in_folder.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 2 and "1.jpg" in said[0] and said[1] == "2 keyframes of 3 images"


def test_rosdep_knows_every_dependency(repository, tmp_path):
    """The README's line with --simulate: it names what apt and pip would install."""
    line = own_line("rosdep")
    known = shutil.which("rosdep") and subprocess.run(
        ["rosdep", "resolve", "rclpy", "--rosdistro", "jazzy"], capture_output=True
    )
    if not known or known.returncode:
        pytest.skip("needs rosdep with rosdistro's keys: rosdep init, rosdep update")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/vpr_ros").symlink_to(repository)
    done = subprocess.run(
        [*shlex.split(line), "--simulate", "--rosdistro", "jazzy"], cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vpr" not in done.stdout and "python3-opencv" in done.stdout
