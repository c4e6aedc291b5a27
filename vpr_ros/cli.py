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
    help="Loop closure on the robot by visual place recognition: tools around the models.",
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
        int, typer.Option(min=0, help="also match sequences of this many keyframes; 0: do not")
    ] = 10,
    baselines: Baselines = True,
    rerun: Rerun = None,
    output: Output = Path("results"),
) -> None:
    """How well are loops closed on a bag of your robot?

    The bag is replayed through the objects of the nodes, without ROS. Leaves
    results/<time>/report.html. Also takes folders of TUM RGB-D, KITTI odometry and EuRoC. For
    data sets there is `vpr benchmark`.

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
    precision: Annotated[
        float, typer.Option(help="share of the closures that must be right")
    ] = 0.99,
    params: Params = None,
    model: Model = "",
    sparsity: Annotated[
        Optional[list[float]],
        typer.Option(help="repeatable; default: 0, the levels of the battery policy, and 0.6"),
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
    """Check on a bag of your robot how sure is sure enough, and change what closes too much.

    Tries loop.precision and lower score thresholds by replays, and keeps what is in force unless
    another setting closes more right loops at the wanted precision. Writes results/<time>/vpr.yaml
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
        int, typer.Option(min=0, help="also match sequences of this many images; 0: do not")
    ] = 0,
    robustness: Annotated[
        bool, typer.Option(help="add recalls of darker, brighter, blurred and turned queries")
    ] = False,
    baselines: Baselines = True,
    provider: ProviderName = "cpu",
    provider_options: ProviderOptions = "",
    cache: Cache = None,
    batch: Batch = 1,
    output: Output = Path("results"),
) -> None:
    """How well is the right image found in a data set? Recall at 1, 5, 10 and 20.

    Layouts are in docs/evaluation.md. Sparsities: 0, 0.4 and 0.6 by default.

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
    """What does sparsity buy on a data set? Recall against operations, milliseconds and MB.

    Leaves a table and a figure in results/<time>/. Sparsities: 0, 0.2, 0.4 and 0.6 by default.
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
    config: Annotated[str, typer.Option(help="recipe: one of this package's, or a YAML file")],
    data: Annotated[Path, typer.Option(help="folder that the recipe's paths are relative to")],
    output: Annotated[
        Path, typer.Option(help="folder of checkpoints, log and curves; a run there is resumed")
    ] = Path("checkpoints"),
    minutes: Annotated[
        float, typer.Option(min=0, help="stop after this time; the same command resumes")
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
    """Train a network by a recipe; needs torch, pytorch-metric-learning and accelerate.

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
    print(f"{folder / 'best.pt'}: " + ("the recipe is done." if done else "not done yet."))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="file written by training")],
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
    """Write a checkpoint as one ONNX file that robots run; needs torch and onnx.

    Compared with torch before anything is written: every operator on its real inputs, and the
    descriptor, at three sparsities on two images.

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
        typer.Argument(help="ONNX file to write; left out: only show what is measured"),
    ] = None,
    images: Annotated[
        Optional[list[Path]],
        typer.Option(
            help="bag, folder of images in the order of a drive, or data set; repeatable: "
            "thresholds come from the first that has right answers"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file")] = False,
    name: Annotated[str, typer.Option(help="of the model; default: that of the file")] = "",
    output: Annotated[str, typer.Option(help="which of several outputs is the descriptor")] = "",
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH in px, if the network leaves it")] = "",
    mean: Annotated[str, typer.Option(help="R,G,B of [0, 1], taken off the pixels")] = "",
    std: Annotated[str, typer.Option(help="R,G,B of [0, 1], what they are divided by")] = "",
    training_data: Annotated[str, typer.Option(help="for the contract")] = "",
    licence: Annotated[str, typer.Option(help="for the contract")] = "",
    frames: Frames = 1,
) -> None:
    """Make an ONNX network a model for the robot, or measure again what a model says of itself.

    Any network with an image in and one vector out. Adds preprocessing and unit length, and
    measures score thresholds, the change of a view, and battery levels if there is a dial.

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
    """Print what a model file says about itself, what it costs and what runs it; needs onnx.

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
