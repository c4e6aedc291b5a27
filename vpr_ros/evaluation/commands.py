# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The verbs of `vpr` that judge bags; heavy imports stand inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from vpr_ros.evaluation.bag_run import Request

# typer reads these types at run time, and on Python 3.10 cannot read `Path | None`.
BagPath = Annotated[Path, typer.Argument(help="rosbag2 folder, or .mcap, .db3 or .bag file")]
Params = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="the nodes' parameter file, e.g. config/vpr.yaml; default: their defaults"),
]
Model = Annotated[str, typer.Option(help="shipped model or .onnx file; default: as in --params")]
Models = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--model",
        help="shipped model or .onnx file; with data sets repeatable; default: as in --params",
    ),
]
Sparsities = Annotated[
    Optional[list[float]],  # noqa: UP045
    typer.Option("--sparsity", help="0: full compute; with data sets repeatable"),
]
ImageTopic = Annotated[str, typer.Option("--image", help="image topic; default: the fullest one")]
OdomTopic = Annotated[str, typer.Option("--odom", help="odometry topic of the keyframe gate")]
TruthOf = Annotated[
    str,
    typer.Option(
        "--truth",
        help="odometry, pose or tf topic; TUM or KITTI file; CSV of image numbers (query,match). "
        "Default: a topic that calls itself truth, else odometry, pose, tf",
    ),
]
TruthFrame = Annotated[str, typer.Option(help="with tf: the frame that moves, e.g. base_link")]
Metres = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="right: positions at most this far apart; default: bags 3, data sets 25"),
]
Degrees = Annotated[float, typer.Option(help="right in bags: headings at most this far apart")]
Frames = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="right without positions: images this many off; bags 2, data sets 1"),
]
Output = Annotated[Path, typer.Option(help="folder of all results")]


def evaluate(
    path: Annotated[Path, typer.Argument(help="a bag (mcap, db3, .bag) or a data set's folder")],
    params: Params = None,
    model: Models = None,
    sparsity: Sparsities = None,
    image: ImageTopic = "",
    odom: OdomTopic = "",
    truth: TruthOf = "",
    truth_frame: TruthFrame = "",
    metres: Metres = None,
    degrees: Degrees = 45.0,
    frames: Frames = None,
    database: Annotated[str, typer.Option(help="data sets: name of the map's folder")] = "",
    queries: Annotated[str, typer.Option(help="data sets: name of the queries' folder")] = "",
    part: Annotated[str, typer.Option(help="data sets: city or split")] = "",
    sequence: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="SeqSLAM over so many; 0: none; default: bags 10, data sets 0"),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            help="data sets: add recalls of darker, brighter, blurred and turned queries"
        ),
    ] = False,
    baselines: Annotated[bool, typer.Option(help="measure the baselines too")] = True,
    output: Output = Path("results"),
) -> None:
    """How good is it? On a bag of your robot, or on a data set of the literature.

    A bag is replayed through the objects of the nodes, without ROS, and leaves
    results/<time>/report.html. A data set (folders of images) gives recall at N.

    Example: vpr evaluate drive/ --truth /odom --metres 3
    """
    from vpr_ros.core.errors import ConfigError
    from vpr_ros.evaluation.bag import SUFFIXES, is_bag

    models = model or [""]
    if is_bag(path) or path.suffix in SUFFIXES:
        from vpr_ros.evaluation.bag_command import run_evaluate
        from vpr_ros.evaluation.comparison import SEQUENCE

        if robustness or len(models) > 1:
            raise ConfigError(f"{path} is a bag; --robustness and several models are not for it.")
        request = _request(
            path,
            params,
            models[0],
            sparsity,
            image,
            odom,
            truth,
            truth_frame,
            metres,
            degrees,
            frames,
        )
        frames_each = SEQUENCE if sequence is None else sequence
        run_evaluate(request, output, baselines=baselines, sequence=frames_each)
        return
    from vpr_ros.evaluation.dataset_run import evaluate_dataset
    from vpr_ros.evaluation.datasets.options import DatasetOptions
    from vpr_ros.evaluation.params import settings_from
    from vpr_ros.evaluation.retrieval import SPARSITIES

    if image or odom or truth or truth_frame:
        raise ConfigError(f"{path} is no bag, so it has no topics; leave out topics and --truth.")
    settings = settings_from(params, models[0])
    options = DatasetOptions(
        25.0 if metres is None else metres,
        1 if frames is None else frames,
        database,
        queries,
        part,
    )
    evaluate_dataset(
        path,
        (settings.model.model, *models[1:]),
        sparsity or SPARSITIES,
        baselines=baselines,
        sequence=sequence or 0,
        robustness=robustness,
        options=options,
        threads=settings.model.threads,
        results=output,
    )


def _request(
    path: Path,
    params: Path | None,
    model: str,
    sparsity: list[float] | None,
    image: str,
    odom: str,
    truth: str,
    truth_frame: str,
    metres: float | None,
    degrees: float,
    frames: int | None,
) -> Request:
    from vpr_ros.core.errors import ConfigError
    from vpr_ros.evaluation.bag_run import Request
    from vpr_ros.evaluation.params import settings_from
    from vpr_ros.evaluation.truth import LoopRule

    if sparsity and len(sparsity) > 1:
        raise ConfigError("A bag is evaluated at one sparsity; give --sparsity once.")
    rule = LoopRule(
        metres=3.0 if metres is None else metres,
        degrees=degrees,
        frames=2 if frames is None else frames,
    )
    settings = settings_from(params, model, sparsity[0] if sparsity else None)
    return Request(path, settings, rule, image, odom, truth, truth_frame)


def calibrate(
    path: BagPath,
    precision: Annotated[float, typer.Option(help="share of the closures that must be right")] = (
        0.99
    ),
    params: Params = None,
    model: Model = "",
    sparsity: Annotated[
        Optional[list[float]],  # noqa: UP045
        typer.Option(help="repeatable; default: 0, the governor's levels and 0.6"),
    ] = None,
    image: ImageTopic = "",
    odom: OdomTopic = "",
    truth: TruthOf = "",
    truth_frame: TruthFrame = "",
    metres: Metres = None,
    degrees: Degrees = 45.0,
    frames: Frames = None,
    model_output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="also write a copy of the model with thresholds per sparsity"),
    ] = None,
    output: Output = Path("results"),
) -> None:
    """Thresholds for your robot: as low as the wanted precision allows on your own bag.

    Writes results/<time>/vpr.yaml for the launch file's params_file. The bag must visit places
    twice, and wants ground truth.

    Example: vpr calibrate drive/ --precision 0.99 --model-output office.onnx
    """
    from vpr_ros.evaluation.calibrate_command import run_calibrate

    request = _request(
        path, params, model, None, image, odom, truth, truth_frame, metres, degrees, frames
    )
    run_calibrate(request, sparsity or [], precision, output, model_output)
