# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drives through a rendered building, and reports which loops the nodes close and what for.

`make demo` sets everything up and runs this; `python -m demo` needs ROS 2 in its environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tools.dds_domain import HIGHEST, free_domain
from vpr_ros.core.errors import VprError

MODULES = ("rclpy", "vpr_msgs", "vizdoom", "rosbags", "onnxruntime", "faiss", "cv2", "gtsam")


def check_prerequisites() -> None:
    """Raise VprError if packages are missing, naming them all."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise VprError(f"Not installed: {', '.join(missing)}. `make demo` installs all it needs.")


def own_command() -> str:
    """What a reader of the report types to reproduce it."""
    given = sys.argv[1:]
    command = ["tools/in_ros.sh", "python", "-m", "demo", *given]
    return shlex.join(command) if given else "make demo"


def demo(arguments: argparse.Namespace, console: Console) -> None:
    """Render, drive, judge, report."""
    check_prerequisites()
    # Imported only now: what is missing has been named.
    from demo.building import building
    from demo.drive import drive, wake_up
    from demo.live import node_commands, run_live
    from demo.live_figures import write_picture
    from demo.live_report import headline, live_metrics, live_rows, write_report
    from demo.live_run import read_live_run
    from demo.mapped_run import MAP, WAKE_UP, read_mapped_run
    from demo.topics import NEXT_DAY, NODES
    from demo.write_bag import write_bag
    from vpr_ros.evaluation.bag import Bag
    from vpr_ros.evaluation.console import say, show
    from vpr_ros.evaluation.run_folder import RESULTS, latest, run_folder

    started = time.monotonic()
    seed, plan = arguments.seed, building(arguments.twins)
    node_commands(arguments.param, Path())  # a mistake is told before the work begins
    if arguments.domain > HIGHEST:
        raise VprError(f"--domain is {arguments.domain}; give 0 to {HIGHEST}.")
    if arguments.picture and not arguments.picture.absolute().parent.is_dir():
        raise VprError(f"--picture: the folder of {arguments.picture} does not exist. Make it.")
    logs = Path(tempfile.mkdtemp(prefix="vpr_demo_"))  # stays if the demo fails
    try:
        with run_folder() as folder:
            commands = node_commands(arguments.param, folder / MAP)
            poses, again = drive(), folder / WAKE_UP
            morning = wake_up(poses, seed)
            write_bag(folder / "drive", plan, poses, seed)
            write_bag(again / "drive", plan, morning, seed + 1, charge=False)
            for where, log, route, nodes, wrong in (
                (folder, logs, poses, NODES, arguments.wrong),
                (again, logs / WAKE_UP, morning, NEXT_DAY, 0),
            ):
                log.mkdir(exist_ok=True)
                chosen, seconds = {name: commands[name] for name in nodes}, route[-1].stamp_s
                run_live(where, log, seconds, arguments.domain, chosen, console, wrong, seed)
            with console.status("Writing the report"), Bag(folder / "drive") as bag:
                live = read_live_run(folder, bag, plan)
                mapped = read_mapped_run(folder, bag)
                metrics = live_metrics(live, mapped, own_command())
                write_report(folder, live, mapped, bag, metrics)
                if arguments.picture:
                    write_picture(arguments.picture, live, bag, headline(metrics))
            shutil.move(logs, folder / "logs")
    except KeyboardInterrupt:
        shutil.rmtree(logs)
        raise
    # The next command takes `latest` for its own results; the drive stays at `demo`.
    link, fresh = RESULTS / ("demo_twins" if arguments.twins else "demo"), RESULTS / ".demo"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(latest().name)
    fresh.replace(link)
    show(console, live_rows(metrics), "The drive in numbers")
    took_s = time.monotonic() - started
    say(console, f"Report: {latest() / 'report.html'}  ({took_s:.0f} s in all)")
    say(console, f"The same drive without ROS: .venv/bin/vpr evaluate {link / 'drive'}")


def number(text: str) -> int:
    """A whole number from 0 on; argparse names the option if it is none."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 on")
    return int(text)


def main() -> int:
    """Run the command; errors that a user can act on are told without a traceback."""
    domain, _holder = free_domain()
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seed", type=number, default=1, help="of noise and battery (default 1)")
    parser.add_argument(
        "--wrong", type=number, default=0, metavar="N", help="inject N wrong closures (default 0)"
    )
    parser.add_argument(
        "--twins",
        action="store_true",
        help="make the corridors and the rooms behind them look the same; results/demo_twins",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NODE:NAME:=VALUE",
        help="set a node's parameter, e.g. database:loop.precision:=0.95; repeatable",
    )
    parser.add_argument("--picture", type=Path, help="also write the README's picture here")
    parser.add_argument(
        "--domain",
        type=number,
        default=domain,
        help="ROS_DOMAIN_ID of the demo (default: one of its own)",
    )
    console = Console()
    try:
        demo(parser.parse_args(), console)
    except VprError as error:
        console.print(
            f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is left running.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
