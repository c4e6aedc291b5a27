# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drives a rendered route through the three nodes and reports the loops they close.

`make demo` sets everything up and runs this; `python -m demo` wants ROS 2 in its environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from vpr_ros.core.errors import VprError

RESULTS = Path("results")
MODULES = ("rclpy", "vpr_msgs", "vizdoom", "rosbags", "onnxruntime", "faiss", "cv2", "matplotlib")
DOMAINS = range(1, 102)  # of ROS_DOMAIN_ID: beyond 101 ports clash with Linux's own


def check_prerequisites() -> None:
    """VprError naming all that is missing."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise VprError(f"Not installed: {', '.join(missing)}. `make demo` installs all it needs.")


def new_folder() -> Path:
    """A folder of its own for this run."""
    folder = RESULTS / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True)
    return folder


def point_to(folder: Path, name: str) -> None:
    """Let results/`name` lead to this run."""
    link, fresh = RESULTS / name, RESULTS / f".{name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def own_command() -> str:
    """What a reader of the report types to get it again."""
    given = sys.argv[1:]
    return (
        shlex.join(["tools/in_ros.sh", "python", "-m", "demo", *given]) if given else "make demo"
    )


def demo(arguments: argparse.Namespace, console: Console) -> None:
    """Render, drive, judge, report."""
    check_prerequisites()
    # Only now: what is missing has been named.
    from demo.live import node_commands, run_live
    from demo.metrics import measure, table
    from demo.readme_picture import write_picture
    from demo.report import write_report
    from demo.results import Results
    from demo.write_bag import write_bag
    from vpr_ros.evaluation.console import show

    started = time.monotonic()
    commands = node_commands(arguments.param)
    folder = new_folder()
    views = write_bag(folder / "drive", arguments.seed)
    duration_s = views[-1].stamp_s - views[0].stamp_s
    run_live(folder.resolve(), duration_s, arguments.domain, commands, console)
    with console.status("Judging the closures and writing the report"):
        results = Results.read(folder)
        metrics = measure(results, own_command())
        page = write_report(results, metrics)
        if arguments.picture:
            write_picture(arguments.picture, results, metrics)
    for name in ("latest", "demo"):  # the next command takes the first one for its own results
        point_to(folder, name)
    show(console, table(metrics), "The drive in numbers")
    took_s = time.monotonic() - started
    console.print(f"Report: {page}  ({took_s:.0f} s in all)", soft_wrap=True, highlight=False)


def main() -> int:
    """Run the command; errors that a user can act on are told without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of noise and battery (default 1)")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NODE:NAME:=VALUE",
        help="set a node's parameter, e.g. database:loop.min_inliers:=30; repeatable",
    )
    parser.add_argument("--picture", type=Path, help="also write the README's picture here")
    parser.add_argument(
        "--domain",
        type=int,
        default=DOMAINS[os.getpid() % len(DOMAINS)],
        help="ROS_DOMAIN_ID of the demo (default: one of its own)",
    )
    console = Console()
    for name in ("SIGTERM", "SIGHUP"):  # end as Ctrl-C does, leaving no process behind
        signal.signal(getattr(signal, name), signal.default_int_handler)
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
