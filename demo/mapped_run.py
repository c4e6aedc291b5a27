# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the closures of a live run were good for: the corrected route, and the wake-up on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from demo.drive import alignment, ate_m
from demo.topics import CLOSURES, INJECTED, LOCALIZATION, ODOM
from vpr_ros.core.pose import Pose
from vpr_ros.evaluation.bag import Bag, stamp_ns, to_pose
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import AMBER, BLUE, COLOUR, INK, drawing
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.report import Section
from vpr_ros.mapping.graph_file import graph_path, read_graph

MAP, WAKE_UP = "building.vprmap", "wake_up"  # beside the drive: the saved map, the second run
CORRECTED = (
    "The nodes get odometry that drifts: its heading by half a degree per metre, its scale by "
    "about 2 %. Dots are views that a closure joins and the graph accepts."
)
WOKE_UP = (
    "The next day, in other light and on other lines: the robot starts somewhere in the building "
    "with the saved map and odometry that begins at zero."
)
LOCATED = 2  # of vpr_msgs/Localization


@dataclasses.dataclass(frozen=True)
class MappedRun:
    """Poses of the keyframes on the building's axes; closures by position in these lists."""

    truth: list[Pose]
    odometry: list[Pose]
    corrected: list[Pose]
    held: list[tuple[int, int]]
    refused: list[tuple[int, int]]
    injected: int  # wrong closures, by `--wrong`
    injected_refused: int
    woke_up: list[Pose]  # where the robot drove in the second run
    located_s: float | None  # since its first image; None: never
    place: Pose | None  # where it was then
    said: Pose | None  # where it said it was

    def metrics(self) -> dict[str, Any]:
        """The numbers, with their units in the names."""
        found = self.place is not None and self.said is not None
        return {
            "way_m": sum(
                a.distance_m(b) for a, b in zip(self.truth, self.truth[1:], strict=False)
            ),
            "odometry_ate_m": ate_m(self.odometry, self.truth),
            "corrected_ate_m": ate_m(self.corrected, self.truth),
            "closures_held": len(self.held),
            "closures_refused": len(self.refused),
            "injected": self.injected,
            "injected_refused": self.injected_refused,
            "located_s": self.located_s,
            "located_off_m": self.said.distance_m(self.place) if found else None,
            "located_off_deg": self.said.angle_deg(self.place) if found else None,
        }


def read_mapped_run(folder: Path, drive: Bag) -> MappedRun:
    """Read the graph that the live part saved in `folder`, and the answers of the second run."""
    graph = read_graph(graph_path(folder / MAP))
    offset_ns = json.loads((folder / "play.json").read_text())["offset_ns"]
    true = _true_poses(drive)
    placed = [k for k in graph.keyframes if k.pose is not None]
    truth = [true[k.stamp_ns - offset_ns] for k in placed]
    corrected = [k.pose for k in placed if k.pose is not None]
    odometry = [k.odometry for k in placed]
    index = {k.id: i for i, k in enumerate(placed)}
    joined = {(c.query_id, c.match_id): c.accepted for c in graph.closures}
    with Bag(folder / "closures") as answers:
        closures = [m for _, _, m in answers.messages([CLOSURES])]
    wrong = {(m.query_id, m.match_id) for m in closures if m.header.frame_id == INJECTED}
    ends = {e: (index[e[0]], index[e[1]]) for e in joined if e[0] in index and e[1] in index}
    on_truth, on_map = alignment(odometry, truth), alignment(corrected, truth)
    woke_up, located_s, place, said = _wake_up(folder / WAKE_UP)
    return MappedRun(
        truth,
        [on_truth.compose(pose) for pose in odometry],
        [on_map.compose(pose) for pose in corrected],
        [ends[e] for e, accepted in joined.items() if accepted and e in ends],
        [ends[e] for e, accepted in joined.items() if not accepted and e in ends],
        len(wrong),
        sum(not joined.get(e, False) for e in wrong),
        woke_up,
        located_s,
        place,
        None if said is None else on_map.compose(said),
    )


def _true_poses(bag: Bag) -> dict[int, Pose]:
    return {stamp_ns(m): to_pose(m.pose.pose) for _, _, m in bag.messages([ODOM])}


def _wake_up(folder: Path) -> tuple[list[Pose], float | None, Pose | None, Pose | None]:
    """The true poses; seconds until located, the true pose then, and the pose on the map."""
    play = json.loads((folder / "play.json").read_text())
    with Bag(folder / "drive") as drive, Bag(folder / "closures") as answers:
        true = _true_poses(drive)
        for _, when, message in answers.messages([LOCALIZATION]):
            if message.state == LOCATED:
                seconds = (when - play["offset_ns"] - play["begin_ns"]) * 1e-9
                place = true[stamp_ns(message) - play["offset_ns"]]
                return list(true.values()), seconds, place, to_pose(message.pose.pose)
    return list(true.values()), None, None, None


def mapped_rows(m: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value with unit) for the one table."""
    before, after = m["odometry_ate_m"], m["corrected_ate_m"]
    rows = [
        (
            "Position error (ATE RMSE)",
            f"odometry {before:.2f} m, corrected {after:.2f} m ({percent(after / before)})",
        ),
        ("Closures in the graph", f"{m['closures_held']} hold, {m['closures_refused']} refused"),
    ]
    if m["injected"]:
        rows.append(("Wrong ones injected", f"{m['injected']}, {m['injected_refused']} refused"))
    text = "not located"
    if m["located_s"] is not None:
        off = f"{m['located_off_m']:.2f} m and {m['located_off_deg']:.1f} degrees"
        text = f"located after {m['located_s']:.1f} s, {off} off"
    return [*rows, ("Woke up on the saved map", text)]


def mapped_sections(run: MappedRun, rows: Sequence[tuple[str, str]]) -> list[Section]:
    """The route before and after correction, and the wake-up, side by side."""
    sums, woke = [f"{what}: {value}." for what, value in rows[:-1]], rows[-1][1]
    return [
        Section(
            "The route, corrected",
            " ".join([CORRECTED, *sums]),
            _figure(_draw_routes, "Route before and after correction", run),
            half=True,
        ),
        Section(
            "Waking up on the saved map",
            f"{WOKE_UP} It was {woke}.",
            _figure(_draw_wake_up, "Where the robot woke up", run),
            half=True,
        ),
    ]


def _figure(draw: Callable[[Axes, MappedRun], None], title: str, run: MappedRun) -> str:
    def drawn(figure: Figure) -> None:
        axes = figure.subplots()
        draw(axes, run)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize="small")

    return drawing(title, drawn, size=(5.4, 4.0))


def _line(axes: Axes, poses: Sequence[Pose], colour: str, label: str, width: float) -> None:
    axes.plot(*_points(poses).T, color=colour, linewidth=width, label=label)


def _points(poses: Sequence[Pose]) -> np.ndarray:
    return np.array([(p.x, p.y) for p in poses])


def _draw_routes(axes: Axes, run: MappedRun) -> None:
    _line(axes, run.truth, INK, "truth", 0.8)
    _line(axes, run.odometry, AMBER, "odometry", 1.2)
    _line(axes, run.corrected, BLUE, "corrected", 1.6)
    points = _points(run.corrected)
    ends = points[[i for pair in run.held for i in pair]]
    axes.scatter(*ends.T, s=8, color=COLOUR[Outcome.RIGHT], linewidths=0, zorder=3)
    if run.refused:
        lines = [points[list(pair)] for pair in run.refused]
        red = COLOUR[Outcome.WRONG]
        axes.add_collection(LineCollection(lines, colors=red, linewidths=0.9, linestyles="--"))
        axes.plot([], [], "--", color=red, label=f"refused closures ({len(lines)})")


def _draw_wake_up(axes: Axes, run: MappedRun) -> None:
    _line(axes, run.corrected, BLUE, "map", 1.2)
    _line(axes, run.woke_up, INK, "drive of the next day", 1.6)
    for pose, colour, label in (
        (run.place, INK, "robot when located"),
        (run.said, COLOUR[Outcome.RIGHT], "said to be"),
    ):
        if pose is not None:  # a dot, and a line to where it looks
            ahead = _points([pose, pose.compose(Pose.planar(3.0, 0.0, 0.0))])
            axes.plot(*ahead.T, "-o", color=colour, label=label, linewidth=2.4, markevery=[0])
