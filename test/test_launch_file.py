# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch file asks for. `launch` is not on PyPI: stand-ins record what it is told."""

import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import pytest

from vpr_ros.nodes.start import CONFIGURATION

ROOT = Path(__file__).resolve().parents[1]


class Recorded:
    """Any launch class: keeps what it was made of."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs


class LaunchDescription(Recorded):
    def __init__(self, actions):
        self.actions = list(actions)


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context[self.name]


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module."""

    def stand_in(name, **members):
        module = types.ModuleType(name)
        for member, value in members.items():
            setattr(module, member, value)
        monkeypatch.setitem(sys.modules, name, module)

    names = "DeclareLaunchArgument", "EmitEvent", "OpaqueFunction", "LogInfo", "Node"
    kinds = {n: type(n, (Recorded,), {}) for n in names}
    node = kinds.pop("Node")

    def prefix(name):
        raise KeyError(name)

    share = types.SimpleNamespace(
        get_package_share_directory=lambda name: str(ROOT),
        get_package_prefix=prefix,
        PackageNotFoundError=KeyError,
    )
    monkeypatch.setitem(sys.modules, "ament_index_python", types.ModuleType("a"))
    monkeypatch.setitem(sys.modules, "ament_index_python.packages", share)
    stand_in("launch", LaunchContext=dict, LaunchDescription=LaunchDescription)
    stand_in("launch.actions", **kinds)
    stand_in("launch.events", matches_action=lambda action: ("matches", action))
    shutdown = type("ShutdownProcess", (Recorded,), {})
    stand_in("launch.events.process", ProcessExited=object, ShutdownProcess=shutdown)
    stand_in("launch.substitutions", LaunchConfiguration=LaunchConfiguration)
    stand_in("launch_ros")
    stand_in("launch_ros.actions", Node=node)
    spec = importlib.util.spec_from_file_location("vpr_launch", ROOT / "launch/vpr.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(launch_file, **given):
    """The nodes by name, for arguments as on the command line."""
    context = {name: default for name, default, _ in launch_file.ARGUMENTS} | given
    return {node.kwargs["name"]: node.kwargs for node in launch_file.nodes(context)}


def test_every_promised_argument_is_declared_with_words(launch_file):
    promised = "image image_transport odom battery model params_file namespace use_sim_time"
    declared = {name: text for name, _, text in launch_file.ARGUMENTS}
    assert set(promised.split()) <= set(declared) and all(declared.values())


def test_both_nodes_run_from_this_package(launch_file):
    nodes = started(launch_file, namespace="front")
    assert set(nodes) == {"encoder", "database"}
    scripts = re.search(r"^NODES = \((.*)\)", (ROOT / "setup.py").read_text(), re.M)[1]
    entries = (ROOT / "vpr_ros/nodes/start.py").read_text()
    for name, node in nodes.items():
        assert node["package"] == "vpr_ros" and node["namespace"] == "front"
        assert node["executable"] == name and f'"{name}"' in scripts
        assert f"def {name}() -> None:" in entries


def test_a_node_that_crashes_comes_back(launch_file):
    for node in started(launch_file).values():
        assert node["respawn"] and 1 <= node["respawn_delay"] <= 5
        for status in (0, 1, -9):
            ended = types.SimpleNamespace(returncode=status, action="it")
            assert node["on_exit"](ended, None) is None
        ended.returncode = CONFIGURATION  # until what it was given is mended
        event = node["on_exit"](ended, None).kwargs["event"]
        assert event.kwargs["process_matcher"] == ("matches", "it")


def test_topics_are_remapped(launch_file):
    nodes = started(launch_file, image="/cam/image/", odom="/wheels", battery="/power//")
    assert dict(nodes["encoder"]["remappings"]) == {
        "image": "/cam/image",
        "image/compressed": "/cam/image/compressed",
        "camera_info": "/camera/camera_info",
        "odom": "/wheels",
        "battery_state": "/power",
    }


def test_what_is_given_overrules_the_file_and_the_rest_does_not(launch_file):
    file, sim, own = started(launch_file, use_sim_time="true")["encoder"]["parameters"]
    assert Path(file).name == "vpr.yaml" and sim == {"use_sim_time": True}
    assert own == {}, "no argument was given"
    assert started(launch_file, model="m")["encoder"]["parameters"][2]["model"] == "m"


def test_a_switch_is_on_or_off_and_nothing_else(launch_file):
    assert "graph" in started(launch_file, graph="Yes") and "graph" not in started(launch_file)
    for name in ("graph", "use_sim_time", "single_process", "rviz"):
        with pytest.raises(ValueError, match=rf"{name} is 'ture'. Give {name}:=true or"):
            started(launch_file, **{name: "ture"})


def test_one_process_gets_what_the_nodes_get(launch_file):
    given = {"map": "office", "graph": "true", "odom": "/wheels", "lifecycle": "true"}
    context = {name: default for name, default, _ in launch_file.ARGUMENTS} | given
    (node,) = launch_file.nodes(context | {"single_process": "true"})
    assert node.kwargs["executable"] == "nodes" and "name" not in node.kwargs
    assert node.kwargs["arguments"] == ["--lifecycle", "encoder", "database", "graph"]
    own = Path(node.kwargs["parameters"][-1])
    assert json.loads(own.read_text()) == {
        f"/**/{name}": {"ros__parameters": {"map": "office"}} for name in ("database", "graph")
    }
    own.unlink()
    alone = started(launch_file, **given)
    assert set(node.kwargs["remappings"]) == {
        (f"{name}:{old}", new) for name in alone for old, new in alone[name]["remappings"]
    }


def test_rviz_is_opened_on_the_right_frame_or_said_to_be_missing(launch_file, monkeypatch):
    context = {name: default for name, default, _ in launch_file.ARGUMENTS} | {"rviz": "true"}
    assert "sudo apt install ros-" in launch_file.nodes(context)[-1].kwargs["msg"]
    monkeypatch.setattr(launch_file, "get_package_prefix", lambda name: "/")
    for graph, frame in (("false", "odom"), ("true", "map")):
        rviz = launch_file.nodes(context | {"graph": graph, "namespace": "/front"})[-1].kwargs
        assert rviz["arguments"][-2:] == ["-f", frame] and Path(rviz["arguments"][1]).is_file()
    assert ("/vpr/path", "/front/path") in rviz["remappings"]


def test_what_is_shown_exists():
    """The topics of both layouts, by the generated table of interfaces."""
    known = set(re.findall(r"`(/\w+(?:/\w+)?)`", (ROOT / "docs/interfaces.md").read_text()))
    rviz = re.findall(r"Value: (/vpr/\w+)", (ROOT / "config/vpr.rviz").read_text())
    layout = json.loads((ROOT / "config/vpr.foxglove.json").read_text())
    foxglove = re.findall(r'"(/vpr/\w+)', json.dumps(layout["configById"]))
    assert len(rviz) == 4 and set(rviz) < set(foxglove) <= known
    panels = re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))
    assert set(panels) == set(layout["configById"])


def test_the_nodes_are_launched_and_no_environment_is_changed(launch_file):
    """Shared memory for images is the camera driver's; it would cost every node 32 MB."""
    actions = launch_file.generate_launch_description().actions
    kinds = [type(action).__name__ for action in actions]
    assert kinds == ["DeclareLaunchArgument"] * len(launch_file.ARGUMENTS) + ["OpaqueFunction"]
