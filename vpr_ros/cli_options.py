# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What several verbs of the command `vpr` share: options, and which path belongs to which verb."""

# typer reads these types at run time, and on Python 3.10 cannot read `Path | None`.
# ruff: noqa: UP045
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.model_files import DEFAULT_MODEL

# Of bags
BagPath = Annotated[
    Path,
    typer.Argument(help="rosbag2 folder; .mcap, .db3 or .bag file; TUM, KITTI or EuRoC folder"),
]
Params = Annotated[
    Optional[Path],
    typer.Option(help="the nodes' parameter file, e.g. config/vpr.yaml; default: their defaults"),
]
Model = Annotated[str, typer.Option(help="shipped model or .onnx file; default: as in --params")]
ImageTopic = Annotated[
    str, typer.Option("--image", help="image topic; default: the fullest of a colour camera")
]
OdomTopic = Annotated[str, typer.Option("--odom", help="odometry topic of the keyframe gate")]
TruthOf = Annotated[
    str,
    typer.Option(
        "--truth",
        help="odometry, pose or tf topic; TUM, KITTI or EuRoC file; CSV of image numbers "
        "(query,match). Default: a topic whose name says truth, else odometry, pose, tf",
    ),
]
TruthFrame = Annotated[str, typer.Option(help="with tf: the frame that moves, e.g. base_link")]
Metres = Annotated[float, typer.Option(min=0, help="right: positions at most this far apart")]
LoopDegrees = Annotated[float, typer.Option(min=0, help="and headings at most this far apart")]
LoopFrames = Annotated[
    int, typer.Option(min=0, help="right, with a CSV of pairs: at most this many images off")
]
# Of data sets
Dataset = Annotated[Path, typer.Argument(help="folder of a data set, or a CSV file of pairs")]
Models = Annotated[
    Optional[list[str]],
    typer.Option(
        "--model", help=f"shipped model or .onnx file; repeatable; default: {DEFAULT_MODEL}"
    ),
]
Sparsities = Annotated[Optional[list[float]], typer.Option("--sparsity", help="repeatable")]
Threads = Annotated[int, typer.Option(min=1, help="compute threads of the network")]
Frames = Annotated[
    int, typer.Option(min=0, help="right, in aligned folders: at most this many images off")
]
DatabaseFolder = Annotated[str, typer.Option("--database", help="name of the map's folder")]
QueriesFolder = Annotated[str, typer.Option("--queries", help="name of the queries' folder")]
Part = Annotated[
    str, typer.Option(help="MSLS: cities, separated by commas; Pittsburgh, Tokyo: the .mat file")
]
Cache = Annotated[
    Optional[Path],
    typer.Option(help="folder that keeps descriptors: a run that was cut short goes on there"),
]
Batch = Annotated[
    int, typer.Option(min=1, help="images that a network describes at once; times nothing above 1")
]
# Of models
ProviderName = Annotated[
    str, typer.Option("--provider", help="what runs models, as the node's parameter")
]
ProviderOptions = Annotated[str, typer.Option(help="NAME=VALUE, separated by ;")]
# Of both
Baselines = Annotated[bool, typer.Option(help="measure the baselines too")]
Rerun = Annotated[
    Optional[Path], typer.Option(help="also write a file for the Rerun viewer, FILE.rrd")
]
Output = Annotated[Path, typer.Option(help="folder of all results")]
Side = Annotated[Optional[int], typer.Option(min=1, help="px; default: as trained")]


def refuse_dataset(path: Path) -> None:
    """ConfigError for what `vpr benchmark` takes; a bag without its metadata.yaml is a bag."""
    is_set = path.suffix.lower() == ".csv"
    if path.is_dir():
        kinds = (".mcap", ".db3", ".yaml", ".zstd", ".bag")
        is_set = not any(f.suffix in kinds for f in path.iterdir()) and not _is_drive(path)
    if is_set:
        raise ConfigError(f"{path} is not a bag. For a data set run: vpr benchmark {path}")


def refuse_bag(path: Path) -> None:
    """ConfigError for what `vpr evaluate` takes."""
    is_bag = (path / "metadata.yaml").is_file() or path.suffix in (".bag", ".mcap", ".db3")
    if is_bag or _is_drive(path):
        kind = "bag" if is_bag else "drive"
        raise ConfigError(f"{path} is a {kind}, not a data set. Run: vpr evaluate {path}")


def _is_drive(path: Path) -> bool:
    """Is this a folder in the layout of TUM, KITTI or EuRoC?"""
    try:
        from vpr_ros.evaluation.drive_folders import layout_of
    except ModuleNotFoundError:  # without rosbags there are only data sets
        return False
    return layout_of(path) is not None
