# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write config/vpr.yaml and the tables of docs/interfaces.md, so each default is written once.

python -m tools.generate          writes them
python -m tools.generate --check  fails if they are not up to date
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node

from tools.dds_domain import free_domain
from vpr_ros.core.config import Doc
from vpr_ros.nodes.bridge_node import BridgeNode
from vpr_ros.nodes.database_node import DatabaseNode
from vpr_ros.nodes.encoder_node import EncoderNode
from vpr_ros.nodes.fleet_node import FleetNode
from vpr_ros.nodes.graph_node import GraphNode
from vpr_ros.nodes.relocalizer_node import RelocalizerNode

ROOT = Path(__file__).resolve().parent.parent
INTERFACES = ROOT / "docs" / "interfaces.md"
NODES = {
    "encoder": EncoderNode,
    "database": DatabaseNode,
    "graph": GraphNode,
    "relocalizer": RelocalizerNode,
    "bridge": BridgeNode,
    "fleet": FleetNode,
}
# Topics and services whose type does not say what they carry.
MEANINGS = {
    "in image": "Raw camera images",
    "in image/compressed": "JPEG or PNG camera images",
    "in odom": "Odometry (optional; the graph needs it)",
    "in camera_info": "Camera calibration (optional)",
    "in battery_state": "Battery (optional)",
    "in tf": "Listens at startup for another publisher of the same transform",
    "out tf": "Transform from map_frame to the odometry frame",
    "out diagnostics": "State of the node, once a second",
    "out loop_markers": "Closures for RViz whose two places odometry connects: those of this run",
    "out closure_image": "The last closure as an image, drawn only for subscribers",
    "out path": "Corrected trajectory",
    "out graph_markers": "Closures for RViz: green if they hold, red if the graph rejects them",
    "out initialpose": "Pose of the robot on the map, for AMCL and others",
    "out fleet_closures": "Loop closures with keyframes of other robots",
    "service relocalize": "Forget where the robot is",
}


def params_file() -> str:
    """The contents of config/vpr.yaml."""
    lines = [
        "# Copyright 2026 The vpr_ros authors",
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every parameter with its default. Copy this file, keep only what you change, and start",
        "#   ros2 launch vpr_ros vpr.launch.py params_file:=/path/to/yours.yaml",
        "# All but the read-only ones can also be changed at runtime with `ros2 param set`.",
    ]
    for node, kind in NODES.items():
        lines += ["", f"/**/{node}:", "  ros__parameters:"]
        for config in kind.PARAMETERS:
            indent = "    "
            if config.group:
                lines.append(f"{indent}{config.group}:")
                indent += "  "
            for name, default, doc in config.fields():
                lines += [f"{indent}# {line}" for line in _wrapped(_described(doc), indent)]
                lines.append(f"{indent}{name}: {_yaml(default)}")
    return "\n".join(lines) + "\n"


def parameter_table() -> str:
    """Markdown rows of all parameters."""
    rows = ["| parameter | default | range | meaning |", "|---|---|---|---|"]
    for node, kind in NODES.items():
        rows.append(f"| **/vpr/{node}** | | | |")
        for config in kind.PARAMETERS:
            rows += [
                _parameter_row(config.full_name(name), default, doc)
                for name, default, doc in config.fields()
            ]
    return "\n".join(rows)


def interface_table() -> str:
    """Markdown rows of all topics and services, as the running nodes report them."""
    rows = ["| node | | name | type | meaning |", "|---|---|---|---|---|"]
    domain, holder = free_domain()  # else a robot's own nodes could be taken for these
    for name, kind in NODES.items():
        # With auto the node would subscribe to no image topic, as none is published.
        argument = ["-p", "image_transport:=compressed"] if name == "encoder" else []
        rclpy.init(args=["--ros-args", "-r", "__ns:=/vpr", *argument], domain_id=domain)
        node = kind()
        rows += [
            f"| {name} | {way} | `{topic}` | `{_type_name(message)}` | "
            f"{_meaning(way, topic, message)} |"
            for way, topic, message in _interfaces(node)
        ]
        node.destroy_node()
        rclpy.shutdown()
    holder.close()
    row = next(row for row in rows if "image/compressed" in row)
    both = row.replace("/vpr/image/compressed", "/vpr/image").replace("CompressedImage", "Image")
    both = both.replace(MEANINGS["in image/compressed"], MEANINGS["in image"])
    rows.insert(rows.index(row), both)
    return "\n".join(rows)


def _interfaces(node: Node) -> Iterator[tuple[str, str, Any]]:
    """(direction, name, type) of everything that is not part of every ROS node."""
    for subscription in node.subscriptions:
        yield "in", subscription.topic_name, subscription.msg_type
    for publisher in node.publishers:
        if publisher.topic_name not in ("/rosout", "/parameter_events"):
            yield "out", publisher.topic_name, publisher.msg_type
    for service in node.services:
        if not service.srv_type.__module__.startswith(("rcl_interfaces", "type_description")):
            yield "service", node.resolve_service_name(service.srv_name), service.srv_type


def _type_name(message: Any) -> str:
    package, kind = message.__module__.split(".")[:2]
    return f"{package}/{kind}/{message.__name__}"


def _meaning(way: str, topic: str, message: Any) -> str:
    """What a topic or service carries, or the first sentence of a definition of ours."""
    own = MEANINGS.get(f"{way} {topic.removeprefix('/').removeprefix('vpr/')}")
    if own is not None:
        return own
    package, kind, name = _type_name(message).split("/")
    file = ROOT / package / kind / f"{name}.{kind}"
    if not file.is_file():
        return ""
    return file.read_text().splitlines()[0].removeprefix("# ").split(". ")[0].rstrip(".")


def launch_table() -> str:
    """Markdown rows of the launch file's arguments."""
    tree = ast.parse((ROOT / "launch" / "vpr.launch.py").read_text())
    rows = ["| argument | default | meaning |", "|---|---|---|"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ARGUMENTS":
            for entry in node.value.elts:  # type: ignore[attr-defined]
                name, default, text = entry.elts
                value = default.value if isinstance(default, ast.Constant) else "config/vpr.yaml"
                rows.append(f"| `{name.value}` | {f'`{value}`' if value else ''} | {text.value} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """docs/interfaces.md with every generated block updated."""
    tables = {"parameters": parameter_table, "interfaces": interface_table, "launch": launch_table}
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not block.search(text):
            sys.exit(f"docs/interfaces.md has no block '<!-- {name} -->'; put one back.")
        text = block.sub(lambda m, table=table: m[1] + table() + "\n" + m[2], text)
    return text


def _parameter_row(name: str, default: object, doc: Doc) -> str:
    unit = f" {doc.unit}" if doc.unit else ""
    text = doc.text + (" (read-only)" if doc.read_only else "")
    return f"| `{name}` | `{_yaml(default)}`{unit} | {doc.range_text} | {text} |"


def _described(doc: Doc) -> str:
    unit = f" [{doc.unit}]" if doc.unit else ""
    limits = f" Range {doc.range_text}." if doc.range_text.startswith("[") else ""
    limits = f" {doc.range_text.capitalize()}." if doc.choices else limits
    return f"{doc.text}{unit}.{limits}{' Read-only.' if doc.read_only else ''}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 97 - len(indent), break_on_hyphens=False)


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def main() -> None:
    """Write the files, or compare them if --check is given."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate")
    parser.add_argument("--check", action="store_true", help="only fail if they are out of date")
    check = parser.parse_args().check
    # The nodes made here must not open files that the robot's own use.
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="vpr_generate_")
    wanted = {
        ROOT / "config" / "vpr.yaml": params_file(),
        INTERFACES: page(INTERFACES.read_text()),
    }
    for path, text in wanted.items():
        if path.is_file() and path.read_text() == text:
            continue
        if check:
            sys.exit(f"{path.relative_to(ROOT)} is not up to date; run `make tables`.")
        path.write_text(text)


if __name__ == "__main__":
    main()
