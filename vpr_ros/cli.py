# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr`: what people do by hand, one function per verb.

Heavy imports stand inside the verbs, so that `vpr --help` answers at once.
"""

# typer reads the types at run time, and on Python 3.10 cannot read `Path | None`.
# ruff: noqa: UP045
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

try:
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"vpr: {error.name} is not installed. Run: pip install typer rich")

from vpr_ros.cli_maps import add_verbs
from vpr_ros.cli_options import (
    BagPath,
    Baselines,
    Batch,
    Cache,
    DatabaseFolder,
    Dataset,
    Frames,
    ImageTopic,
    LoopDegrees,
    LoopFrames,
    Metres,
    Model,
    Models,
    OdomTopic,
    Output,
    Params,
    Part,
    ProviderName,
    ProviderOptions,
    QueriesFolder,
    Rerun,
    Side,
    Sparsities,
    Threads,
    TruthFrame,
    TruthOf,
    refuse_bag,
    refuse_dataset,
)
from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.core.model_files import DEFAULT_MODEL

app = typer.Typer(
    help="Loop closure by visual place recognition: evaluate, train and export models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

add_verbs(app)

PACKAGES = (  # that only some verbs need
    "onnx", "torch", "rosbags", "matplotlib", "rich", "scipy", "accelerate",
    "pytorch_metric_learning",
)  # fmt: skip


def main() -> None:
    """Run the command; errors that a user can act on are one line, others a traceback."""
    try:
        app(prog_name="vpr")
    except VprError as error:
        sys.exit(f"vpr: {error}")
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        package = error.name.replace("_", "-")
        sys.exit(f"vpr: this needs {package}. Run: pip install {package}")


@app.command()
def evaluate(
    bag: BagPath,
    params: Params = None,
    model: Model = "",
    sparsity: Annotated[
        Optional[float], typer.Option(help="0: full compute; default: as in --params")
    ] = None,
    image: ImageTopic = "",
    odom: OdomTopic = "",
    truth: TruthOf = "",
    truth_frame: TruthFrame = "",
    metres: Metres = 3.0,
    degrees: LoopDegrees = 45.0,
    frames: LoopFrames = 2,
    sequence: Annotated[
        int, typer.Option(min=0, help="also match sequences of this many keyframes; 0: no")
    ] = 10,
    baselines: Baselines = True,
    rerun: Rerun = None,
    output: Output = Path("results"),
) -> None:
    """Measure how well loops are closed on a bag of your robot.

    Replays the bag through the same code as the nodes, without ROS, and writes
    results/<time>/report.html. Also reads folders of TUM RGB-D, KITTI odometry and EuRoC. For
    data sets use `vpr benchmark`.

    Example: vpr evaluate drive/ --truth /odom --metres 3
    """
    refuse_dataset(bag)
    from vpr_ros.evaluation.bag_evaluation import run_evaluate
    from vpr_ros.evaluation.params import settings_from
    from vpr_ros.evaluation.replay import Request
    from vpr_ros.evaluation.truth import LoopRule

    settings, rule = settings_from(params, model, sparsity), LoopRule(metres, degrees, frames)
    request = Request(bag, settings, rule, image, odom, truth, truth_frame, rerun)
    run_evaluate(request, output, baselines=baselines, sequence=sequence)


@app.command()
def calibrate(
    bag: BagPath,
    precision: Annotated[float, typer.Option(help="required share of right closures")] = 0.99,
    params: Params = None,
    model: Model = "",
    sparsity: Annotated[
        Optional[list[float]],
        typer.Option(help="repeatable; default: 0, the battery levels, and 0.6"),
    ] = None,
    image: ImageTopic = "",
    odom: OdomTopic = "",
    truth: TruthOf = "",
    truth_frame: TruthFrame = "",
    metres: Metres = 3.0,
    degrees: LoopDegrees = 45.0,
    frames: LoopFrames = 2,
    output: Output = Path("results"),
) -> None:
    """Choose loop.precision and score thresholds for your robot on one of its bags.

    Tries values of loop.precision and lower score thresholds in replays. Keeps the settings in use
    unless others close more right loops at the required precision. Writes results/<time>/vpr.yaml
    for the launch file's params_file, and says what it changed. The bag must visit places twice
    and needs ground truth.

    Example: vpr calibrate drive/ --precision 0.99
    """
    refuse_dataset(bag)
    from vpr_ros.evaluation.bag_calibration import run_calibrate
    from vpr_ros.evaluation.params import settings_from
    from vpr_ros.evaluation.replay import Request
    from vpr_ros.evaluation.truth import LoopRule

    rule = LoopRule(metres, degrees, frames)
    request = Request(bag, settings_from(params, model), rule, image, odom, truth, truth_frame)
    run_calibrate(request, sparsity or [], precision, output)


@app.command()
def benchmark(
    dataset: Dataset,
    model: Models = None,
    sparsity: Sparsities = None,
    threads: Threads = 1,
    metres: Metres = 25.0,
    frames: Frames = 1,
    database: DatabaseFolder = "",
    queries: QueriesFolder = "",
    part: Part = "",
    sequence: Annotated[
        int, typer.Option(min=0, help="also match sequences of this many images; 0: no")
    ] = 0,
    robustness: Annotated[
        bool, typer.Option(help="also measure darker, brighter, blurred and turned queries")
    ] = False,
    baselines: Baselines = True,
    provider: ProviderName = "cpu",
    provider_options: ProviderOptions = "",
    cache: Cache = None,
    batch: Batch = 1,
    output: Output = Path("results"),
) -> None:
    """Measure recall at 1, 5, 10 and 20 on a data set.

    docs/evaluation.md describes the layouts. Sparsities: 0, 0.4 and 0.6 by default.

    Example: vpr benchmark datasets/st_lucia --model mobilenetv2-gem --model mine.onnx

    Example: vpr benchmark pitts250k --cache ~/.cache/vpr --provider cuda --batch 32
    """
    from vpr_ros.core.providers import find_provider
    from vpr_ros.evaluation.benchmark import SPARSITIES, Plan, run_benchmark
    from vpr_ros.evaluation.image_set import DatasetOptions

    refuse_bag(dataset)
    options = DatasetOptions(metres, frames, database, queries, part)
    runs_on = find_provider(provider, provider_options)
    plan = Plan(dataset, model or [DEFAULT_MODEL], sparsity or SPARSITIES, baselines, options,
                threads, runs_on, cache, batch, output)  # fmt: skip
    run_benchmark(plan, sequence, robustness)


@app.command()
def sweep(
    dataset: Dataset,
    model: Models = None,
    sparsity: Sparsities = None,
    threads: Threads = 1,
    metres: Metres = 25.0,
    frames: Frames = 1,
    database: DatabaseFolder = "",
    queries: QueriesFolder = "",
    part: Part = "",
    baselines: Baselines = True,
    provider: ProviderName = "cpu",
    provider_options: ProviderOptions = "",
    cache: Cache = None,
    batch: Batch = 1,
    output: Output = Path("results"),
) -> None:
    """Measure recall against operations, milliseconds and MB at several sparsities.

    Writes a table and a figure to results/<time>/. Sparsities: 0, 0.2, 0.4 and 0.6 by default.
    Counting operations needs onnx.

    Example: vpr sweep datasets/st_lucia --model tat-vpr-s --model mine.onnx
    """
    from vpr_ros.core.providers import find_provider
    from vpr_ros.evaluation.benchmark import Plan
    from vpr_ros.evaluation.image_set import DatasetOptions
    from vpr_ros.evaluation.sweep import STEPS, run_sweep

    try:
        from vpr_ros.export.cost import count_macs
    except ModuleNotFoundError:  # without onnx the rest of a sweep goes on
        count_macs = None  # type: ignore[assignment]
    refuse_bag(dataset)
    options = DatasetOptions(metres, frames, database, queries, part)
    runs_on = find_provider(provider, provider_options)
    plan = Plan(dataset, model or [DEFAULT_MODEL], sparsity or STEPS, baselines, options,
                threads, runs_on, cache, batch, output)  # fmt: skip
    run_sweep(plan, count_macs)


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="efficientvpr or tat-vpr")],
    config: Annotated[str, typer.Option(help="name of a recipe in this package, or a YAML file")],
    data: Annotated[Path, typer.Option(help="folder that the recipe's paths are relative to")],
    output: Annotated[
        Path, typer.Option(help="folder for checkpoints, log and curves; resumes a run there")
    ] = Path("checkpoints"),
    minutes: Annotated[
        float, typer.Option(min=0, help="stop after this time; repeat the command to resume")
    ] = float("inf"),
    teacher: Annotated[
        Optional[Path],
        typer.Option(help="for tat-vpr: checkpoint, or a file of DINOv2, DINOv2-BoQ or -SALAD"),
    ] = None,
    backbone: Annotated[
        Optional[Path],
        typer.Option(help="for efficientvpr: DINOv2's .pth, .bin or .safetensors"),
    ] = None,
) -> None:
    """Train a network from a recipe; needs torch, pytorch-metric-learning and accelerate.

    Writes OUTPUT/<recipe>/{state.pt,best.pt,log.csv,curves.png} as it goes. `vpr export` reads
    best.pt.

    Example: vpr train efficientvpr --config efficientvpr-s --data datasets

    Example: vpr train tat-vpr --config tat-vpr-s --data datasets
    """
    from vpr_ros.training.teacher import read_teacher
    from vpr_ros.training.train_command import train as run

    folder = output / Path(config).stem
    module = read_teacher(teacher) if teacher else None
    file = str(backbone.resolve()) if backbone else ""
    done = run(network, config, data, folder, minutes, teacher=module, backbone=file)
    best = folder / "best.pt"  # not there without a validation set
    made = best if best.is_file() else folder / "last.pt"
    print(f"{made}: " + ("the recipe is done." if done else "not done yet."))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint written by `vpr train`")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write")],
    precision: Annotated[
        str,
        typer.Option(
            help="int8: smallest and fastest; fp16: float products, weights stored in half "
            "precision; fp32: the dense reference, without sparsity"
        ),
    ] = "int8",
    height: Side = None,
    width: Side = None,
) -> None:
    """Export a checkpoint to one ONNX file for robots; needs torch and onnx.

    First compares with torch every operator on its real inputs, and the descriptor, at three
    sparsities on two images.

    Example: vpr export checkpoints/best.pt models/mine.onnx
    """
    from rich.console import Console

    # Before torch: its tracer warns of every operator that it does not know.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from vpr_ros.export.check import agreement_table
    from vpr_ros.export.export_checkpoint import export_checkpoint

    agreements = export_checkpoint(checkpoint, output, precision, height, width)
    console = Console()
    console.print(agreement_table(agreements))
    console.print(f"{output}: {output.stat().st_size / 1e6:.1f} MB", highlight=False)


@app.command()
def adopt(
    file: Annotated[str, typer.Argument(help="ONNX file, or the name of a shipped model")],
    target: Annotated[
        Optional[Path],
        typer.Argument(help="ONNX file to write; default: only show the measurements"),
    ] = None,
    images: Annotated[
        Optional[list[Path]],
        typer.Option(
            help="bag, folder of images in the order of a drive, or data set; repeatable: the "
            "first one with ground truth gives the thresholds"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file")] = False,
    name: Annotated[str, typer.Option(help="name of the model; default: the file name")] = "",
    output: Annotated[
        str, typer.Option(help="output with the descriptor, if there are several")
    ] = "",
    size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH in px, if the network does not fix it")
    ] = "",
    mean: Annotated[str, typer.Option(help="R,G,B in [0, 1], subtracted from the pixels")] = "",
    std: Annotated[str, typer.Option(help="R,G,B in [0, 1], by which they are divided")] = "",
    training_data: Annotated[str, typer.Option(help="recorded in the file")] = "",
    licence: Annotated[str, typer.Option(help="recorded in the file")] = "",
    frames: Frames = 1,
) -> None:
    """Turn an ONNX network into a model for the robot, or measure a model again.

    Takes any network that maps an image to one vector. Adds preprocessing and L2 normalization,
    and measures score thresholds, the change of a view and, with a sparsity dial, battery levels.

    Example: vpr adopt salad.onnx models/salad.onnx --images drive/

    Example: vpr adopt mine.onnx mine.onnx --overwrite --images drive/ --images st_lucia/
    """
    from vpr_ros.evaluation.image_set import DatasetOptions
    from vpr_ros.export.adopt import run_adopt, triple, whole_size
    from vpr_ros.export.foreign_network import Given

    if not images:
        raise ConfigError("Give --images: a bag, or a folder of images in the order of a drive.")
    given = Given(name, output, whole_size(size), triple(mean, "--mean"), triple(std, "--std"),
                  training_data, licence)  # fmt: skip
    run_adopt(file, target, given, images, DatasetOptions(frames=frames), overwrite)


@app.command()
def model_info(
    file: Annotated[str, typer.Argument(help="ONNX file, or the name of a shipped model")],
    provider: ProviderName = "cpu",
    provider_options: ProviderOptions = "",
) -> None:
    """Print what a model file contains, what it costs and what runs it; needs onnx.

    Example: vpr model-info mobilenetv2-gem

    Example: vpr model-info mobilenetv2-gem --provider openvino
    """
    from rich.console import Console

    from vpr_ros.core.model_files import find_model
    from vpr_ros.core.providers import find_provider
    from vpr_ros.export.cost import contract_table, cost_of, cost_table

    path = find_model(file)
    cost = cost_of(path, find_provider(provider, provider_options))
    console = Console()
    console.print(contract_table(path, cost))
    console.print(cost_table(cost))


if __name__ == "__main__":
    main()
