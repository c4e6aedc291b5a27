# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The images that a model is measured on: data sets with right answers, and drives without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.core.errors import ImageError
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.core.view import ViewCheck, view_of
from vpr_ros.evaluation.bag import bag_images, choose_topics, is_bag
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.drive_folders import layout_of, open_drive
from vpr_ros.evaluation.image_set import DatasetError, DatasetOptions, ImageSet, images_in
from vpr_ros.evaluation.layouts import PAIRS, find_folders, open_dataset

LEAST, MOST = 20, 300  # views of a drive; more tell little more
STEP_S = 1.0  # between two views without odometry: a robot has moved about as far as half a metre
PAIRS_SHOWN = 16  # to find out what a network expects of the pixels


@dataclasses.dataclass(frozen=True)
class OrderedImages:
    """Images in the order of a drive, one step apart."""

    name: str
    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        if len(self.paths) < LEAST:
            raise DatasetError(
                f"{self.name} shows {len(self.paths)} views; at least {LEAST} are needed. Give a "
                "longer drive."
            )

    def image_set(self) -> ImageSet:
        """Every other view is a query; the two beside it are the right answers."""
        places, queries = self.paths[::2], self.paths[1::2]
        beside = tuple(np.arange(q, min(q + 2, len(places))) for q in range(len(queries)))
        return ImageSet(self.name, places, queries, beside, "the view before or after")


@dataclasses.dataclass(frozen=True)
class MeasuredImages:
    """What was given, in order."""

    sets: tuple[ImageSet, ...]  # with right answers
    drives: tuple[OrderedImages, ...]

    @property
    def answered(self) -> tuple[ImageSet, ...]:
        """The sets with right answers; if there are none, the drives as such."""
        return self.sets or tuple(drive.image_set() for drive in self.drives)

    def pairs(self) -> list[tuple[Image, Image]]:
        """Two views each of a few places of the first set, spread evenly."""
        first = self.answered[0]
        known = [q for q in range(len(first.queries)) if len(first.positives[q])]
        if len(known) < 2:
            raise DatasetError(f"{first.name} has {len(known)} right answers; more are needed.")
        chosen = np.unique(np.linspace(0, len(known) - 1, PAIRS_SHOWN).astype(int))
        return [
            (read_image(first.queries[q]), read_image(first.database[first.positives[q][0]]))
            for q in (known[k] for k in chosen)
        ]


def open_measured_images(
    paths: Sequence[Path], options: DatasetOptions, folder: Path, progress: Progress
) -> MeasuredImages:
    """Bags, data sets, and folders whose images are in the order of a drive.

    The views of bags are written to `folder`. Raises a VprError that names what cannot be used.
    """
    sets: list[ImageSet] = []
    drives: list[OrderedImages] = []
    for number, path in enumerate(paths):
        if is_bag(path) or layout_of(path) or (path.is_file() and path.suffix.lower() != ".csv"):
            target = folder / str(number)
            target.mkdir()
            drives.append(OrderedImages(str(path), _bag_views(path, target, progress)))
        elif _is_drive(path):
            drives.append(OrderedImages(str(path), images_in(path)[:MOST]))
        else:
            sets.append(open_dataset(path, options))
    return MeasuredImages(tuple(sets), tuple(drives))


def _is_drive(path: Path) -> bool:
    """Is this a plain folder of images?"""
    return (
        path.is_dir()
        and not (path / PAIRS).is_file()
        and find_folders(path, DatasetOptions()) is None
        and any(file.parent == path for file in images_in(path))
    )


def _bag_views(path: Path, folder: Path, progress: Progress) -> tuple[Path, ...]:
    """The first views as the robot would keep them: by odometry, else one a second."""
    gate = KeyframeGate(GateConfig(interval_s=STEP_S, change=0.0))
    check = ViewCheck(True)
    nothing = np.zeros(1, np.float32)  # no descriptor: without odometry, time alone decides
    found: list[Path] = []
    problem = ""
    with open_drive(path) as bag:
        topics = choose_topics(bag)
        progress.begin(f"Reading {path.name}", bag.counts[topics.image])
        for image in bag_images(bag, topics):
            progress.step()
            frame = image.frame
            if not gate.wants(frame.stamp_ns, frame.pose):
                continue
            try:
                pixels = frame.decode()
            except ImageError as error:
                problem = problem or str(error)
                continue
            view = view_of(pixels, frame.stamp_ns, frame.pose, None)
            fault = check.fault(view)
            if fault is not None:
                problem = problem or fault.value
                continue
            check.keep(view)
            gate.accepts(frame.stamp_ns, frame.pose, nothing)
            found.append(folder / f"{len(found):06d}.png")
            cv2.imwrite(str(found[-1]), pixels)
            if len(found) == MOST:
                break
    if len(found) < LEAST and problem:
        raise DatasetError(
            f"{path} shows {len(found)} views that can be used; {LEAST} are needed. {problem}"
        )
    return tuple(found)
