# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start loop closure for one camera: the encoder and the database.

ros2 launch vpr_ros vpr.launch.py image:=/camera/image_raw odom:=/odom
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, OpaqueFunction
from launch.events import matches_action
from launch.events.process import ProcessExited, ShutdownProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIGURATION = 2  # exit status, as in vpr_ros.nodes.start
SHARE = Path(get_package_share_directory("vpr_ros"))

# name, default, description
ARGUMENTS = (
    (
        "image",
        "/camera/image_raw",
        "camera topic; compressed images are expected on the same topic name plus /compressed",
    ),
    (
        "image_transport",
        "",
        "raw, compressed, or auto (whichever is published); empty: as in params_file",
    ),
    (
        "camera_info",
        "/camera/camera_info",
        "camera calibration (optional); adds relative poses to the loop closures",
    ),
    ("odom", "/odom", "nav_msgs/Odometry (optional); spaces keyframes and checks closures"),
    (
        "battery",
        "/battery_state",
        "sensor_msgs/BatteryState (optional); saves compute as the charge falls",
    ),
    ("model", "", "name of a shipped model or path of an .onnx file; empty: as in params_file"),
    ("map", "", "name or path of a map to load, if it exists, and save; empty: as in params_file"),
    ("graph", "false", "also start the pose graph (corrected path, map -> odom); needs gtsam"),
    ("relocalizer", "false", "also locate the robot on the map: localization and initialpose"),
    ("bridge", "", "also pass closures to the back end `rtabmap` or `hydra`"),
    (
        "initialpose",
        "/initialpose",
        "topic on which the relocalizer publishes its pose, for AMCL and others",
    ),
    ("fleet", "false", "also share keyframes with other robots through Milvus; needs pymilvus"),
    ("fleet_uri", "", "address of the fleet's Milvus; empty: as in params_file"),
    ("robot", "", "name of this robot in the fleet; empty: as in params_file"),
    (
        "lifecycle",
        "false",
        "start managed nodes, which a lifecycle manager configures and activates; until then they "
        "hold neither model nor map",
    ),
    (
        "single_process",
        "false",
        "run all nodes in one process, which takes less memory; a crash then ends all of them",
    ),
    ("rviz", "false", "also open RViz with config/vpr.rviz (path, closures and their images)"),
    ("params_file", str(SHARE / "config" / "vpr.yaml"), "parameters of the nodes"),
    ("namespace", "vpr", "namespace of nodes, topics and services"),
    ("use_sim_time", "false", "follow /clock, for simulation and bags played with --clock"),
)
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")
TOPICS = ("image", "camera_info", "odom", "battery", "initialpose")
SHOWN = ("path", "graph_markers", "loop_markers", "closure_image")  # by config/vpr.rviz, in /vpr


def nodes(context: LaunchContext) -> list[Node | LogInfo]:
    """The nodes, with the values of the arguments."""
    value = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    for name, default, _ in ARGUMENTS:
        if default == "false" and value[name].lower() not in (*TRUE, *FALSE):
            raise ValueError(f"{name} is '{value[name]}'. Give {name}:=true or {name}:=false.")
    parameters = [
        value["params_file"],
        {"use_sim_time": _is_true(value["use_sim_time"])},
    ]
    given = {
        "encoder": {"image_transport": value["image_transport"], "model": value["model"]},
        "database": {"map": value["map"]},
        "graph": {"map": value["map"]},
        "relocalizer": {"map": value["map"]},
        "bridge": {"to": value["bridge"]},
        "fleet": {"fleet.robot": value["robot"], "milvus.uri": value["fleet_uri"]},
    }
    # Arguments that were not given leave the file's values alone.
    own = {name: {key: v for key, v in own.items() if v} for name, own in given.items()}
    # rcl refuses names that end in a slash, and the node would not start.
    topic = {key: value[key].rstrip("/") for key in TOPICS}
    remappings = {
        "encoder": [
            ("image", topic["image"]),
            ("image/compressed", topic["image"] + "/compressed"),
            ("camera_info", topic["camera_info"]),
            ("odom", topic["odom"]),
            ("battery_state", topic["battery"]),
        ],
        "database": [],
        "graph": [("odom", topic["odom"])],
        "relocalizer": [("initialpose", topic["initialpose"])],
        "fleet": [],
        "bridge": [
            ("info", "/rtabmap/info"),
            ("add_link", "/rtabmap/add_link"),
            ("external_loop_closures", "/hydra/external_loop_closures"),
        ],
    }
    optional = [name for name in ("graph", "relocalizer", "fleet") if _is_true(value[name])]
    optional += ["bridge"] if value["bridge"] else []
    names = ["encoder", "database", *optional]
    common = {
        "package": "vpr_ros",
        "namespace": value["namespace"],
        "output": "screen",
        "emulate_tty": True,
        # A crash costs seconds, not the mission. On stopping, the map may be saved.
        "respawn": True,
        "on_exit": stay_down,
        "respawn_delay": 2.0,  # s
        "sigterm_timeout": "60",  # s
    }
    options = ["--lifecycle"] if _is_true(value["lifecycle"]) else []
    if _is_true(value["single_process"]):
        started = [
            Node(
                executable="nodes",
                parameters=[*parameters, _file_of({name: own[name] for name in names})],
                remappings=[
                    (f"{name}:{old}", new) for name in names for old, new in remappings[name]
                ],
                arguments=[*options, *names],
                **common,
            )
        ]
    else:
        started = [
            Node(
                executable=name,
                name=name,
                parameters=[*parameters, own[name]],
                remappings=remappings[name],
                arguments=options,
                **common,
            )
            for name in names
        ]
    return [*started, *([_rviz(value)] if _is_true(value["rviz"]) else [])]


def stay_down(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
    """No respawn of a node that would end in the same way again: its error names the cause."""
    if event.returncode != CONFIGURATION:
        return None
    return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(event.action)))


def _file_of(own: dict[str, dict[str, Any]]) -> str:
    """A params file with the parameters of each node, since a command line's are for all nodes."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        content = {f"/**/{name}": {"ros__parameters": values} for name, values in own.items()}
        json.dump({node: part for node, part in content.items() if part["ros__parameters"]}, file)
    return file.name


def _rviz(value: dict[str, str]) -> Node | LogInfo:
    """RViz, or a line that says how to get it."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        distro = os.environ.get("ROS_DISTRO", "jazzy")
        return LogInfo(
            msg=f"rviz:=true, but RViz is not installed. Run: sudo apt install ros-{distro}-rviz2"
        )
    frame = "map" if _is_true(value["graph"]) else "odom"
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "vpr.rviz"), "-f", frame],
        parameters=[{"use_sim_time": _is_true(value["use_sim_time"])}],
        remappings=[
            (f"/vpr/{topic}", os.path.join("/", value["namespace"], topic)) for topic in SHOWN
        ],
    )


def _is_true(text: str) -> bool:
    return text.lower() in TRUE


def generate_launch_description() -> LaunchDescription:
    """The arguments and the nodes."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            OpaqueFunction(function=nodes),
        ]
    )
