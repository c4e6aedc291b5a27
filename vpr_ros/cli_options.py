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
    typer.Option(help="parameter file, e.g. config/vpr.yaml; default: the defaults of the nodes"),
]
Model = Annotated[str, typer.Option(help="shipped model or .onnx file; default: as in --params")]
ImageTopic = Annotated[
    str,
    typer.Option("--image", help="image topic; default: the colour camera with the most images"),
]
OdomTopic = Annotated[str, typer.Option("--odom", help="odometry topic, as the nodes get it")]
TruthOf = Annotated[
    str,
    typer.Option(
        "--truth",
        help="ground truth: odometry, pose or tf topic; TUM, KITTI or EuRoC file; CSV of image "
        "numbers (query,match). Default: a topic with truth in its name, else odometry, pose, tf",
    ),
]
TruthFrame = Annotated[str, typer.Option(help="with tf: the frame that moves, e.g. base_link")]
Metres = Annotated[
    float, typer.Option(min=0, help="a match is right if the positions are at most this far apart")
]
LoopDegrees = Annotated[
    float, typer.Option(min=0, help="and the headings are at most this far apart")
]
LoopFrames = Annotated[
    int, typer.Option(min=0, help="with a CSV of pairs: right if at most this many images off")
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
Threads = Annotated[int, typer.Option(min=1, help="number of threads that compute the network")]
Frames = Annotated[
    int, typer.Option(min=0, help="in aligned folders: right if at most this many images off")
]
DatabaseFolder = Annotated[str, typer.Option("--database", help="name of the folder with the map")]
QueriesFolder = Annotated[
    str, typer.Option("--queries", help="name of the folder with the queries")
]
Part = Annotated[
    str, typer.Option(help="MSLS: cities, separated by commas; Pittsburgh, Tokyo: the .mat file")
]
Cache = Annotated[
    Optional[Path],
    typer.Option(help="folder for descriptors, with which an interrupted run continues"),
]
Batch = Annotated[
    int, typer.Option(min=1, help="images per run of the network; above 1, no times are measured")
]
# Of models
ProviderName = Annotated[
    str, typer.Option("--provider", help="what runs models, as in the encoder's parameter")
]
ProviderOptions = Annotated[str, typer.Option(help="NAME=VALUE, separated by ;")]
# Of both
Baselines = Annotated[bool, typer.Option(help="also measure the baselines")]
Rerun = Annotated[
    Optional[Path], typer.Option(help="also write this file (.rrd) for the Rerun viewer")
]
Output = Annotated[Path, typer.Option(help="folder for all results")]
Side = Annotated[Optional[int], typer.Option(min=1, help="px; default: as trained")]


def refuse_dataset(path: Path) -> None:
    """ConfigError for what `vpr benchmark` takes; a bag without its metadata.yaml is a bag."""
    is_set = path.suffix.lower() == ".csv"
    if path.is_dir():
        kinds = (".mcap", ".db3", ".yaml", ".zstd", ".bag")
        is_set = not any(f.suffix in kinds for f in path.iterdir()) and not _is_drive(path)
    inside = (p for p in (*path.glob("*"), *path.glob("*/*")) if is_set and _is_bag(p))
    if drive := min(inside, default=None):
        raise ConfigError(f"{path} is a folder of drives. Give one of them, such as {drive}.")
    if is_set:
        raise ConfigError(f"{path} is not a bag. For a data set run: vpr benchmark {path}")


def refuse_bag(path: Path) -> None:
    """ConfigError for what `vpr evaluate` takes."""
    if _is_bag(path):
        raise ConfigError(f"{path} is a drive, not a data set. Run: vpr evaluate {path}")


def _is_bag(path: Path) -> bool:
    """Is this what `vpr evaluate` takes?"""
    if not path.is_dir():
        return path.suffix in (".bag", ".mcap", ".db3")
    return (path / "metadata.yaml").is_file() or _is_drive(path)


def _is_drive(path: Path) -> bool:
    """Is this a folder in the layout of TUM, KITTI or EuRoC?"""
    try:
        from vpr_ros.evaluation.drive_folders import layout_of
    except ModuleNotFoundError:  # without rosbags there are only data sets
        return False
    return layout_of(path) is not None
