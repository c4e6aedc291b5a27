# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drives as folders of images in the layouts of TUM RGB-D, KITTI odometry and EuRoC, read as bags.

Layouts: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats,
https://www.cvlibs.net/datasets/kitti/eval_odometry.php,
https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.core.errors import ImageError
from vpr_ros.evaluation.bag import COMPRESSED, Bag, BagError
from vpr_ros.evaluation.image_set import images_in

POSE = "geometry_msgs/msg/PoseStamped"
TRUTH = "/ground_truth"
Images = dict[str, list[tuple[int, Path]]]  # by topic, with stamps [ns]
Poses = list[tuple[int, list[float]]]  # with stamps [ns]; x y z qx qy qz qw
KITTI_START_NS = 10**9  # its times count from 0, which is no stamp


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one publisher lays out a drive."""

    name: str
    shape: str  # what a folder must hold, in words
    fits: Callable[[Path], bool]
    read: Callable[[Path], tuple[Images, Poses]]


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A CompressedImage whose file is read when its data are wanted."""

    header: SimpleNamespace
    path: Path

    @property
    def format(self) -> str:
        """As the suffix says."""
        return self.path.suffix[1:]

    @property
    def data(self) -> bytes:
        """The content of the file; ImageError if it is missing or cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ImageError(f"Image {self.path} cannot be read ({error.strerror}).") from None


class DriveFolder(Bag):
    """A folder of images and poses to read like a bag: a topic per camera, and /ground_truth.

    Missing images have their place and number in a topic, but do not count.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.unreadable = {}
        self._layout = layout

    def __enter__(self) -> DriveFolder:
        try:
            images, poses = self._layout.read(self.path)
            if short := [stamp for stamp, pose in poses if len(pose) != 7]:
                raise ValueError(f"the pose of {short[0]} ns lacks values")
        except (OSError, ValueError, IndexError, InvalidOperation) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BagError(
                f"{self.path} looks like a drive of {self._layout.name}, but cannot be read "
                f"({reason}). Expected: {self._layout.shape}."
            ) from None
        self._rows: dict[str, list[tuple[int, Any]]] = {t: [*rows] for t, rows in images.items()}
        self._rows |= {TRUTH: [*poses]} if poses else {}
        for rows in self._rows.values():
            rows.sort(key=lambda row: row[0])
        self.types = {topic: POSE if topic == TRUTH else COMPRESSED for topic in self._rows}
        self.counts = {
            topic: sum(not isinstance(one, Path) or one.is_file() for _, one in rows)
            for topic, rows in self._rows.items()
        }
        if not any(self.counts[topic] for topic in images):
            listed = [path for rows in images.values() for _, path in rows]
            missing = f", such as {listed[0]}" if listed else ""
            raise BagError(f"{self.path} has none of the images that it lists{missing}.")
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    @property
    def duration_s(self) -> float:
        """From the first image or pose to the last [s]."""
        ends = [stamp for rows in self._rows.values() if rows for stamp, _ in (rows[0], rows[-1])]
        return (max(ends) - min(ends)) * 1e-9 if ends else 0.0

    def messages(
        self, topics: list[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, Any]]:
        """(topic, stamp [ns], message) in order, as of a bag."""
        chosen = ([(ns, t, one) for ns, one in self._rows.get(t, ())] for t in topics)
        for stamp, topic, value in heapq.merge(*chosen, key=lambda row: row[0]):
            if (start_ns is None or stamp >= start_ns) and (stop_ns is None or stamp < stop_ns):
                yield topic, stamp, _message(stamp, value)


def open_drive(path: Path) -> Bag:
    """A bag, or a folder in one of the LAYOUTS, to use in a with statement; else BagError."""
    layout = layout_of(path)
    return DriveFolder(path, layout) if layout else Bag(path)


def layout_of(path: Path) -> Layout | None:
    """The layout of a folder; None for anything else."""
    return next((one for one in LAYOUTS if path.is_dir() and one.fits(path)), None)


def _message(stamp: int, value: Any) -> Any:
    sec, nanosec = divmod(stamp, 10**9)
    time = SimpleNamespace(sec=sec, nanosec=nanosec)
    header = SimpleNamespace(stamp=time, frame_id="camera" if isinstance(value, Path) else "world")
    if isinstance(value, Path):
        return ImageFile(header, value)
    names = zip(("x", "y", "z"), value[:3], strict=True), zip("xyzw", value[3:], strict=True)
    position, orientation = (SimpleNamespace(**dict(one)) for one in names)
    pose = SimpleNamespace(position=position, orientation=orientation)
    return SimpleNamespace(header=header, pose=pose)


def _rows(path: Path) -> list[list[str]]:
    """The lines of a table without comments, parted by blanks or commas."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [x.replace(",", " ").split() for x in lines if x.strip() and x.strip()[0] != "#"]


def _ns(seconds: str) -> int:
    return int(Decimal(seconds) * 10**9)  # a float would lose the nanoseconds


def _tum(path: Path) -> tuple[Images, Poses]:
    images = [(_ns(row[0]), path / row[1]) for row in _rows(path / "rgb.txt")]
    truth = path / "groundtruth.txt"
    rows = _rows(truth) if truth.is_file() else []
    return {"/rgb": images}, [(_ns(row[0]), [float(v) for v in row[1:8]]) for row in rows]


def _kitti(path: Path) -> tuple[Images, Poses]:
    stamps = [KITTI_START_NS + _ns(row[0]) for row in _rows(path / "times.txt")]
    images = {}
    for folder in sorted(path.glob("image_[0-3]")):
        files = {int(file.stem): file for file in images_in(folder)}  # by line in times.txt
        if files and max(files) >= len(stamps):
            raise ValueError(f"{files[max(files)]} has no line in times.txt")
        images[f"/{folder.name}"] = [
            (stamp, files.get(n, folder / f"{n:06}.png")) for n, stamp in enumerate(stamps)
        ]
    beside = path.parent.parent / "poses" / f"{path.resolve().name}.txt"
    truth = next((f for f in (path / "poses.txt", beside) if f.is_file()), None)
    if truth is None:  # sequences 11 to 21
        return images, []
    matrices = np.array(_rows(truth), np.float64).reshape(-1, 3, 4)
    turns = Rotation.from_matrix(matrices[:, :, :3]).as_quat()
    poses = np.hstack([matrices[:, :, 3], turns]).tolist()
    return images, list(zip(stamps, poses, strict=False))


def _euroc(path: Path) -> tuple[Images, Poses]:
    root = _euroc_root(path)
    images = {
        f"/{table.parent.name}": [
            (int(row[0]), table.parent / "data" / row[1]) for row in _rows(table)
        ]
        for table in sorted(root.glob("cam[0-9]/data.csv"))
    }
    for sensor in ("state_groundtruth_estimate0", "vicon0"):
        table = root / sensor / "data.csv"
        if table.is_file():
            rows = [[float(v) for v in row[1:8]] for row in _rows(table)]
            stamps = [int(row[0]) for row in _rows(table)]
            poses = [[*row[:3], *row[4:], row[3]] for row in rows]  # w comes first
            return images, list(zip(stamps, poses, strict=True))
    return images, []


def _euroc_root(path: Path) -> Path:
    return path / "mav0" if (path / "mav0").is_dir() else path


LAYOUTS: Sequence[Layout] = (
    Layout(
        "TUM RGB-D",
        "rgb.txt and groundtruth.txt",
        lambda path: (path / "rgb.txt").is_file(),
        _tum,
    ),
    Layout(
        "KITTI odometry",
        "sequences/NN with times.txt and image_0 to image_3; poses/NN.txt beside sequences",
        lambda path: (path / "times.txt").is_file() and any(path.glob("image_[0-3]")),
        _kitti,
    ),
    Layout(
        "EuRoC",
        "mav0/cam0/data.csv and mav0/state_groundtruth_estimate0/data.csv",
        lambda path: any(_euroc_root(path).glob("cam[0-9]/data.csv")),
        _euroc,
    ),
)
