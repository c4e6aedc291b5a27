# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of `vpr` that are about saved maps and pose graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_graph(
    graph: Annotated[Path, typer.Argument(help="graph file of the node `graph` (.vprgraph)")],
    output: Annotated[Path, typer.Argument(help="file to write, .tum or .g2o")],
) -> None:
    """Write a saved pose graph as a TUM trajectory or a g2o graph; the latter needs GTSAM.

    Example: vpr export-graph office.vprgraph office.g2o
    """
    from vpr_ros.core.errors import ConfigError
    from vpr_ros.mapping.graph_file import read_graph, tum_text, write_g2o
    from vpr_ros.mapping.pose_graph import GraphConfig

    if output.suffix not in (".tum", ".g2o"):
        raise ConfigError(f"{output} ends in neither .tum nor .g2o; name the format that way.")
    if output.exists():
        raise ConfigError(f"{output} exists. Move it away or choose another name.")
    stored = read_graph(graph)
    if output.suffix == ".tum":
        output.write_text(tum_text(stored))
    else:
        write_g2o(output, stored, GraphConfig())
    typer.echo(f"{output}: {len(stored.keyframes)} keyframes")
