# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr`: what people do by hand, one short function a verb.

Heavy imports stand inside the verbs, so that `vpr --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

try:
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"vpr: {error.name} is not installed. Run: pip install typer rich")

from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.commands import calibrate, evaluate

app = typer.Typer(
    help="Loop closure on the robot by visual place recognition: tools around the models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PACKAGES = (  # of single verbs
    "onnx", "torch", "rosbags", "matplotlib", "rich", "accelerate", "pytorch_metric_learning",
)  # fmt: skip

# typer reads these types at run time, and on Python 3.10 cannot read `int | None`.
Side = Annotated[Optional[int], typer.Option(min=1, help="px; default: as trained")]  # noqa: UP045


def main() -> None:
    """Run the command; errors that a user can act on are one line, others a traceback."""
    try:
        app()
    except VprError as error:
        sys.exit(f"vpr: {error}")
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        package = error.name.replace("_", "-")
        sys.exit(f"vpr: this needs {package}. Run: pip install {package}")


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="efficientvpr or tat-vpr")],
    config: Annotated[str, typer.Option(help="recipe: one of this package's, or a YAML file")],
    data: Annotated[Path, typer.Option(help="folder that the recipe's paths start from")],
    output: Annotated[
        Path, typer.Option(help="folder of checkpoints, log and curves; a run there goes on")
    ] = Path("checkpoints"),
    minutes: Annotated[
        float, typer.Option(min=0, help="stop after so long; the same command goes on then")
    ] = float("inf"),
    teacher: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="checkpoint that a tat-vpr learns from; default: the recipe's"),
    ] = None,
) -> None:
    """Train a network by a recipe; needs torch, pytorch-metric-learning and accelerate.

    Writes OUTPUT/<recipe>/{state.pt,best.pt,log.csv,curves.png} as it goes. `vpr export` reads
    best.pt.

    Example: vpr train efficientvpr --config efficientvpr-s --data datasets
    Example: vpr train tat-vpr --config tat-vpr-s --data datasets --teacher best.pt
    """
    from vpr_ros.networks.checkpoint import load_checkpoint
    from vpr_ros.training.train_command import train as run

    folder = output / Path(config).stem
    module = load_checkpoint(teacher)[0] if teacher else None
    done = run(network, config, data, folder, minutes, teacher=module)
    print(f"{folder / 'best.pt'}: " + ("the recipe is done." if done else "not done yet."))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="file written by training")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write")],
    precision: Annotated[
        str,
        typer.Option(
            help="int8: smallest and fastest; fp16: float products, weights stored in half "
            "precision; fp32: the dense yardstick, without the dial"
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
    from vpr_ros.export.checkpoint import export_checkpoint
    from vpr_ros.export.tables import agreement_table

    agreements = export_checkpoint(checkpoint, output, precision, height, width)
    console = Console()
    console.print(agreement_table(agreements))
    console.print(f"{output}: {output.stat().st_size / 1e6:.1f} MB", highlight=False)


@app.command()
def model_info(
    file: Annotated[str, typer.Argument(help="ONNX file, or the name of a shipped model")],
) -> None:
    """Print what a model file says about itself and what it costs; needs onnx.

    Example: vpr model-info mobilenetv2-gem
    """
    from rich.console import Console

    from vpr_ros.core.model_files import find_model
    from vpr_ros.export.cost import cost_of
    from vpr_ros.export.tables import contract_table, cost_table

    path = find_model(file)
    cost = cost_of(path)
    console = Console()
    console.print(contract_table(path, cost))
    console.print(cost_table(cost))


@app.command()
def sweep(
    dataset: Annotated[Path, typer.Argument(help="folder of a data set, or a CSV file of pairs")],
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="shipped model or .onnx file; repeatable"),
    ] = None,
    sparsity: Annotated[
        Optional[list[float]],  # noqa: UP045
        typer.Option(help="repeatable; default: 0, 0.2, 0.4, 0.6"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="compute threads of the network")] = 1,
    baselines: Annotated[bool, typer.Option(help="measure the baselines too")] = True,
    metres: Annotated[float, typer.Option(min=0, help="right: at most this far apart")] = 25.0,
    frames: Annotated[int, typer.Option(min=0, help="right: aligned images so many off")] = 1,
    output: Annotated[Path, typer.Option(help="folder of all results")] = Path("results"),
) -> None:
    """What the dial buys on a data set: recall against MACs, milliseconds and MB.

    Leaves a table and a figure in results/<time>/. Counting MACs needs onnx.

    Example: vpr sweep datasets/st_lucia --model mobilenetv2-gem --model models/mine.onnx
    """
    from vpr_ros.core.model_files import DEFAULT_MODEL
    from vpr_ros.evaluation.datasets.options import DatasetOptions
    from vpr_ros.evaluation.sweep import STEPS, run_sweep

    run_sweep(
        dataset,
        model or [DEFAULT_MODEL],
        sparsity or STEPS,
        baselines=baselines,
        options=DatasetOptions(radius_m=metres, frames=frames),
        threads=threads,
        results=output,
        count_macs=_macs_counter(),
    )


def _macs_counter() -> Callable[[Path], dict[float, int]] | None:
    """None without onnx: the rest of a sweep does not need it."""
    try:
        from vpr_ros.export.cost import cost_of
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        return None
    return lambda path: cost_of(path).macs


app.command()(evaluate)
app.command()(calibrate)

if __name__ == "__main__":
    main()
